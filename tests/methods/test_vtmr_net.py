"""VTMR's network is FocalClick's, and takes its files; late clicks take a second look through the zoom."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from official_focalclick import official_checkpoint

import clicklab
from clicklab.commands.main import main
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.focus_predictor import FocusPredictor, target_box
from clicklab.inference.predictor import predictor_for
from clicklab.inference.session import Session
from clicklab.methods.focalclick import FocalClickNet
from clicklab.methods.vtmr import VTMRNet
from clicklab.methods.vtmr.predictor import VTMRPredictor, zoom_share
from clicklab.records import Clicks
from clicklab.views.zoom_warp import TargetZoom
from data_modules.datasets import Shapes
from data_modules.tools.export_shapes import export_scenes


def network(**options) -> VTMRNet:
    torch.manual_seed(0)
    return VTMRNet.from_variant("mini", **options).eval()


def saved(path, kind: str, net: torch.nn.Module):
    state = {f"network.{key}": value for key, value in net.state_dict().items()}
    settings = {"variant": None, "network_options": net.arguments}
    torch.save({"clicklab_method": kind, "hyper_parameters": settings, "state_dict": state}, path)
    return path


@pytest.mark.parametrize("variant", ["b0", "mini"])
def test_vtmr_adds_no_parameters(variant):
    with torch.device("meta"):
        ours, theirs = VTMRNet.from_variant(variant), FocalClickNet.from_variant(variant)
    shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in (ours, theirs)]
    assert shapes[0] == shapes[1]
    if variant == "b0":
        expected = 3_740_773  # docs/methods/focalclick.md#files
        assert sum(p.numel() for p in ours.parameters()) == pytest.approx(expected, rel=0.01)


def test_a_file_of_focalclick_is_read_as_vtmr_when_told(tmp_path):
    torch.manual_seed(1)
    focal = FocalClickNet.from_variant("mini").eval()
    path = saved(tmp_path / "focal.ckpt", "focalclick", focal)
    assert isinstance(clicklab.load(path), FocalClickNet)
    ours = clicklab.load(path, method="vtmr")
    assert isinstance(ours, VTMRNet) and ours.target_zoom == TargetZoom(64)
    asked = torch.rand(1, 3, 64, 64), Clicks.from_list([[(20, 30, 1)]]), torch.zeros(1, 1, 64, 64)
    assert torch.equal(ours(*asked).logits, focal(*asked).logits)
    fresh = network()
    fresh.load_pretrained(path)
    assert torch.equal(fresh(*asked).logits, focal(*asked).logits)


def test_an_official_file_of_focalclick_is_read_as_vtmr_when_told(tmp_path):
    path = tmp_path / "segformerB0_S2_cclvs.pth"
    torch.save(official_checkpoint("segformerb0"), path)
    theirs, ours = clicklab.load(path), clicklab.load(path, method="vtmr")
    assert isinstance(theirs, FocalClickNet) and isinstance(ours, VTMRNet)
    fresh = VTMRNet.from_variant("b0")
    fresh.load_pretrained(path)
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value) and torch.equal(fresh.state_dict()[key], value)
    with pytest.raises(ValueError, match="segmentor"):
        network().load_pretrained(path)  # of another size


def test_its_own_files_keep_the_zoom(tmp_path):
    path = saved(tmp_path / "vtmr.ckpt", "vtmr", network(sigma=7.0, guided_by="clicks"))
    assert clicklab.load(path).target_zoom == TargetZoom(64, 7.0, guided_by="clicks")
    assert clicklab.load(saved(tmp_path / "none.ckpt", "vtmr", network(sigma=None))).target_zoom is None


def test_other_files_are_refused(tmp_path):
    wrong = saved(tmp_path / "wrong.ckpt", "simpleclick", odd())
    with pytest.raises(ValueError, match=r"wrong\.ckpt"):
        clicklab.load(wrong, method="vtmr")
    with pytest.raises(ValueError, match="unknown method 'vtmrr'"):
        clicklab.load(wrong, method="vtmrr")


def odd() -> torch.nn.Module:
    """A network with arguments that VTMR does not know."""
    made = torch.nn.Linear(2, 2)
    made.arguments = {"patch_size": 8}
    return made


def test_the_zoom_takes_over_in_the_second_half():
    assert [zoom_share(click) for click in (1, 9, 10, 11, 15, 20, 25)] == [0, 0, 0.5, 0.55, 0.75, 1, 1]
    assert [zoom_share(click, 4) for click in (1, 2, 3, 4)] == [0, 0.5, 0.75, 1]


def clicked(net: torch.nn.Module, count: int) -> Session:
    """A dialogue of `count` clicks, positive and negative ones in turns, on a drawn scene."""
    session = Session(predictor_for(net, EvaluationProtocol(preset="clean")))
    session.set_image(Shapes(length=1, size=96)[0].image)
    for number in range(count):
        session.add_click(20 + 3 * number, 70 - 2 * number, positive=number % 2 == 0)
    return session


def test_early_clicks_are_answered_as_by_focalclick():
    net = network()
    plain = FocalClickNet.from_variant("mini").eval()
    plain.load_state_dict(net.state_dict())
    assert isinstance(predictor_for(net), VTMRPredictor) and type(predictor_for(plain)) is FocusPredictor
    ours, theirs, without = clicked(net, 9), clicked(plain, 9), clicked(replace_zoom(net), 12)
    assert (ours.probability == theirs.probability).all()
    assert (without.probability == clicked(plain, 12).probability).all()
    assert not (clicked(net, 12).probability == without.probability).all()


def replace_zoom(net: VTMRNet) -> VTMRNet:
    made = network(sigma=None)
    made.load_state_dict(net.state_dict())
    return made


@pytest.mark.parametrize("image", ["drawn", "one colour", "small"])
def test_answers_are_always_numbers(image):
    net = network()
    pixels = Shapes(length=1, size=96)[0].image
    pixels = {"drawn": pixels, "one colour": pixels * 0, "small": pixels[:11, :17]}[image]
    session = Session(predictor_for(net))
    session.set_image(pixels)
    for number in range(22):
        session.add_click(number % 11, number % 17, positive=number % 3 > 0)
        assert ((session.probability >= 0) & (session.probability <= 1)).all()


def test_the_mix_is_that_of_the_logits_inside_the_target_crop():
    """Click 10 asked by hand: half FocalClick's logits, half those of the zoomed crop; outside FocalClick alone."""
    net = network()
    before = clicked(net, 9)
    plain = VTMRPredictor(replace_zoom(net), EvaluationProtocol(preset="clean"))
    session = Session(plain)
    session.history = list(before.history)
    session.add_click(60, 50)
    alone, view = torch.from_numpy(session.probability), session.state.view
    window = target_box(view).window
    before.add_click(60, 50)
    mixed = torch.from_numpy(before.probability)
    outside = torch.ones_like(mixed, dtype=torch.bool)
    outside[window] = False
    assert torch.equal(mixed[outside], alone[outside])
    crop = session.pixels[(..., *window)]
    box = target_box(view)
    clicks = Clicks.from_list([[(y - box.y0, x - box.x0, label) for y, x, label in session.clicks]])
    mask = (alone[window] > 0.5)[None, None]
    warp = TargetZoom(64).warp(mask, clicks)
    size = tuple(mask.shape[-2:])
    with torch.no_grad():
        asked = net(warp.zoom(crop[None]), warp.clicks(clicks, size), warp.zoom(mask.float()))
    zoomed = warp.unzoom(asked.logits, size)[0, 0].clamp(-12, 12)
    wanted = 0.5 * alone[window].logit().clamp(-12, 12) + 0.5 * zoomed
    assert torch.allclose(mixed[window], wanted.sigmoid(), atol=1e-5)


def test_sessions_in_lockstep_are_answered_as_alone():
    net = network()
    predictor = predictor_for(net, EvaluationProtocol(preset="clean"))
    scenes = Shapes(length=3, size=96)
    alone, together = [], []
    for sessions, answer in ((alone, False), (together, True)):
        for number in range(3):
            session = Session(predictor)
            session.set_image(scenes[number].image)
            sessions.append(session)
        for click in range(11):
            for number, session in enumerate(sessions):
                session.place_click(10 + 5 * click, 20 + 9 * number, click % 2 == 0)
                if not answer:
                    session.history[-1:] = predictor.predict([session.state])
            if answer:
                answered = predictor.predict([session.state for session in sessions])
                for session, state in zip(sessions, answered, strict=True):
                    session.history[-1] = state
    for one, other in zip(alone, together, strict=True):
        assert one.clicks == other.clicks
        assert abs(one.probability - other.probability).max() < 1e-4


def test_the_command_line_reads_focalclick_as_vtmr(tmp_path, capsys):
    export_scenes(Shapes(length=1, size=64), tmp_path / "photos", "folder")
    path = saved(tmp_path / "focal.ckpt", "focalclick", FocalClickNet.from_variant("mini"))
    command = ["evaluate", str(path), "--data", f"Folder={tmp_path / 'photos'}", "--max-clicks", "1", "--limit", "1"]
    for more, name in (([], "FocalClickNet"), (["--method", "vtmr"], "VTMRNet")):
        folder = tmp_path / name
        assert main([*command, *more, "--output", str(folder)]) == 0
        assert f'"network": "{name}"' in (folder / "results.json").read_text()


def test_impossible_zooms_are_named():
    with pytest.raises(ValueError, match="sigma"):
        network(sigma=-1.0)
    with pytest.raises(ValueError, match="guided_by"):
        network(guided_by="points")


def test_the_zoom_has_the_larger_share_at_click_15():
    """As for click 10, where both shares are one half."""
    net = network()
    before = clicked(net, 14)
    session = Session(VTMRPredictor(replace_zoom(net), EvaluationProtocol(preset="clean")))
    session.history = list(before.history)
    for one in (session, before):
        one.add_click(60, 50)
    alone, mixed = torch.from_numpy(session.probability), torch.from_numpy(before.probability)
    box = target_box(session.state.view)
    clicks = Clicks.from_list([[(y - box.y0, x - box.x0, label) for y, x, label in session.clicks]])
    mask = (alone[box.window] > 0.5)[None, None]
    warp, size = TargetZoom(64).warp(mask, clicks), tuple(mask.shape[-2:])
    with torch.no_grad():
        asked = net(
            warp.zoom(session.pixels[(..., *box.window)][None]), warp.clicks(clicks, size), warp.zoom(mask.float())
        )
    zoomed = warp.unzoom(asked.logits, size)[0, 0].clamp(-12, 12)
    wanted = 0.25 * alone[box.window].logit().clamp(-12, 12) + 0.75 * zoomed
    assert torch.allclose(mixed[box.window], wanted.sigmoid(), atol=1e-5)


def test_zoomed_views_have_the_shape_that_was_asked_for():
    net, sizes = network(), []
    net.register_forward_hook(lambda module, inputs, _: sizes.append(tuple(inputs[0].shape[-2:])))
    session = Session(VTMRPredictor(net, EvaluationProtocol(preset="clean", zoom_size=(64, 32))))
    session.set_image(np.zeros((80, 90, 3), np.uint8))
    for number in range(11):
        session.add_click(20 + 3 * number, 70 - 2 * number, positive=number % 2 == 0)
    assert sizes == [(64, 32)] * 2  # at clicks 10 and 11
