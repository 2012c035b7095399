"""Two passes per click: official clicks, crops and IoUs; many sessions at once; masks to correct; next to nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from focus_toys import TwoPass, spoilt
from toys import drawn_object, tensors_of

from clicklab.evaluation.play import play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.focus_predictor import FocusPredictor, inside, target_box
from clicklab.inference.mask_prediction import InitialMask
from clicklab.inference.predictor import predictor_for
from clicklab.inference.session import Session
from clicklab.methods import method_package
from clicklab.records import EvaluationObject
from clicklab.views.focus_crop import progressive_merge
from clicklab.views.frames import Box, ZoomIn

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "focalclick.json").read_text())["plays"]
SMALL = {"zoom_size": (64, 64), "target_iou": 1.01}


class Watched(FocusPredictor):
    """Notes both crops of every session, ends outside, as official code writes them."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.crops = []

    def _focus(self, state, mask):
        box = super()._focus(state, mask)
        self.crops.append([[b.y0, b.y1 + 1, b.x0, b.x1 + 1] for b in (target_box(state.view), box)])
        return box


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['seed']}-{case['kind']}-{case['given']}")
def test_official_clicks_crops_and_ious(case):
    """Empty masks after a zoom, the late clicks and floods of progressive merge are among them."""
    item = drawn_object(case["seed"], tuple(case["size"]))
    if case["given"]:
        item = replace(item, initial_mask=spoilt(item.target, case["seed"]))
    predictor = Watched(
        TwoPass(case["kind"]), EvaluationProtocol(max_clicks=13, target_iou=1.01, initial_masks=case["given"])
    )
    (result,) = play(predictor, [item])
    assert [list(click) for click in result.clicks] == case["clicks"]
    assert [crops[0] for crops in predictor.crops] == case["target_crops"]
    assert [crops[1] for crops in predictor.crops] == case["focus_crops"]
    np.testing.assert_allclose(result.ious, case["ious"], atol=2e-5)


def objects(given=True):
    items = [drawn_object(seed, size) for seed, size in enumerate([(70, 90), (90, 70), (64, 64), (120, 50), (70, 90)])]
    return [
        replace(item, index=row, initial_mask=spoilt(item.target, row) if given else None)
        for row, item in enumerate(items)
    ]


@pytest.mark.parametrize("given", [False, True])
def test_sessions_share_forwards_and_answers_do_not_depend_on_it(given):
    network, protocol = TwoPass(), EvaluationProtocol(max_clicks=12, initial_masks=given, **SMALL)
    together = {r.index: r for r in play(predictor_for(network, protocol), objects(given), 5)}
    assert network.coarse_calls == network.fine_calls == [5] * 12
    for index, item in enumerate(objects(given)):
        (alone,) = play(predictor_for(TwoPass(), protocol), [item], 1)
        assert alone.clicks == together[index].clicks
        np.testing.assert_allclose(alone.ious, together[index].ious, atol=1e-5)


def corrected(protocol, seed=2, clicks=((40, 40, True), (10, 20, False), (60, 60, True))):
    """A session that starts from a spoilt mask, and its masks before and after every click."""
    item = drawn_object(seed, (80, 90))
    session = Session(predictor_for(TwoPass(), protocol))
    session.set_image(item.image)
    session.set_mask(spoilt(item.target, seed))
    masks = [session.mask]
    for y, x, positive in clicks:
        masks.append(session.add_click(y, x, positive))
    return session, masks


def test_a_given_mask_is_corrected_part_by_part():
    session, masks = corrected(EvaluationProtocol(preset="clean", **SMALL))
    memory = session.state.prediction.own.map(0)
    own = memory > 0.5
    expected = progressive_merge(torch.from_numpy(masks[-2]), own, (60, 60), everything_else=False)
    np.testing.assert_array_equal(masks[-1], expected.numpy())
    assert not np.array_equal(masks[-1], own.numpy())  # the network goes on from its own answer, not from the merge
    assert torch.equal(session.predictor.previous(session.state).map(0), memory)
    for before, after, (y, x) in zip(masks[:-1], masks[1:], ((40, 40), (10, 20), (60, 60)), strict=True):
        changed = before != after
        assert not changed.any() or changed[y, x]


def test_broken_weights_show_where_a_mask_is_corrected_too():
    class Broken(TwoPass):
        def step(self, state, clicks, prev_mask):
            answer = super().step(state, clicks, prev_mask)
            return replace(answer, logits=answer.logits * float("nan"))

    item = objects()[0]
    session = Session(FocusPredictor(Broken()))
    session.set_image(item.image)
    session.set_mask(item.initial_mask)
    with pytest.raises(ValueError, match="NaN or Inf; the network's weights are broken"):
        session.add_click(40, 40)


def test_undo_takes_a_correction_back_with_its_memory():
    session, masks = corrected(EvaluationProtocol(**SMALL))
    again = session.mask
    np.testing.assert_array_equal(session.undo(), masks[-2])
    np.testing.assert_array_equal(session.add_click(60, 60), again)
    for mask in masks[-2::-1]:
        np.testing.assert_array_equal(session.undo(), mask)
    assert isinstance(session.state.prediction, InitialMask)


@pytest.mark.parametrize("method", ["focalclick", "vtmr"])
@pytest.mark.parametrize("given", [False, True])
def test_history_keeps_no_maps_of_the_photo(method, given):
    """They take 48 MB a click of a photo of 12 megapixels. Undo paints them again, equal to the bit."""
    network = method_package(method).build({"variant": None, "network_options": {"backbone": "tiny", "image_size": 64}})
    size = 300, 270
    item = drawn_object(3, size)
    session = Session(predictor_for(network))
    session.set_image(item.image)
    if given:
        session.set_mask(item.target == 1)
    first, shown = len(session.history), [session.probability]
    for click in range(13):  # VTMR's zoom comes in from click 10 on, the focus crop alone changes from click 11 on
        session.add_click(20 * click + 10, (70 * click + 50) % 260, click % 3 < 2)
        shown.append(session.probability)
    held = [tensor for turn in session.history[first:-1] for tensor in tensors_of(turn.prediction)]
    assert held and all(tensor.shape[-2:] != size for tensor in held)
    for probability in shown[-2::-1]:
        session.undo()
        np.testing.assert_array_equal(session.probability, probability)


@pytest.mark.parametrize("preset", ["official", "clean"])
def test_further_passes_for_a_click_start_from_the_mask_before_it(preset):
    """A click whose pixel is right after the first pass would flood the mask in the second one."""
    session, masks = corrected(EvaluationProtocol(preset=preset, cascade=2, **SMALL), clicks=((40, 40, True),))
    assert len(session.state.changes) == 2
    answer = session.state.prediction
    np.testing.assert_array_equal(answer.before.numpy(), masks[0])
    own = answer.own.map(0) > 0.5
    expected = progressive_merge(answer.before, own, (40, 40), everything_else=preset == "official")
    np.testing.assert_array_equal(masks[1], expected.numpy())


def test_floods_are_official_and_clean_has_none():
    item = drawn_object(4, (200, 140))
    item = replace(item, initial_mask=spoilt(item.target, 4))
    (official,) = play(
        predictor_for(TwoPass(), EvaluationProtocol(max_clicks=13, target_iou=1.01, initial_masks=True)), [item]
    )
    protocol = EvaluationProtocol(max_clicks=13, target_iou=1.01, initial_masks=True, preset="clean")
    (clean,) = play(predictor_for(TwoPass(), protocol), [item])
    assert min(official.ious[7:]) < 0.1
    assert min(clean.ious[7:]) > 0.9


@pytest.mark.parametrize("preset", ["official", "clean"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 3), (33, 64)])
@pytest.mark.parametrize("given", [False, True])
def test_single_pixels_and_borders_never_crash(preset, size, given):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for kind in ("colour", "moody"):
        for y, x in ((0, 0), (size[0] - 1, size[1] - 1)):
            target = np.zeros(size, np.int8)
            target[y, x] = 1
            item = EvaluationObject(image, target, "pixel", 1, 0, rng.random(size) > 0.5 if given else None)
            protocol = EvaluationProtocol(max_clicks=13, preset=preset, initial_masks=given, **SMALL)
            (result,) = play(predictor_for(TwoPass(kind), protocol), [item])
            assert len(result.ious) == 13
            assert np.isfinite(result.ious).all()


def test_late_clicks_change_the_focus_crop_alone():
    predictor = Watched(TwoPass(), EvaluationProtocol(**SMALL))
    session = Session(predictor)
    item = drawn_object(3, (80, 90))
    session.set_image(item.image)
    rng = np.random.default_rng(0)
    for count in range(14):
        before = session.probability
        y, x = (int(v) for v in rng.integers((80, 90)))
        session.add_click(y, x, bool(item.target[y, x] == 1))
        y0, y1, x0, x1 = predictor.crops[-1][1]
        outside = np.ones((80, 90), bool)
        outside[y0:y1, x0:x1] = False
        if count >= 10:
            np.testing.assert_array_equal(session.probability[outside], before[outside])


def test_the_focus_crop_in_the_coarse_view():
    assert inside(Box(10, 20, 29, 59), Box(15, 30, 19, 49), (64, 64)) == (16.0, 16.0, 48.0, 32.0)
    assert inside(Box(10, 20, 29, 59), Box(0, 0, 99, 99), (64, 64)) == (0.0, 0.0, 64.0, 64.0)


def test_views_have_one_size_whatever_the_protocol_says():
    network = TwoPass(image_size=48)
    for options, size in (
        ({}, (48, 48)),
        ({"zoom": False}, (48, 48)),
        ({"zoom_size": 32}, (32, 32)),
        ({"zoom_size": (64, 32)}, (64, 32)),
        ({"zoom_in": ZoomIn(40, skip_clicks=1)}, (40, 40)),
    ):
        predictor = predictor_for(network, EvaluationProtocol(**options), view_scale=1.5)
        session = Session(predictor)
        session.set_image(np.zeros((50, 70, 3), np.uint8))
        session.add_click(20, 30)
        session.add_click(10, 30)
        assert session.state.view is not None and session.state.view.size == predictor.view_size == size


def test_the_network_says_threshold_and_flip():
    predictor = predictor_for(TwoPass())
    assert (predictor.mask_threshold, predictor.options.flip) == (0.5, False)
    assert predictor_for(TwoPass(), EvaluationProtocol(mask_threshold=0.3)).mask_threshold == 0.3
    assert EvaluationProtocol().to_dict(TwoPass())["mask_threshold"] == 0.5
    with pytest.raises(ValueError, match="flip"):
        predictor_for(TwoPass(), EvaluationProtocol(flip=True))


def test_a_limit_of_clicks_holds_for_the_coarse_pass_alone(monkeypatch):
    """Card focalclick, section 4: the focus view is shown all clicks."""
    network, seen = TwoPass(), []
    for name in ("step", "refine"):
        passed = getattr(network, name)
        monkeypatch.setattr(network, name, lambda *a, passed=passed: (seen.append(a[1].slots), passed(*a))[1])
    session = Session(predictor_for(network, EvaluationProtocol(zoom_size=(64, 64), net_clicks_limit=2)))
    session.set_image(np.zeros((80, 90, 3), np.uint8))
    for y in (10, 20, 30, 40):
        session.add_click(y, 20)
    assert seen[::2] == [1, 2, 2, 2] and seen[1::2] == [1, 2, 3, 4]
