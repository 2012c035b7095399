"""An exported folder where the commands want a checkpoint: the same clicks and masks as with the network itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from toys import drawn_object

import clicklab
from clicklab.annotate.desk import Desk, Person
from clicklab.annotate.engine import Engine
from clicklab.annotate.events import Event
from clicklab.annotate.masks import decode
from clicklab.annotate.photos import Photos, list_photos
from clicklab.annotate.store import Store
from clicklab.checkpoint import write_weights
from clicklab.commands.annotate import open_session
from clicklab.commands.main import main
from data_modules.datasets import Shapes
from data_modules.tools.export_shapes import export_scenes


@pytest.fixture(scope="module")
def ways(exported, tmp_path_factory):
    """The checkpoint and the folder of one network."""
    network, folder = exported("clicklite")
    checkpoint = tmp_path_factory.mktemp("weights") / "network.safetensors"
    write_weights("clicklite", network, checkpoint)
    return checkpoint, folder


def test_evaluate(ways, tmp_path):
    export_scenes(Shapes(length=4, size=96), tmp_path / "scenes", "grabcut")
    clicks = []
    for number, way in enumerate(ways):
        words = ["--data", f"GrabCut={tmp_path / 'scenes'}", "--output", str(tmp_path / str(number))]
        assert main(["evaluate", str(way), *words, "--max-clicks", "4", "--device", "cpu"]) == 0
        results = json.loads((tmp_path / str(number) / "results.json").read_text())
        clicks.append([row["clicks"] for row in results["datasets"]["GrabCut"]["objects"]])
    assert clicks[0] == clicks[1] and len(clicks[0]) == 4


def test_predict(ways, tmp_path):
    Image.fromarray(drawn_object(5, (150, 230)).image).save(tmp_path / "photo.png")
    masks = []
    for number, way in enumerate(ways):
        words = ["--clicks", "70,100+ 10,20-", "--network", str(way), "--output", str(tmp_path / str(number))]
        assert main(["predict", str(tmp_path / "photo.png"), *words, "--device", "cpu"]) == 0
        masks.append(np.asarray(Image.open(tmp_path / str(number) / "masks" / "photo.png")))
    assert 0 < masks[0].mean() < 255 and (masks[0] != masks[1]).mean() < 1e-3


def test_annotate(ways, tmp_path):
    _, folder = ways
    image = drawn_object(5, (150, 230)).image
    Image.fromarray(image).save(tmp_path / "photo.png")
    store, person = Store(tmp_path / "clicklab"), Person("here", "Anna")
    store.set_photos(list_photos(tmp_path, tmp_path / "clicklab")[0])
    store.add_class("thing")
    photos = Photos(tmp_path)
    desk = Desk(store, photos, Engine(lambda: open_session(str(folder), "cpu"), photos, "exported"))
    made = desk.add_object(1, 1, "object-1", person)
    told = desk.take(made["id"], Event("event-1", "click", 70.0, 100.0, True), 0, person)
    desk.close()
    session = clicklab.Session(clicklab.load(ways[0]))
    session.set_image(image)
    wanted = session.add_click(70, 100)
    assert (decode(told["mask"]) != wanted).mean() < 1e-3
