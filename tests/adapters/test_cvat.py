"""CVAT: an agent's function through cvat-sdk and cvat's own decoder, and the nuclio function as nuclio calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from cvat_sdk import auto_annotation
from cvat_sdk.masks import decode_mask
from pictures import OFF, ON
from PIL import Image

import clicklab
from clicklab.adapters import cvat_agent
from clicklab.clicks.maps import disk_maps
from clicklab.commands.main import main
from clicklab.export.cvat import identifier, make_function
from clicklab.export.folder import export_folder
from clicklab.nn.network import ClickNetwork
from clicklab.records import Prediction
from clicklab.views.zoom_in import ZoomIn

FIRST, SECOND, THIRD = (*ON, True), (*OFF, False), (ON[0] + 6, ON[1] + 3, True)


def prompts(*clicks):
    """As an agent hands them over: x before y, positive and negative apart."""
    positive = tuple((x + 0.3, y + 0.3) for y, x, sign in clicks if sign)
    negative = tuple((x + 0.3, y + 0.3) for y, x, sign in clicks if not sign)
    return SimpleNamespace(pos_points=positive, neg_points=negative, bounding_box=None)


@pytest.fixture
def function(monkeypatch, network):
    monkeypatch.setattr(cvat_agent, "load", lambda checkpoint, device: network)
    return cvat_agent.create(checkpoint="toy.pth")


def test_an_agent_is_answered_with_masks_that_cvat_decodes(function, picture, network):
    assert function.spec == auto_annotation.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0)
    frame = function.preprocess_image(None, Image.fromarray(picture.pixels))
    height, width = picture.pixels.shape[:2]
    sent = ([FIRST], [FIRST, SECOND], [FIRST, THIRD, SECOND])
    for clicks, wanted in zip(sent, picture.masks(FIRST, SECOND, THIRD), strict=True):
        (shape,) = function.detect(None, frame, prompts(*clicks))
        assert isinstance(shape, auto_annotation.InteractionResultShape) and shape.type == "mask"
        np.testing.assert_array_equal(decode_mask(shape.points, image_width=width, image_height=height), wanted)
        (confidence,) = shape.attributes
        assert confidence.spec_id == auto_annotation.InteractionResultAttributes.CONFIDENCE
        assert 0 <= float(confidence.value) <= 1
    assert len(network.started) <= 3  # the frame itself once, zoomed views of it besides


def test_an_agent_is_told_what_is_wrong(function, picture):
    frame = function.preprocess_image(None, Image.fromarray(picture.pixels).convert("L"))
    with pytest.raises(ValueError, match="outside"):
        function.detect(None, frame, prompts((500, 3, True)))
    with pytest.raises(ValueError, match="positive"):
        function.detect(None, frame, prompts(SECOND))


class Small(ClickNetwork):
    """Image, clicks and previous mask through one convolution: few operators, quickly exported."""

    zoom_in = ZoomIn(target_size=64)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = torch.nn.Conv2d(6, 1, 5, padding=2)

    def step(self, state, clicks, prev_mask):
        disks = disk_maps(clicks, prev_mask.shape[-2:], 8.0)
        return Prediction(8 * self.mix(torch.cat([state, disks, prev_mask], dim=1)), state=state)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The nuclio function of a small network with made-up weights."""
    network = Small().eval()
    made = export_folder(network, tmp_path_factory.mktemp("cvat"), source="made up")
    return network, make_function(made, "small")


def test_the_function_says_what_cvat_reads(folder):
    _, place = folder
    text = yaml.safe_load((place / "function.yaml").read_text())
    annotations = text["metadata"]["annotations"]
    assert annotations["type"] == "interactor" and int(annotations["version"]) == 2
    assert json.loads(annotations["spec"] or "[]") == []
    assert (int(annotations["min_pos_points"]), int(annotations["min_neg_points"])) == (1, 0)
    assert "startswith_box" not in annotations
    assert text["spec"]["handler"] == "main:handler"
    assert identifier("Ünïcode & more/2") == "onnx-clicklab-n-code-more-2"


SCRIPT = """
import json, sys
from types import SimpleNamespace as Any
sys.modules["torch"] = sys.modules["clicklab"] = None  # imports of them fail
sys.path.insert(0, sys.argv[1])
import main
log = Any(info=lambda text: None, error=lambda text: None)
context = Any(user_data=Any(), logger=log, Response=lambda **fields: Any(**fields))
main.init_context(context)
for body in json.load(open(sys.argv[2])):
    answer = main.handler(context, Any(body=body))
    print(json.dumps([answer.status_code, answer.content_type, json.loads(answer.body)]))
"""


def test_nuclio_is_answered_without_torch_and_with_the_same_masks(folder, picture, tmp_path):
    network, place = folder
    sent = ([FIRST], [FIRST, SECOND], [FIRST, THIRD, SECOND])
    bodies = []
    for clicks in sent:
        given = prompts(*clicks)
        body = {"image": picture.base64, "pos_points": given.pos_points, "neg_points": given.neg_points}
        bodies.append(body | {"obj_bbox": None})
    wrong = [
        bodies[0] | {"image": None},
        bodies[0] | {"image": "AAAA"},
        bodies[0] | {"pos_points": []},
        bodies[0] | {"pos_points": [[900, 3]]},
        bodies[0] | {"pos_points": [["a"]]},
    ]
    (tmp_path / "bodies.json").write_text(json.dumps(bodies + wrong))
    command = [sys.executable, "-c", SCRIPT, str(place), str(tmp_path / "bodies.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    session = clicklab.Session(network)
    session.set_image(picture.pixels)
    for click, (status, kind, body) in zip((FIRST, SECOND, THIRD), answers[:3], strict=True):
        assert (status, kind) == (200, "application/json")
        found = np.array(body["mask"])
        assert set(np.unique(found)) <= {0, 255}
        assert ((found > 0) != session.add_click(*click)).mean() < 1e-3
    assert [status for status, _, _ in answers[3:]] == [400] * len(wrong)
    assert all(set(body) == {"error"} and body["error"] for _, _, body in answers[3:])


def test_networks_that_the_small_runtime_cannot_play_are_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match="agent"):
        make_function(tmp_path, "x")
    assert main(["export"]) == 2
    assert "--cvat DIR" in capsys.readouterr().err
