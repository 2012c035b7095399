"""ssTEM, BraTS, OAIZIB: small files in their layouts; connectivity and ids as published."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_modules.datasets import open_dataset
from data_modules.datasets.medical import OAIZIB, ssTEM
from data_modules.scenes import BrokenScene, EvaluationObjects, SkippedObject


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def test_sstem_components(tmp_path):
    mask = np.zeros((20, 20), np.uint8)
    mask[2:5, 2:5] = 255
    mask[5:8, 5:8] = 1  # touches the first at a corner only; soft values count
    mask[12:15, 2:5] = 127
    for name in ("00", "01"):
        write(tmp_path / "stack1" / "raw" / f"{name}.tif", np.zeros((20, 20), np.uint8))
        write(tmp_path / "stack1" / "mitochondria" / f"{name}.png", mask if name == "00" else mask[::-1].copy())
    dataset = open_dataset("ssTEM", tmp_path)
    assert dataset.objects() == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert sorted(dataset[0].areas().values()) == [9, 18]
    assert len(ssTEM(tmp_path / "stack1", connectivity=4).objects()) == 6
    with pytest.raises(ValueError, match=r"8 .*or 4"):
        ssTEM(tmp_path, connectivity=6)


def test_brats_is_one_object_per_slice(tmp_path):
    mask = np.zeros((10, 12), np.uint8)
    mask[2:4, 3:7] = 1
    mask[4:6, 3:7] = 4
    write(tmp_path / "image" / "a.png", np.zeros((10, 12, 3), np.uint8))
    write(tmp_path / "annotation" / "a.png", mask)
    dataset = open_dataset("BraTS", tmp_path)
    assert dataset.objects() == [(0, 1)]
    assert np.array_equal(dataset[0].mask(1), (mask > 0).astype(np.int8))


def test_oaizib_ids_per_slice(tmp_path):
    mask = np.zeros((10, 12), np.uint8)
    mask[2:4, 3:7] = 4
    mask[6:9] = 2
    for name, pixels in (("a", mask), ("b", mask * 0), ("c", mask * 3)):
        write(tmp_path / "test" / "image" / f"{name}.png", np.zeros((10, 12, 3), np.uint8))
        write(tmp_path / "test" / "annotations" / f"{name}.png", pixels)
    dataset = open_dataset("OAIZIB", tmp_path)
    assert dataset.objects() == [(0, 2), (0, 4), (2, 6), (2, 12)]
    assert np.array_equal(dataset[0].mask(4), (mask == 4).astype(np.int8))
    with pytest.raises(ValueError, match="train, val or test"):
        OAIZIB(tmp_path, "tset")
    with pytest.raises(FileNotFoundError, match="train"):
        OAIZIB(tmp_path, "train")


def test_broken_slices_are_skipped_and_named(tmp_path):
    mask = np.ones((10, 12), np.uint8)
    for name in ("a", "b", "c"):
        write(tmp_path / "test" / "image" / f"{name}.png", np.zeros((10, 12, 3), np.uint8))
        write(tmp_path / "test" / "annotations" / f"{name}.png", mask if name != "b" else mask[:5])
    path = tmp_path / "test" / "annotations" / "a.png"
    path.write_bytes(path.read_bytes()[:20])
    (tmp_path / "test" / "annotations" / "c.png").unlink()
    dataset = OAIZIB(tmp_path)
    assert dataset.objects() == [(0, 0), (1, 1), (2, 0)]
    items = list(EvaluationObjects(dataset))
    assert all(isinstance(item, SkippedObject) for item in items)
    assert "a.png" in items[0].reason and "same size" in items[1].reason and "no mask" in items[2].reason
    with pytest.raises(BrokenScene):
        dataset[0]
