"""HQSeg-44K and TETRIS in their real layouts, whole and broken."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hqseg_files import write_hqseg44k

from data_modules.datasets import open_dataset
from data_modules.datasets.hqseg44k import PARTS
from data_modules.datasets.shapes import Shapes
from data_modules.datasets.tetris import shrunk
from data_modules.scenes import EvaluationObjects, SkippedObject


@pytest.fixture
def hqseg(tmp_path):
    write_hqseg44k(tmp_path, Shapes(length=2, size=40))
    return tmp_path


def test_hqseg_takes_all_parts_in_the_official_order(hqseg):
    dataset = open_dataset("HQSeg44K", hqseg)
    names = [dataset.scene_name(index) for index in range(len(dataset))]
    assert [name.partition("_")[0] for name in names[::2]] == [part for part, *_ in PARTS["val"]]
    scenes = Shapes(length=2, size=40)
    for index, item in enumerate(EvaluationObjects(dataset)):
        scene = scenes[index % 2]
        np.testing.assert_array_equal(item.target == 1, scene.mask(min(scene.objects)) == 1)


def test_hqseg_without_a_part_or_with_another_split_is_refused(hqseg):
    with pytest.raises(FileNotFoundError, match=r"DIS-TR.*sam-hq-training"):
        open_dataset("HQSeg44K", hqseg, split="train")
    with pytest.raises(ValueError, match="train, val"):
        open_dataset("HQSeg44K", hqseg, split="test")
    for path in (hqseg / "thin_object_detection" / "COIFT" / "images").glob("*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="COIFT"):
        open_dataset("HQSeg44K", hqseg)


def test_hqseg_images_without_a_mask_are_skipped_by_name(hqseg):
    next((hqseg / "DIS5K" / "DIS-VD" / "gt").glob("*_0.png")).unlink()
    first, *others = EvaluationObjects(open_dataset("HQSeg44K", hqseg))
    assert isinstance(first, SkippedObject)
    assert "DIS-VD" in first.reason
    assert not any(isinstance(item, SkippedObject) for item in others)


@pytest.fixture
def tetris(tmp_path):
    """One image of 60 x 40 with three objects; the ids of two differ in the lowest byte only (red)."""
    mask = np.zeros((60, 40, 3), dtype=np.uint8)
    mask[5:25, 5:20] = 0, 0, 1  # in OpenCV's order
    mask[5:25, 20:35] = 0, 0, 2
    mask[30:55, 10:30] = 3, 0, 0
    for folder, content in (("images", np.full((60, 40, 3), 90, np.uint8)), ("masks", mask)):
        (tmp_path / folder).mkdir()
        assert cv2.imwrite(str(tmp_path / folder / "photo.png"), content)
    return tmp_path


def test_every_colour_of_tetris_is_an_object(tetris):
    items = list(EvaluationObjects(open_dataset("TETRIS", tetris)))
    assert [(item.object, int((item.target == 1).sum())) for item in items] == [(1, 300), (2, 300), (3, 500)]
    assert (items[0].target != -1).all()


def test_tetris_shrinks_image_and_objects_alike(tetris):
    (first, *_) = EvaluationObjects(open_dataset("TETRIS", tetris, max_side=30))
    assert first.image.shape == (30, 20, 3)
    assert (first.target == 1).sum() == pytest.approx(75, abs=12)
    whole = open_dataset("TETRIS", tetris, max_side=0)
    assert whole[0].image.shape == (60, 40, 3)


def test_shrinking_is_opencvs_bilinear_one_for_each_object():
    """The published reader's way, written down independently: resize each mask, the later id over the earlier."""
    rng = np.random.default_rng(0)
    colours = np.kron(rng.integers(0, 4, (9, 7)), np.ones((5, 5), int)).astype(np.int32)
    image = rng.integers(0, 256, (45, 35, 3), dtype=np.uint8)
    small, ids = shrunk(image, colours, 20)
    expected = np.zeros((20, 16), np.int32)
    for colour in (1, 2, 3):
        expected[cv2.resize((colours == colour).astype(np.uint8), (16, 20)) > 0] = colour
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(small, cv2.resize(image, (16, 20)))


def test_a_photo_of_tetris_without_its_mask_is_skipped_by_name(tetris):
    (tetris / "masks" / "photo.png").unlink()
    (only,) = EvaluationObjects(open_dataset("TETRIS", tetris))
    assert isinstance(only, SkippedObject)
    assert "photo.png is missing" in only.reason
