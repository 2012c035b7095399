"""`clicklab export`: graphs that answer as the network does, a runtime without torch, folders that are checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from conftest import built
from toys import drawn_object

import clicklab
from clicklab.commands.main import main
from clicklab.export.folder import export_folder
from clicklab.export.names import SLOTS
from clicklab.export.onnx_network import OPTIONS, OnnxNetwork
from clicklab.export.parts import flat_state, nested_state
from clicklab.export.quantise import quantise_folder
from clicklab.export.runtime import session as runtime
from clicklab.methods import METHODS
from clicklab.records import Clicks
from clicklab.views.frames import resize

QUICK = ["clicklite", "simpleclick", "focalclick", "disnet", "plain"]  # every way in which networks are taken apart
NETWORKS = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(METHODS.keys() - QUICK))]
ANY = (70, 100)  # of a view that may have any size: no multiple of what the network fills it up to


@pytest.mark.parametrize("method", NETWORKS)
def test_graphs_answer_as_the_network_does(exported, method):
    network, folder = exported(method)
    onnx = clicklab.load(folder)
    assert isinstance(onnx, OnnxNetwork) and not onnx.training
    torch.manual_seed(1)
    size = onnx.options["size"] or ANY
    image, prev_mask = torch.rand(2, 3, *size), torch.rand(2, 1, *size)
    clicks = Clicks.from_list([[(10.5, 20.2, 1), (30, 9, 0)], [(40, 40, 1), (12.25, 7.5, 1)]])
    with torch.no_grad():
        wanted, found = network(image, clicks, prev_mask), onnx(image, clicks, prev_mask)
    assert found.logits.shape == wanted.logits.shape and wanted.logits.std() > 1e-3
    torch.testing.assert_close(found.logits, wanted.logits, atol=1e-3, rtol=1e-4)
    if wanted.score is not None:
        torch.testing.assert_close(found.score, wanted.score, atol=1e-3, rtol=1e-4)


def test_the_second_stage_answers_as_the_network_does(exported):
    network, folder = exported("focalclick")
    onnx = clicklab.load(folder)
    torch.manual_seed(2)
    side = onnx.image_size
    image, focus = torch.rand(1, 3, side, side), torch.rand(1, 3, side, side)
    clicks, boxes = Clicks.from_list([[(40, 30, 1)]]), torch.tensor([[3.0, 10.5, 50.0, 45.0]])
    with torch.no_grad():
        coarse = [one(image, clicks, torch.zeros(1, 1, side, side)) for one in (network, onnx)]
        wanted = network.refine(focus, clicks, coarse[0], boxes).logits
        found = onnx.refine(focus, clicks, coarse[1], boxes).logits
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("method", NETWORKS)
def test_dialogues_of_a_folder_are_those_of_its_network(exported, method):
    network, folder = exported(method)
    item = drawn_object(3, (90, 120))
    masks = []
    for one in (network, clicklab.load(folder)):
        session = clicklab.Session(one)
        session.set_image(item.image)
        masks.append([session.add_click(40, 50), session.add_click(5, 5, positive=False), session.undo()])
    for wanted, found in zip(*masks, strict=True):
        assert (wanted != found).mean() < 1e-3


def test_the_runtime_needs_no_torch_and_gives_the_same_masks(exported, tmp_path):
    network, folder = exported("clicklite")
    item = drawn_object(5, (150, 230))
    np.save(tmp_path / "image.npy", item.image)
    script = f"""
import sys
sys.modules["torch"] = None  # an import of it fails
sys.path.insert(0, {str(folder)!r})
import numpy as np
from session import Session
session = Session({str(folder)!r})
session.set_image(np.load({str(tmp_path / "image.npy")!r}))
masks = [session.add_click(70, 100), session.add_click(10, 20, positive=False), session.undo(), session.redo()]
np.save({str(tmp_path / "probability.npy")!r}, session.probability)
np.save({str(tmp_path / "masks.npy")!r}, np.stack(masks))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    ours = clicklab.Session(network)
    ours.set_image(item.image)
    wanted = [ours.add_click(70, 100), ours.add_click(10, 20, positive=False), ours.undo(), ours.redo()]
    found = np.load(tmp_path / "masks.npy")
    assert all((one != other).mean() < 1e-3 for one, other in zip(wanted, found, strict=True))
    np.testing.assert_allclose(np.load(tmp_path / "probability.npy"), ours.probability, atol=1e-3)


def test_the_runtime_is_short_and_resizes_as_torch_does():
    assert len(Path(runtime.__file__).read_text().splitlines()) <= 200
    maps = np.random.default_rng(0).random((2, 37, 53), dtype=np.float32)
    for size in ((20, 90), (37, 10), (1, 1), (120, 53)):
        wanted = resize(torch.from_numpy(maps), size).numpy()
        np.testing.assert_allclose(runtime.resize(maps, size), wanted, atol=1e-5)  # torch places samples in float32


def test_the_folder_says_what_it_holds(exported):
    _, folder = exported("clicklite")
    options = json.loads((folder / OPTIONS).read_text())
    assert options["network"] == "ClickLiteNet" and options["slots"] == SLOTS and options["side_multiple"] == 32
    assert set(options["sha256"]) == {"image.onnx", "click.onnx"}
    text = (folder / "README.md").read_text()
    assert "made up" in text and "from session import Session" in text
    assert (folder / "session.py").is_file()
    assert not (exported("focalclick")[1] / "session.py").exists()


def test_states_are_taken_apart_and_put_together_again():
    a, b, c = (torch.full((1,), float(value)) for value in range(3))
    state = {"x": (a, None), "y": [b, {"z": c}]}
    flat = flat_state(state)
    assert list(flat) == ["state_x_0", "state_y_0", "state_y_1_z"]
    again = nested_state(state, list(flat.values()))
    assert again["x"][0] is a and again["x"][1] is None and again["y"][1]["z"] is c
    with pytest.raises(ValueError, match="ndarray"):
        flat_state({"x": np.zeros(1)})


def test_mistakes_end_in_one_line(exported, tmp_path, capsys):
    network, folder = exported("clicklite")
    with pytest.raises(ValueError, match=r"near it 32 and 48 would do; without --size"):
        export_folder(built("simpleclick"), tmp_path / "odd", source="made up", size=45)
    for size in (0, -3, 10**6):
        with pytest.raises(ValueError, match="sides of 1 to 8192"):
            export_folder(network, tmp_path / "odd", source="made up", size=size)
    with pytest.raises(ValueError, match="--opset 17: graphs can be of opset 20 to 23"):
        export_folder(network, tmp_path / "odd", source="made up", opset=17)
    checkpoint = tmp_path / "network.safetensors"
    clicklab.save(network, tmp_path / "hub")
    (tmp_path / "hub" / "model.safetensors").rename(checkpoint)
    assert main(["export", str(checkpoint), "--output", str(tmp_path / "x"), "--calibrate", str(tmp_path)]) == 2
    with pytest.raises(ValueError, match=f"{SLOTS} slots"):
        clicklab.load(folder).step({}, Clicks.from_list([[(0, 0, 1)] * (SLOTS + 1)]), torch.zeros(1, 1, 64, 64))
    options = json.loads((folder / OPTIONS).read_text())
    other = tmp_path / "other"
    other.mkdir()
    (other / OPTIONS).write_text(json.dumps(options | {"format": "x"}))
    with pytest.raises(ValueError, match="export the network again"):
        clicklab.load(other)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "--int8" in said[0]


def test_eight_bits_are_smaller_and_answer_nearly_the_same(exported, tmp_path):
    from PIL import Image

    _, folder = exported("clicklite")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        Image.fromarray(drawn_object(number, (90, 120)).image).save(photos / f"{number}.png")
    small = copytree(folder, tmp_path / "small")
    with pytest.raises(ValueError, match="--calibrate"):
        quantise_folder(small, None)
    quantise_folder(small, photos)
    assert json.loads((small / OPTIONS).read_text())["int8"]
    item = drawn_object(1, (90, 120))
    probabilities = []
    for place in (folder, small):
        session = clicklab.Session(clicklab.load(place))
        session.set_image(item.image)
        session.add_click(40, 50)
        probabilities.append(session.probability)
    assert 0 < np.abs(probabilities[0] - probabilities[1]).mean() < 0.1
