"""Pascal VOC: the palette's gray quirk against docs/data.md#pascal-voc, true ids, files in the real format."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from data_modules.datasets import open_dataset
from data_modules.datasets.shapes import Shapes
from data_modules.datasets.voc import PascalVOC
from data_modules.scenes import BrokenScene, EvaluationObjects, SkippedObject
from data_modules.tools.export_instances import voc_palette, write_voc


def voc_with(folder, ids, name="2007_000001", split="val"):
    """A VOC folder with one image whose palette mask is `ids`."""
    for part in ("JPEGImages", "SegmentationObject", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*ids.shape, 3), np.uint8)).save(folder / "JPEGImages" / f"{name}.jpg")
    mask = Image.fromarray(ids.astype(np.uint8), mode="P")
    mask.putpalette(voc_palette().tobytes())
    mask.save(folder / "SegmentationObject" / f"{name}.png")
    (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(f"{name}\n")
    return folder


def test_the_palette_is_the_one_of_the_development_kit():
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {index: tuple(voc_palette()[index].tolist()) for index in known} == known


def test_gray_ids_merge_the_published_pairs_and_true_ids_do_not(tmp_path):
    ids = np.arange(60)[None].repeat(4, axis=0)
    ids[:, 0] = 255
    root = voc_with(tmp_path, ids)
    gray, true = PascalVOC(root)[0], PascalVOC(root, true_ids=True)[0]
    assert list(true.objects) == list(range(1, 60))
    values = gray.layers[0, :, 0]
    same = {(a, b) for a in range(1, 60) for b in range(a + 1, 60) if values[a] == values[b]}
    assert same == {(1, 16), (3, 18), (6, 21), (9, 24), (39, 54), (42, 57)}
    assert len(gray.objects) == 59 - 6 and list(gray.objects) == sorted(gray.objects)
    for scene in (gray, true):
        assert np.array_equal(scene.ignored(), ids == 255) and (scene.mask(next(iter(scene.objects)))[:, 0] == -1).all()


def test_the_objects_that_went_in_come_out(tmp_path):
    drawn = Shapes(split="val", length=3, size=96)
    scenes = [drawn[index] for index in range(3)]
    write_voc(scenes, tmp_path / "VOCdevkit" / "VOC2012", "val")
    dataset = open_dataset("PascalVOC", tmp_path, true_ids=True)
    gray = open_dataset("PascalVOC", tmp_path)
    expected = []
    for index, scene in enumerate(scenes):
        read, grays = dataset[index], gray[index]
        roots = [key for key, entry in scene.objects.items() if not entry.stuff and not entry.parent]
        for number, key in enumerate(roots, start=1):
            mask = read.mask(number)
            assert np.array_equal(mask[mask >= 0], scene.mask(key)[mask >= 0])
        assert len(grays.objects) == len(read.objects) and np.array_equal(grays.ignored(), read.ignored())
        expected += [(index, number) for number in read.objects]
    assert dataset.objects() == expected and dataset.scene_name(1) == scenes[1].name
    assert len(list(EvaluationObjects(gray))) == len(expected)


def test_a_line_of_the_list_is_one_name_even_with_spaces(tmp_path):
    root = voc_with(tmp_path, np.ones((5, 5)), name="two words")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("two words \n\n")
    dataset = PascalVOC(root)
    assert dataset.names == ["two words"] and dataset.objects() == [(0, 38)]  # gray of (128, 0, 0)


def test_errors_name_files(tmp_path):
    root = voc_with(tmp_path, np.ones((5, 5)))
    with pytest.raises(ValueError, match="train, val, trainval"):
        PascalVOC(root, "test")
    with pytest.raises(FileNotFoundError, match=r"train\.txt.*VOC 2012"):
        PascalVOC(root, "train")
    with pytest.raises(FileNotFoundError, match="JPEGImages"):
        PascalVOC(tmp_path / "ImageSets")
    mask = root / "SegmentationObject" / "2007_000001.png"
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(mask)
    with pytest.raises(BrokenScene, match="no palette"):
        PascalVOC(root, true_ids=True)[0]
    mask.write_bytes(mask.read_bytes()[:30])
    for true_ids in (False, True):
        dataset = PascalVOC(root, true_ids=true_ids)
        assert dataset.objects() == [(0, 0)]
        (item,) = EvaluationObjects(dataset)
        assert isinstance(item, SkippedObject) and "2007_000001.png" in item.reason
    voc_with(tmp_path, np.ones((5, 6)))
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(root / "JPEGImages" / "2007_000001.jpg")
    with pytest.raises(BrokenScene, match="same size"):
        PascalVOC(root)[0]
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("\n")
    with pytest.raises(ValueError, match="lists no images"):
        PascalVOC(root)
