"""X-AnyLabeling's remote server: requests as its client sends them (the page "router" of X-AnyLabeling-Server)."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import OFF, ON
from PIL import Image, ImageDraw

from clicklab.adapters.x_anylabeling import polygons

CLICKS = [(*ON, True), (*OFF, False)]


def request(picture, *clicks, **params):
    marks = [{"type": "point", "data": [x + 0.4, y + 0.4], "label": int(positive)} for y, x, positive in clicks]
    image = f"data:image/png;base64,{picture.base64}"
    defaults = {"conf_threshold": 0.0, "iou_threshold": 0.0, "epsilon_factor": 0.0}
    return {"model": "clicklab", "image": image, "params": {"marks": marks} | defaults | params}


def filled(shapes, size):
    """(H, W) bool of polygons: pixels whose centres have an odd number of lines on their right."""
    y, x = np.indices(size) + 0.5
    inside = np.zeros(size, bool)
    for shape in shapes:
        points = np.array(shape, dtype=float)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if y0 != y1:
                inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def test_the_model_is_listed_with_the_clients_buttons(client):
    answer = client.get("/v1/models").json()
    (facts,) = answer["data"].values()
    assert answer["success"] and facts["display_name"] == "ClickLab toy"
    assert {"name": "button_add_point", "value": None} in facts["widgets"]
    assert facts["batch_processing_mode"] is None  # the client then asks for clicks, not for whole folders


def test_clicks_become_polygons(client, picture):
    for number, wanted in enumerate(picture.masks(*CLICKS), start=1):
        answer = client.post("/v1/predict", json=request(picture, *CLICKS[:number])).json()
        assert answer["success"] and answer["data"]["replace"] is False
        shapes = answer["data"]["shapes"]
        assert all(shape["shape_type"] == "polygon" and 0 <= shape["score"] <= 1 for shape in shapes)
        np.testing.assert_array_equal(filled([shape["points"] for shape in shapes], wanted.shape), wanted)


def test_holes_and_parts_stay_and_fineness_saves_corners():
    drawing = Image.new("1", (200, 150))
    pen = ImageDraw.Draw(drawing)
    pen.ellipse((10, 10, 110, 140), fill=1)
    pen.ellipse((40, 50, 80, 100), fill=0)
    pen.ellipse((140, 20, 190, 60), fill=1)
    mask = np.array(drawing)
    exact, smooth = polygons(mask, 0.0), polygons(mask, 0.005)
    assert len(exact) == len(smooth) == 2
    np.testing.assert_array_equal(filled(exact, mask.shape), mask)
    assert sum(map(len, smooth)) < sum(map(len, exact)) / 4
    found = filled(smooth, mask.shape)
    assert (found & mask).sum() / (found | mask).sum() > 0.95
    assert not found[75, 60]


@pytest.mark.parametrize(
    "change, code, words",
    [
        ({"model": "other"}, "MODEL_NOT_FOUND", "other"),
        ({"image": None}, "INVALID_IMAGE", "missing"),
        ({"image": "no base64!"}, "INVALID_IMAGE", "base64"),
        ({"image": "AAAA"}, "INVALID_IMAGE", "not an image"),
        ({"params": {}}, "INFERENCE_ERROR", "click on an object"),
        ({"params": 3}, "INFERENCE_ERROR", "params"),
        ({"params": {"marks": [{"type": "rectangle", "data": [0, 0, 5, 5]}]}}, "INFERENCE_ERROR", "only points"),
        ({"params": {"marks": [{"type": "point", "data": [1e9, 3], "label": 1}]}}, "INFERENCE_ERROR", "outside"),
        ({"params": {"marks": [{"type": "point", "data": ["a", 3], "label": 1}]}}, "INFERENCE_ERROR", "x and y"),
    ],
)
def test_errors_have_the_protocols_form(client, picture, change, code, words):
    answer = client.post("/v1/predict", json=request(picture, CLICKS[0]) | change)
    assert answer.status_code == 422  # so that the client's window says something
    assert answer.json()["success"] is False and answer.json()["error"]["code"] == code
    assert words in answer.json()["error"]["message"]
