"""LVIS: files in the real format come back, images are found by their url; the real sample against the lvis package."""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np
import pytest

from data_modules.datasets import open_dataset
from data_modules.datasets.lvis import LVIS, LVIS_v05
from data_modules.datasets.shapes import Shapes
from data_modules.scenes import BrokenScene
from data_modules.tools.export_instances import write_lvis


@pytest.fixture(scope="module")
def scenes():
    drawn = Shapes(split="train", length=3, size=(72, 96))
    return [drawn[index] for index in range(3)]


@pytest.fixture
def folder(tmp_path, scenes):
    write_lvis(scenes, tmp_path, "val")
    return tmp_path


def test_the_objects_that_went_in_come_out(folder, scenes):
    dataset = open_dataset("LVIS", folder)
    for index, drawn in enumerate(scenes):
        read = dataset[index]
        instances = [key for key, entry in sorted(drawn.objects.items()) if not entry.stuff]
        assert list(read.objects) == list(range(1, len(instances) + 1))
        for number, key in enumerate(instances, start=1):
            assert np.array_equal(read.mask(number), drawn.mask(key))
    assert len(dataset.objects()) == sum(not entry.stuff for drawn in scenes for entry in drawn.objects.values())


def test_images_of_both_coco_folders(folder):
    path = folder / "val" / "lvis_v1_val.json"
    content = json.loads(path.read_text())
    content["images"][1]["coco_url"] = content["images"][1]["coco_url"].replace("val2017", "train2017")
    path.write_text(json.dumps(content))
    dataset = LVIS(folder)
    with pytest.raises(BrokenScene, match="train2017"):  # not taken from the other folder by its name
        dataset[1]
    (folder / "train" / "images").mkdir(parents=True)
    moved = folder / "train" / "images" / "000000000002.jpg"
    (folder / "val" / "images" / "000000000002.jpg").rename(moved)
    dataset = LVIS(folder)
    assert dataset[1].name == "000000000002" and dataset[0].name == "000000000001"
    plain = folder / "plain"
    plain.mkdir()
    (folder / "train" / "images").rename(plain / "train2017")
    (folder / "val" / "images").rename(plain / "val2017")
    (plain / "annotations").mkdir()
    path.rename(plain / "annotations" / "lvis_v1_val.json")
    assert [scene.name for scene in LVIS(plain)] == ["000000000001", "000000000002", "000000000003"]


def test_v05_has_its_own_file_names(folder):
    with pytest.raises(FileNotFoundError, match=r"lvis_v0\.5_val\.json.*lvisdataset\.org"):
        LVIS_v05(folder)
    path = folder / "val" / "lvis_v1_val.json"
    content = json.loads(path.read_text())
    for entry in content["images"]:
        entry["file_name"] = f"COCO_val2014_{entry.pop('coco_url').split('/')[-1]}"
    (folder / "val" / "lvis_val.json").write_text(json.dumps(content))
    assert LVIS_v05(folder)[2].name == "000000000003"


def test_wrong_splits_and_folders(folder):
    with pytest.raises(ValueError, match="train, val"):
        LVIS(folder, "test")
    with pytest.raises(FileNotFoundError, match=r"lvis_v1_train\.json"):
        LVIS(folder, "train")
    empty = folder / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"lvisdataset\.org"):
        LVIS(empty)


def test_the_lvis_package_is_named_when_it_is_missing(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "lvis", None)
    with pytest.raises(ValueError, match="pip install --no-deps lvis"):
        LVIS(folder, polygons="lvis")
    assert len(LVIS(folder)) == 3


@pytest.fixture(scope="module")
def real_images(shared_data, tmp_path_factory):
    """The real sample with the photographs that are here too: as COCO_MVal files of the same image id."""
    source = shared_data / "LVIS" / "lvis_val_100.json"
    photographs = shared_data / "COCO_MVal" / "img"
    if not source.is_file() or not photographs.is_dir():
        pytest.skip("the LVIS sample or the COCO_MVal images are absent")
    root = tmp_path_factory.mktemp("lvis")
    (root / "val2017").mkdir()
    for path in photographs.glob("*.jpg"):
        target = root / "val2017" / f"{path.stem.split('_')[-1]}.jpg"
        if not target.exists():
            target.symlink_to(path)
    return root, source


def test_the_real_sample_equals_the_lvis_package(real_images):
    package = pytest.importorskip("lvis")
    root, source = real_images
    dataset = LVIS(root, annotations=source, polygons="lvis")
    same, filled = LVIS(root, annotations=source, polygons="coco_api"), LVIS(root, annotations=source)
    assert len(dataset) == 93 and len(dataset.objects()) == 977 and not dataset.problems
    plain = package.LVIS(str(source))
    present, ratios = 0, []
    for index in range(len(dataset)):
        if not dataset.image_path(dataset.index.name(int(dataset._images[index]))).is_file():
            continue
        present += 1
        scene, twin, outlined = dataset[index], same[index], filled[index]
        assert np.array_equal(scene.layers, twin.layers)
        for number, key in enumerate(plain.get_ann_ids(img_ids=[int(scene.name)]), start=1):
            note = plain.anns[key]
            assert np.array_equal(scene.mask(number), plain.ann_to_mask(note))
            drawn = np.zeros(scene.image.shape[:2], np.int32)
            for polygon in note["segmentation"]:
                cv2.fillPoly(drawn, np.round(np.array(polygon).reshape(1, -1, 2)).astype(np.int32), 1)
            assert np.array_equal(outlined.mask(number), drawn)
            ratios.append(drawn.sum() / note["area"])
    assert present >= 10
    assert 1.03 < np.median(ratios) < 1.08  # 1.051 on all 100 images
