"""DAVIS585: frames with several objects and masks to start from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_modules.datasets import open_dataset
from data_modules.datasets.davis585 import DAVIS585
from data_modules.scenes import BrokenScene, EvaluationObjects, SkippedObject

SIZE = (24, 32)


def box(top, left, height, width, value=255):
    mask = np.zeros(SIZE, np.uint8)
    mask[top : top + height, left : left + width] = value
    return mask


@pytest.fixture
def folder(tmp_path):
    """Two sequences; the first frame has two overlapping objects, gray values around the threshold of 128."""
    masks = {
        ("bear", "00000", 1): box(2, 2, 10, 10, 129),
        ("bear", "00000", 2): box(8, 8, 10, 10),
        ("bear", "00010", 1): box(0, 0, 5, 5),
        ("crane", "00003", 12): box(10, 10, 5, 5) | box(0, 0, 2, 2, 128),
    }
    for (sequence, frame, number), mask in masks.items():
        place = tmp_path / sequence
        place.mkdir(exist_ok=True)
        cv2.imwrite(str(place / f"{frame}.jpg"), np.full((*SIZE, 3), number, np.uint8))
        for prefix, content in (("", mask), ("init_sp_", np.roll(mask, 1, 0)), ("init_stm_", np.roll(mask, 1, 1))):
            cv2.imwrite(str(place / f"{prefix}object{number}_{frame}.png"), content)
    return tmp_path, masks


def test_every_object_file_is_one_item_with_its_initial_mask(folder):
    root, masks = folder
    for initial, axis in (("sp", 0), ("stm", 1), ("zero", None)):
        items = list(EvaluationObjects(open_dataset("DAVIS585", root, initial=initial)))
        assert [(item.name, item.object) for item in items] == [(f"{s}_{f}", n) for s, f, n in sorted(masks)]
        for item, key in zip(items, sorted(masks), strict=True):
            assert np.array_equal(item.target, (masks[key] > 128).astype(np.int8))
            if axis is None:
                assert item.initial_mask is None
            else:
                assert np.array_equal(item.initial_mask, np.roll(masks[key], 1, axis) > 128)


def test_the_folder_data_and_objects_counted_from_zero(folder):
    root, masks = folder
    (root / "data").mkdir()
    for sequence in ("bear", "crane"):
        (root / sequence).rename(root / "data" / sequence)
    place = root / "data" / "bear"
    for path in list(place.glob("*object2_00000.png")):
        path.rename(path.with_name(path.name.replace("object2", "object0")))
    dataset = DAVIS585(root)
    assert dataset.objects() == [(0, 1), (0, 2), (1, 2), (2, 13)]
    assert np.array_equal(dataset[0].mask(1), (masks["bear", "00000", 2] > 128).astype(np.int8))


def test_errors_name_files(folder):
    root, _ = folder
    with pytest.raises(ValueError, match="sp, stm, zero"):
        DAVIS585(root, "stn")
    with pytest.raises(FileNotFoundError, match="ClickSEG"):
        DAVIS585(root / "bear")
    (root / "bear" / "init_sp_object1_00010.png").unlink()
    (root / "crane" / "00003.jpg").unlink()
    cv2.imwrite(str(root / "bear" / "object1_00000.png"), np.zeros((5, 5), np.uint8))
    dataset = DAVIS585(root)
    for index, words in ((0, "object1_00000"), (2, r"00003\.jpg")):
        with pytest.raises(BrokenScene, match=words):
            dataset[index]
    assert [isinstance(item, SkippedObject) for item in EvaluationObjects(dataset)] == [True, True, False, True]
    assert dataset[1].initial_masks == {}  # who does not ask for them need not have them
    (root / "bear" / "init_sp_object1_00010.png").write_bytes(b"no picture")
    with pytest.raises(BrokenScene, match="init_sp_object1_00010"):
        dataset[1]
    assert DAVIS585(root, "zero")[1].initial_masks is None
