"""Label Studio's backend: its requests, its own decoder of brush masks, its images."""

from __future__ import annotations

import importlib.util
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from pictures import OFF, ON, SIZE

from clicklab.adapters.brush_rle import LONGEST, encode

CONFIG = """<View><Image name="photo" value="$picture"/>
<BrushLabels name="brush" toName="photo"><Label value="cat"/></BrushLabels>
<KeyPointLabels name="points" toName="photo" smart="true"><Label value="cat"/></KeyPointLabels></View>"""
CLICKS = [(*ON, True), (*OFF, False)]


@pytest.fixture(scope="module")
def decode():
    """`decode_rle` of label-studio-sdk; the rest of that package wants an older OpenCV than ours."""
    from importlib.metadata import distribution

    (file,) = [file for file in distribution("label-studio-sdk").files if str(file).endswith("converter/brush.py")]
    spec = importlib.util.spec_from_file_location("label_studio_brush", file.locate())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda values, size: module.decode_rle(values).reshape(*size, 4)


@pytest.fixture
def studio(picture):
    """A server that has one picture for whoever shows the token; notes who asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("authorization")))
            known = self.path == "/data/upload/1/a.png" and self.headers.get("authorization") == "Token secret"
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(picture.content if known else b"")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def key_point(click):
    """As the page sends it: the middle of a pixel in percent."""
    y, x, positive = click
    height, width = SIZE
    value = {
        "x": 100 * (x + 0.5) / width,
        "y": 100 * (y + 0.5) / height,
        "width": 0.3,
        "keypointlabels": ["cat"],
    }
    sizes = {"original_width": width, "original_height": height, "image_rotation": 0}
    return {"type": "keypointlabels", "is_positive": int(positive), "value": value, "id": f"{y}{x}", **sizes}


def request(picture, *clicks, address=None):
    task = {"id": 7, "data": {"picture": address or f"data:image/png;base64,{picture.base64}"}}
    context = {"result": [key_point(click) for click in clicks]}
    return {"tasks": [task], "label_config": CONFIG, "project": "1.2", "params": {"context": context}}


@pytest.mark.parametrize("seed", range(4))
def test_their_decoder_gives_our_masks_back(decode, seed):
    rng = np.random.default_rng(seed)
    size = (rng.integers(1, 300), rng.integers(1, 300))
    masks = {
        "noise": rng.random(size) < 0.5,
        "disk": np.hypot(*(np.indices(size) - np.array(size)[:, None, None] / 2)) < 40,
        "full": np.ones(size, bool),
        "empty": np.zeros(size, bool),
    }
    for name, mask in masks.items():
        decoded = decode(encode(mask), size)
        assert set(np.unique(decoded)) <= {0, 255}, name
        np.testing.assert_array_equal(decoded > 0, np.repeat(mask[..., None], 4, axis=2), err_msg=name)


def test_runs_longer_than_a_length_are_cut(decode):
    size = (130, 1000)  # one run of 520 000 bytes
    for length in (LONGEST // 4, LONGEST // 4 + 1, 130_000):
        mask = np.arange(130_000).reshape(size) < length
        np.testing.assert_array_equal(decode(encode(mask), size)[..., 3] > 0, mask)


def test_clicks_become_a_brush_mask(client, picture, decode):
    assert client.get("/health").json()["status"] == "UP"
    for number, wanted in enumerate(picture.masks(*CLICKS), start=1):
        answer = client.post("/predict", json=request(picture, *CLICKS[:number]))
        assert answer.status_code == 200, answer.text
        (result,) = answer.json()["results"]
        (region,) = result["result"]
        assert region["from_name"] == "brush" and region["to_name"] == "photo" and region["type"] == "brushlabels"
        assert (region["original_height"], region["original_width"]) == SIZE
        assert region["value"]["brushlabels"] == ["cat"] and region["value"]["format"] == "rle"
        np.testing.assert_array_equal(decode(region["value"]["rle"], SIZE)[..., 3] > 0, wanted)


def test_tasks_without_clicks_get_no_mask(client, picture):
    body = request(picture) | {"params": {}}
    assert client.post("/predict", json=body).json()["results"] == []  # else every task gets an empty prediction
    assert client.post("/webhook", json={"action": "PROJECT_UPDATED"}).status_code == 201


def test_images_are_fetched_once_and_with_the_token_of_setup(client, picture, studio):
    host, asked = studio
    said = client.post("/setup", json={"project": "1.2", "hostname": host, "access_token": "secret"})
    assert said.json()["model_version"] == "toy"
    for number in (1, 2):
        answer = client.post("/predict", json=request(picture, *CLICKS[:number], address="/data/upload/1/a.png"))
        assert answer.status_code == 200, answer.text
    assert asked == [("/data/upload/1/a.png", "Token secret")]


def test_the_token_is_shown_to_label_studio_only(client, picture, studio):
    host, asked = studio
    client.post("/setup", json={"hostname": "http://127.0.0.1:9", "access_token": "secret"})
    answer = client.post("/predict", json=request(picture, CLICKS[0], address=f"{host}/data/upload/1/a.png"))
    assert answer.status_code == 422 and "401" in answer.text
    assert asked == [("/data/upload/1/a.png", None)]


def test_mistakes_are_said_in_a_sentence(client, picture):
    good = request(picture, CLICKS[0])
    far = key_point(CLICKS[0])
    far["value"]["x"] = 101
    box = key_point(CLICKS[0]) | {"type": "rectanglelabels"}
    cases = {
        "no task": good | {"tasks": []},
        "no image": good | {"tasks": [{"id": 1, "data": {}}]},
        "outside": good | {"params": {"context": {"result": [far]}}},
        "only smart key points": good | {"params": {"context": {"result": [box]}}},
        "lacks": good | {"params": {"context": {"result": [{"type": "keypointlabels"}]}}},
        "BrushLabels": good | {"label_config": "<View/>"},
        "not XML": good | {"label_config": "<View"},
        "positive": request(picture, CLICKS[1]),
        "only http": request(picture, CLICKS[0], address="s3://bucket/a.png"),
        "cannot be fetched": request(picture, CLICKS[0], address="http://127.0.0.1:9/a.png"),
        "not an image": request(picture, CLICKS[0], address="data:image/png;base64,AAAA"),
    }
    for words, body in cases.items():
        answer = client.post("/predict", json=body)
        assert answer.status_code == 422 and words in answer.text and "\n" not in answer.text, (words, answer.text)
    assert client.post("/predict", content=b"{").status_code == 422
    assert client.post("/predict", content=b"[]").status_code == 422
