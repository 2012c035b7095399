"""Perturbed masks: they have the IoU that was asked for, or say that they do not; they differ; they can be repeated."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from clicklab.masks.perturb import perturb, redrawn_outlines
from data_modules.datasets import Shapes, open_dataset
from data_modules.scenes import EvaluationObjects


def disk(size: int = 96, radius: float = 30.0) -> np.ndarray:
    """A round object with an ignored ring about it."""
    y, x = np.mgrid[:size, :size] - size / 2
    distance = np.hypot(y, x)
    return np.where(distance < radius, 1, np.where(distance < radius + 2, -1, 0)).astype(np.int8)


def iou(mask: np.ndarray, target: np.ndarray) -> float:
    """Written out once more, over the pixels that are not ignored."""
    mask, target = mask[target != -1], target[target != -1] == 1
    return (mask & target).sum() / (mask | target).sum()


def hits(targets: list[np.ndarray], wanted: float, tolerance: float) -> float:
    """Share of the masks that get where they should; each must tell its true IoU."""
    found = [perturb(target, wanted, np.random.default_rng([7, n]), tolerance) for n, target in enumerate(targets)]
    for result, target in zip(found, targets, strict=True):
        assert result.iou == pytest.approx(iou(result.mask, target))
        assert result.reached == (abs(result.iou - wanted) <= tolerance)
    return float(np.mean([result.reached for result in found]))


@pytest.mark.parametrize("tolerance", [0.02, 0.01])
@pytest.mark.parametrize("wanted", [0.95, 0.8, 0.6])
def test_drawn_masks_reach_the_iou(wanted, tolerance):
    objects = EvaluationObjects(Shapes(length=12, size=96, split="val"))
    targets = [objects[index].target for index in range(len(objects))]
    large = [target for target in targets if (target == 1).sum() >= 300]  # 1 % of the pixels of less is less than one
    assert len(large) >= 8
    assert hits(large, wanted, tolerance) >= 0.95


@pytest.mark.parametrize("name", ["GrabCut", "COCO_MVal"])
def test_real_masks_reach_the_iou(name, shared_data):
    objects = EvaluationObjects(open_dataset(name, shared_data / name), limit=30)
    targets = [objects[index].target for index in range(len(objects))]
    assert hits(targets, 0.8, 0.02) == 1
    assert hits(targets, 0.8, 0.01) == 1
    assert hits(targets, 0.5, 0.02) >= 0.9


def test_masks_of_one_object_differ():
    masks = [perturb(disk(), 0.8, np.random.default_rng(seed)).mask for seed in range(10)]
    overlaps = [(a & b).sum() / (a | b).sum() for a, b in combinations(masks, 2)]
    assert np.mean(overlaps) < 0.85  # ten times the same mistake would give 1
    assert max(overlaps) < 0.98


def test_the_same_generator_gives_the_same_mask():
    first, again = (perturb(disk(), 0.7, np.random.default_rng(3)) for _ in range(2))
    assert (first.mask == again.mask).all()
    assert not (first.mask == perturb(disk(), 0.7, np.random.default_rng(4)).mask).all()


def test_nothing_is_changed_where_nothing_should_be():
    target, rng = disk(), np.random.default_rng(0)
    before = rng.bit_generator.state
    whole = perturb(target, 1.0, rng)
    assert (whole.mask == (target == 1)).all() and whole.reached and whole.iou == 1
    empty = perturb(np.zeros((8, 9), np.int8), 0.8, rng)
    assert not empty.mask.any() and not empty.reached and empty.iou == 1
    assert rng.bit_generator.state == before


def test_one_pixel_is_kept_and_said_to_miss():
    target = np.zeros((20, 20), np.int8)
    target[4, 5] = 1
    result = perturb(target, 0.8, np.random.default_rng(0))
    assert not result.reached
    assert (result.mask == (target == 1)).all() and result.iou == 1  # one half is the next IoU that it could have


def test_a_full_mask_is_opened():
    full = np.ones((64, 80), np.int8)
    result = perturb(full, 0.8, np.random.default_rng(0))
    assert result.reached
    assert 0.78 <= result.mask.mean() <= 0.82


def test_all_ignored_or_wrong_input_is_told():
    assert not perturb(np.full((8, 8), -1, np.int8), 0.8, np.random.default_rng(0)).mask.any()
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        perturb(np.zeros((1, 8, 8), np.int8), 0.8, np.random.default_rng(0))
    with pytest.raises(ValueError, match="wanted IoU is 0"):
        perturb(disk(), 0.0, np.random.default_rng(0))


def test_outlines_keep_holes_and_come_closer_to_the_mask():
    ring = (disk() == 1).astype(np.uint8)
    ring[40:56, 40:56] = 0
    drawn = list(redrawn_outlines(ring, np.random.default_rng(0)))
    ious = [(mask & ring).sum() / (mask | ring).sum() for mask in drawn]
    assert ious[-1] > 0.9 and ious[-1] > ious[0]
    assert drawn[-1][48, 48] == 0 and drawn[-1][30, 48] == 1


@pytest.mark.parametrize("seed", range(20))
def test_small_objects_tell_the_iou_of_their_mask(seed):
    rng = np.random.default_rng(seed)
    target = np.zeros((16, 16), np.int8)
    target[5 : 5 + rng.integers(1, 4), 6 : 6 + rng.integers(1, 4)] = 1
    for wanted in (0.4, 0.55, 0.7, 0.9):
        result = perturb(target, wanted, rng, 0.01)
        truth = target == 1
        assert result.iou == pytest.approx((result.mask & truth).sum() / (result.mask | truth).sum())
