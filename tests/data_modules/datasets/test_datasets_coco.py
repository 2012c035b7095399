"""COCO: files in the real format come back; crowds, overlaps, damaged files."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from pycocotools.coco import COCO as PlainCOCO

from data_modules.datasets import open_dataset
from data_modules.datasets.coco import COCO
from data_modules.datasets.shapes import Shapes
from data_modules.scenes import BrokenScene, EvaluationObjects, SkippedObject
from data_modules.tools.export_instances import write_coco


@pytest.fixture(scope="module")
def scenes():
    drawn = Shapes(split="train", length=4, size=(72, 96))
    return [drawn[index] for index in range(4)]


@pytest.fixture
def folder(tmp_path, scenes):
    write_coco(scenes, tmp_path, "val")
    return tmp_path


def changed(folder, change, split="val2017"):
    path = folder / "annotations" / f"instances_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_objects_that_went_in_come_out(folder, scenes):
    dataset = open_dataset("COCO", folder, polygons="fill_poly")
    expected = []
    for index, drawn in enumerate(scenes):
        read = dataset[index]
        instances = [key for key, entry in sorted(drawn.objects.items()) if not entry.stuff]
        assert list(read.objects) == list(range(1, len(instances) + 1))
        for number, key in enumerate(instances, start=1):
            assert np.array_equal(read.mask(number), drawn.mask(key))
        assert np.abs(read.image.astype(int) - drawn.image).mean() < 6  # JPEG
        expected += [(index, number) for number in read.objects]
    assert dataset.objects() == expected and dataset.scene_name(2) == "000000000003"


def test_the_default_draws_as_pycocotools(folder):
    dataset, plain = COCO(folder, "val"), PlainCOCO(folder / "annotations" / "instances_val2017.json")
    for index in range(len(dataset)):
        scene = dataset[index]
        for number, note in enumerate(plain.loadAnns(plain.getAnnIds(imgIds=[index + 1])), start=1):
            assert np.array_equal(scene.mask(number), plain.annToMask(note))


def test_crowds_are_background_unless_asked_for(folder):
    size = [72, 96]
    counts = [0, 72 * 10, 72 * 86]  # the ten left columns

    def add(content):
        crowd = {"id": 900, "image_id": 1, "iscrowd": 1, "segmentation": {"size": size, "counts": counts}}
        content["annotations"].insert(0, crowd)
        content["images"].append(content["images"][0] | {"id": 77, "file_name": "only_a_crowd.jpg"})
        content["annotations"].append(crowd | {"id": 901, "image_id": 77})

    without = COCO(folder)[0]
    changed(folder, add)
    assert np.array_equal(COCO(folder)[0].layers, without.layers) and len(COCO(folder)) == 4
    read = COCO(folder, crowds=True)
    assert len(read) == 5 and len(read[0].objects) == len(without.objects) + 1
    assert np.array_equal(read[0].mask(1), np.repeat([1] * 10 + [0] * 86, 72).reshape(96, 72).T)


def test_unusable_objects_become_skipped_ones_and_the_rest_stays(folder):
    def spoil(content):
        notes = content["annotations"]
        notes[0]["segmentation"] = [[500, 500, 600, 500, 600, 600]]
        notes[1]["segmentation"] = [[1, 2, 3]]
        notes.append(notes[2] | {"id": 5000, "image_id": 4040})

    changed(folder, spoil)
    with pytest.warns(UserWarning, match="polygon of 3 numbers|not listed"):
        dataset = COCO(folder)
    items = list(EvaluationObjects(dataset))
    assert [item.reason for item in items[:2]] == [
        "annotation 1 covers no pixel of the image",
        "annotation 2: a polygon of 3 numbers, which are not pairs of x and y",
    ]
    assert not any(isinstance(item, SkippedObject) for item in items[2:])
    assert any("image_id 4040" in line for line in dataset.problems)


def test_missing_and_wrong_images_are_named(folder):
    images = folder / "val2017"
    (images / "000000000001.jpg").unlink()
    (images / "000000000002.jpg").write_bytes((images / "000000000003.jpg").read_bytes()[:300])
    changed(folder, lambda content: content["images"][2].update(height=50))
    dataset = COCO(folder)
    for index, words in enumerate(("cannot be read", "cut off|not a readable", "96x72 pixels, but .* says 96x50")):
        with pytest.raises(BrokenScene, match=words) as error:
            dataset[index]
        assert f"{index + 1:012d}.jpg" in str(error.value)
    skipped = [item for item in EvaluationObjects(dataset) if isinstance(item, SkippedObject)]
    assert {item.name for item in skipped} == {f"{k:012d}" for k in (1, 2, 3)}


def test_wrong_splits_files_and_folders(folder):
    with pytest.raises(ValueError, match="train2017, val2017"):
        COCO(folder, "test2017")
    with pytest.raises(FileNotFoundError, match=r"train2017.*cocodataset\.org"):
        COCO(folder, "train")
    with pytest.raises(FileNotFoundError, match=r"nowhere.*cocodataset\.org"):
        COCO(folder / "nowhere")
    with pytest.raises(ValueError, match="fill_poly, coco_api"):
        COCO(folder, polygons="exact")
    with pytest.raises(ValueError, match="panoptic file"):
        COCO(folder, annotations=folder / "annotations" / "panoptic_val2017.json")
    changed(folder, lambda content: content.update(annotations=[]))
    with pytest.raises(ValueError, match="no image has an annotation"):
        COCO(folder)
    path = folder / "annotations" / "instances_val2017.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"instances_val2017\.json.*ends in the middle"):
        COCO(folder)


def test_own_files_in_coco_format(folder, scenes):
    path = folder / "annotations" / "instances_val2017.json"
    own = COCO(None, "mine", annotations=path, images=folder / "val2017")
    assert len(own) == len(scenes) and len(pickle.dumps(own)) < 5000
