"""`clicklab.evaluate` takes any torch module that answers clicks."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import clicklab
from data_modules.datasets import Shapes


class NearestColour(torch.nn.Module):
    """Ten lines: object is what looks like the first click."""

    def forward(self, image, clicks, prev_mask):
        y, x = clicks.yx[:, 0].long().unbind(1)
        y, x = y.clamp(0, image.shape[2] - 1), x.clamp(0, image.shape[3] - 1)
        seed = image[torch.arange(len(image)), :, y, x][:, :, None, None]
        distance = (image - seed).square().sum(1, keepdim=True).sqrt()
        return clicklab.Prediction(10 * (0.3 - distance))


def test_a_toy_is_measured_like_any_network():
    results = clicklab.evaluate(NearestColour(), {"Shapes": Shapes(length=3, size=64)}, max_clicks=3, limit=4)
    record = results["datasets"]["Shapes"]
    assert len(record["objects"]) == 4
    assert all(1 <= value <= 3 for value in record["noc"].values())
    assert results["protocol"]["max_clicks"] == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda logits: logits, r"answered a Tensor, expected clicklab\.Prediction"),
        (lambda logits: clicklab.Prediction(logits.numpy()), "logits ndarray"),
        (
            lambda logits: clicklab.Prediction(logits[:, 0]),
            r"logits Tensor \(2, 448, 448\), expected .* \(2, K, 448, 448\)",
        ),
        (lambda logits: clicklab.Prediction(logits[:1]), r"logits Tensor \(1, 1, 448, 448\)"),
        (lambda logits: clicklab.Prediction(logits[:, :0]), r"logits Tensor \(2, 0, 448, 448\)"),
        (lambda logits: clicklab.Prediction(logits[..., ::2, ::2]), r"logits Tensor \(2, 1, 224, 224\)"),
        (lambda logits: clicklab.Prediction(logits, [0.5, 0.5]), r"score list \(\), expected .* \(2, 1\)"),
        (lambda logits: clicklab.Prediction(logits, logits.mean(dim=(1, 2, 3))), r"score Tensor \(2,\)"),
        (
            lambda logits: clicklab.Prediction(logits.repeat(1, 3, 1, 1)),
            r"3 masks for each image without a score.* score a tensor \(2, 3\), or one mask",
        ),
    ],
)
def test_an_answer_of_another_form_is_named(answer, words):
    class Odd(NearestColour):
        def forward(self, image, clicks, prev_mask):
            return answer(super().forward(image, clicks, prev_mask).logits)

    with pytest.raises(ValueError, match=words):
        clicklab.evaluate(Odd(), {"Shapes": Shapes(length=1, size=64)}, limit=1, max_clicks=1)


@pytest.mark.parametrize(("device", "words"), [("gpu", "device gpu: there is no such"), ("cuda:97", "cuda:97: not to")])
def test_a_device_that_is_not_there_is_named(device, words):
    """PyTorch says `Expected one of cpu, cuda, ipu, ...` and `Found no NVIDIA driver`, and names no argument."""
    network = NearestColour()
    with pytest.raises(ValueError, match=words):
        clicklab.evaluate(network, {"Shapes": Shapes(length=1, size=64)}, device=device)
    with pytest.raises(ValueError, match=words):
        clicklab.predictor_for(network, device=device)
    with pytest.raises(ValueError, match=words):
        clicklab.load("some.pth", device)


def test_what_clicklab_offers():
    assert {"Clicks", "Prediction", "Session", "evaluate", "load"} <= set(clicklab.__all__)
    with pytest.raises(AttributeError, match="lode"):
        clicklab.lode  # noqa: B018


def test_readme_session():
    """The lines of the README, with a toy for the network."""
    session = clicklab.Session(clicklab.predictor_for(NearestColour()))
    session.set_image(Shapes(length=1, size=64)[0].image)
    first = session.add_click(12, 8)
    session.add_click(30, 40, positive=False)
    assert (session.undo() == first).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_clicks": 2.5}, "max_clicks is 2.5, expected a whole number"),
        ({"thresholds": 0.9}, "thresholds is 0.9, expected a list of IoUs"),
        ({"limit": "3"}, "limit is '3': give the number"),
        ({"limit": 1.5}, "limit is 1.5: give the number"),
        ({"batch_size": "3"}, "batch_size must be 1 or more, got '3'"),
        ({"zoom_in": 448}, "zoom_in is 448, expected a ZoomIn; a size: zoom_size"),
        ({"zoom_size": "448"}, "zoom_size is '448', expected a number or a pair"),
        ({"output": __file__}, "test_api.py is a file: name a folder"),
    ],
)
def test_settings_of_the_wrong_kind_are_named_before_anything_is_played(options, words):
    with pytest.raises(ValueError, match=words):
        clicklab.evaluate(NearestColour(), {"Shapes": Shapes(length=1, size=64)}, **options)


@pytest.mark.parametrize(
    ("name", "words"),
    [("max_click", "did you mean max_clicks?"), ("zoomsize", "did you mean zoom_size?"), ("qqq", "known: preset")],
)
def test_an_option_that_does_not_exist_gets_the_nearest_name(name, words):
    with pytest.raises(TypeError, match=f"there is no option '{name}'; {re.escape(words)}"):
        clicklab.evaluate(NearestColour(), {"Shapes": Shapes(length=1, size=64)}, **{name: 1})


def test_a_file_name_or_a_network_in_the_wrong_place_is_named():
    with pytest.raises(TypeError, match=r"network is a str, expected a torch module; clicklab\.load\(FILE\)"):
        clicklab.evaluate("a.pth", {"Shapes": Shapes(length=1, size=64)})
    with pytest.raises(TypeError, match="network is a str, expected a torch module"):
        clicklab.predictor_for("a.pth")
    with pytest.raises(TypeError, match="options are a dict, expected"):
        clicklab.predictor_for(NearestColour(), {"max_clicks": 3})
    with pytest.raises(TypeError, match="data is a list, expected names and folders"):
        clicklab.evaluate(NearestColour(), ["photos"])


def test_a_click_that_is_no_pair_of_numbers_is_named():
    session = clicklab.Session(clicklab.predictor_for(NearestColour()))
    session.set_image(Shapes(length=1, size=64)[0].image)
    for y, x in (("1", 2), (1, None)):
        with pytest.raises(ValueError, match="two numbers: got y="):
            session.add_click(y, x)
    session.add_click(np.int64(1), np.float32(2.5))
    assert len(session.clicks) == 1
