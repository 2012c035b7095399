"""`clicklab predict` against what the same clicks gave in the page."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import BLUE_AT, GREEN_AT, RED_AT, draw_photo, new_session, open_desk
from PIL import Image
from pycocotools.coco import COCO

from clicklab.annotate import masks
from clicklab.annotate.desk import Person
from clicklab.annotate.events import Event
from clicklab.annotate.exports import export, id_map, write_whole
from clicklab.annotate.prediction import parse_clicks
from clicklab.commands import annotate
from clicklab.commands.main import main

OPEN_SESSION = annotate.open_session


@pytest.fixture(autouse=True)
def without_weights(monkeypatch):
    monkeypatch.setattr(annotate, "open_session", lambda network, device: new_session())


def read(path):
    return np.asarray(Image.open(path)) == 255


def test_clicks_on_the_command_line(tmp_path):
    red, blue, green = draw_photo(tmp_path / "a photo.png")
    clicks = "20,20+ 20,70+ 45,45+ 45.0,45.5-"
    assert main(["predict", str(tmp_path / "a photo.png"), "--clicks", clicks, "--output", str(tmp_path / "out")]) == 0
    assert (read(tmp_path / "out" / "masks" / "a photo.png") == red | blue).all()
    picture = np.asarray(Image.open(tmp_path / "out" / "overlays" / "a photo.jpg"))
    assert picture.shape == (*red.shape, 3)
    coco = COCO(tmp_path / "out" / "instances.json")
    assert (coco.annToMask(coco.loadAnns([1])[0]) == red | blue).all()

    write_whole(tmp_path / "start.png", id_map(green.astype(np.uint16)))
    words = ["--clicks", "20,20+", "--start", str(tmp_path / "start.png"), "--output", str(tmp_path / "out")]
    assert main(["predict", str(tmp_path / "a photo.png"), *words]) == 0
    assert (read(tmp_path / "out" / "masks" / "a photo.png") == green | red).all()  # a right part is not destroyed


def test_a_peer_as_network(tmp_path, monkeypatch):
    monkeypatch.setattr(annotate, "open_session", OPEN_SESSION)
    red, *_ = draw_photo(tmp_path / "a.png")
    words = ["--clicks", "20,20+ 60,88-", "--network", "opencv-grabcut", "--output", str(tmp_path / "out")]
    assert main(["predict", str(tmp_path / "a.png"), *words]) == 0
    found = read(tmp_path / "out" / "masks" / "a.png")
    assert found[20, 20] and not found[60, 88]
    assert (found & red).sum() > 0.9 * red.sum()


def test_recorded_clicks_give_the_recorded_masks(tmp_path, photos):
    desk, anna = open_desk(photos), Person("here", "Anna")
    for photo, at in ((1, RED_AT), (1, BLUE_AT), (3, GREEN_AT)):
        found = desk.add_object(photo, 1, f"object-{photo}-{at}", anna)
        for number, place in enumerate((at, RED_AT)):
            event = Event(f"event-{photo}-{at}-{number}", "click", *map(float, place), True)
            desk.take(found["id"], event, number, anna)
    export(desk.store, "clicks", tmp_path)
    desk.close()
    words = ["--clicks", str(tmp_path / "clicks.json"), "--output", str(tmp_path / "out")]
    assert main(["predict", str(photos), *words]) == 0
    recorded = json.loads((tmp_path / "clicks.json").read_text())["dialogues"]
    coco = COCO(tmp_path / "out" / "instances.json")
    found = coco.loadAnns(coco.getAnnIds())
    assert [one["segmentation"] for one in found] == [one["mask"] for one in recorded]
    for name, one in zip(["photo 2_1", "photo 2_2", "更多/фото"], recorded, strict=True):
        assert (read(tmp_path / "out" / "masks" / f"{name}.png") == masks.decode(one["mask"])).all()


def test_a_short_json_and_photos_that_fail(tmp_path, photos, capsys):
    clicks = {"photo 2.png": [[20, 20, True]], "photo 10.png": [[20, 2000, True]], "absent.png": [[1, 1, True]]}
    (tmp_path / "clicks.json").write_text(json.dumps(clicks))
    words = ["--clicks", str(tmp_path / "clicks.json"), "--output", str(tmp_path / "out")]
    assert main(["predict", str(photos), *words]) == 1
    said = capsys.readouterr()
    assert "masks: 1, photos: 1" in said.out
    assert "2000 lies outside" in said.err and "absent.png cannot be read" in said.err
    before = (tmp_path / "out" / "instances.json").read_bytes()
    words = ["--clicks", "20,2000+", "--output", str(tmp_path / "out")]
    assert main(["predict", str(photos / "photo 2.png"), *words]) == 2
    assert (tmp_path / "out" / "instances.json").read_bytes() == before


@pytest.mark.parametrize(
    ("clicks", "named"),
    [
        ("", "empty"),
        ("20,20", "'20,20' is no click"),
        ("absent.json", "absent.json"),
        ('{"photo 2.png": [[1, 2]]}', "photo 2.png"),
        ('{"photo 2.png": [[1, 2, 1]]}', "photo 2.png"),
        ('{"../secret.png": [[1, 2, true]]}', "outside"),
        ('{"format": "clicklab-clicks", "dialogues": 3}', "dialogues"),
        ("[]", "clicks.json of"),
        ("{", "not json"),
        ("{}", "no clicks on"),
    ],
)
def test_clicks_that_make_no_sense_are_named(tmp_path, photos, capsys, clicks, named):
    target = photos
    if clicks[:1] in ("{", "["):
        (tmp_path / "clicks.json").write_text(clicks)
        clicks = str(tmp_path / "clicks.json")
    elif not clicks.endswith(".json"):
        target = photos / "photo 2.png"
    assert main(["predict", str(target), "--clicks", clicks, "--output", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert named in message and message.count("\n") == 1


def test_signs_and_decimals():
    assert parse_clicks(" 1,2+  3.5,4- ") == ((1.0, 2.0, True), (3.5, 4.0, False))
