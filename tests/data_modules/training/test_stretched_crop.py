"""FocalClick's windows: their factors, their place, and image and ids staying together."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.stats import truncnorm

from data_modules.training.augment import AUGMENTATIONS, Augmentation, augmentation
from data_modules.training.stretched_crop import StretchedCrop

SIZE = (64, 64)
HEIGHT, WIDTH = 200, 300


def windows(crop, count):
    """(count, 4) windows drawn for an image of HEIGHT x WIDTH."""
    found = []
    for seed in range(count):
        crop.set_random_seed(seed)
        found.append(crop.get_params_dependent_on_data({"shape": (HEIGHT, WIDTH, 3)}, {})["window"])
    return np.array(found)


@pytest.mark.parametrize(("mean", "low"), [(0.8, 0.3), (1.0, 0.5)])
def test_factors_are_independent_and_from_the_cut_normal(mean, low):
    drawn = windows(StretchedCrop(SIZE, mean=mean, low=low), 1500)
    factors = drawn[:, 2:] / [HEIGHT, WIDTH]
    law = truncnorm((low - mean) / 0.4, (1.3 - mean) / 0.4, loc=mean, scale=0.4)
    for column in factors.T:
        assert low - 0.003 <= column.min() and column.max() <= 1.303
        edges = np.linspace(low, 1.3, 6)
        shares = np.histogram(column, edges)[0] / len(column)
        assert np.abs(shares - np.diff(law.cdf(edges))).max() < 5 * np.sqrt(0.25 / 1500)
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.1


def test_windows_lie_inside_the_image_or_hold_all_of_it():
    drawn = windows(StretchedCrop(SIZE), 600)
    for start, side, full in ((drawn[:, 0], drawn[:, 2], HEIGHT), (drawn[:, 1], drawn[:, 3], WIDTH)):
        smaller = side <= full
        assert (start[smaller] >= 0).all() and (start + side)[smaller].max() <= full
        assert (start[~smaller] <= 0).all() and ((start + side)[~smaller] >= full).all()
        touching = (start + side)[smaller] == full  # the official slip would make all of them touch
        assert touching.mean() < 0.2


def inner(mask):
    """The mask without the two pixels along its outline and the image's border, where colours may be mixed."""
    return cv2.erode(np.pad(mask.astype(np.uint8), 1), np.ones((5, 5)))[1:-1, 1:-1] > 0


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name.startswith("stretched")])
def test_image_and_ids_stay_together(name):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disk = ((y - 90) ** 2 + (x - 140) ** 2 < 60**2).astype(np.int32)
    image = np.stack([disk * 200 + 20] * 3, axis=2).astype(np.uint8)
    transform = Augmentation(AUGMENTATIONS[name](SIZE)[:3])  # without colours
    for seed in range(30):
        seen, ids = transform(image, np.stack([disk, disk * 7], axis=2), np.random.default_rng(seed))
        assert seen.shape == (*SIZE, 3) and ids.shape == (*SIZE, 2) and set(np.unique(ids)) <= {0, 1, 7}
        assert np.array_equal(ids[..., 0] * 7, ids[..., 1])
        assert (seen[inner(ids[..., 0] == 1)] > 200).all() and (seen[inner(ids[..., 0] == 0)] <= 30).all()


def test_shares_of_flips():
    image = np.zeros((40, 40, 3), np.uint8)
    image[:20, :20] = 255
    transform = augmentation("stretched_wide", (40, 40))
    seen = [transform(image, image[..., :1].astype(np.int32), np.random.default_rng(s))[0][..., 0] for s in range(600)]
    lower = np.mean([view[20:].sum() > view[:20].sum() for view in seen])
    right = np.mean([view[:, 20:].sum() > view[:, :20].sum() for view in seen])
    assert 0.2 < lower < 0.45 and 0.2 < right < 0.45  # 0.3, and a window now and then begins beyond the middle


def test_impossible_ranges_are_refused():
    with pytest.raises(ValueError, match="low <= mean <= high"):
        StretchedCrop(SIZE, mean=0.2)


@pytest.mark.parametrize(("name", "low"), [("stretched", 0.3), ("stretched_wide", 0.5)])
@pytest.mark.parametrize("colour", ["", "_colour"])
def test_windows_and_flips_of_every_stretched_pipeline(name, low, colour):
    y, x = np.mgrid[:200, :200]
    layers, grey = np.stack([y + 1, x + 1], axis=2).astype(np.int32), np.full((200, 200, 3), 100, np.uint8)
    transform, count = augmentation(name + colour, (64, 64)), 600
    sides, flips, changed = [], [], 0
    for seed in range(count):
        image, ids = transform(grey, layers, np.random.default_rng(seed))
        rows, columns = (np.unique(ids[..., axis][ids[..., axis] > 0]) for axis in (0, 1))
        sides.append(((rows[-1] - rows[0]) / 200, (columns[-1] - columns[0]) / 200))
        inside = np.argwhere(ids[..., 0] > 0)
        (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0)
        flips.append((ids[top, left, 0] > ids[bottom, left, 0], ids[top, left, 1] > ids[top, right, 1]))
        pixels = image[ids[..., 0] > 0]
        changed += not (np.abs(pixels.astype(int) - 100).max(axis=1) == 0).any()
    assert low - 0.02 < np.min(sides) < low + 0.06
    assert np.abs(np.mean(flips, axis=0) - 0.3).max() < 5 * np.sqrt(0.21 / count)
    assert changed / count > 0.85 if colour else changed == 0


def test_windows_reach_both_borders_of_the_image():
    crop, starts = StretchedCrop((64, 64), mean=0.8, low=0.3), {}
    for seed in range(3000):
        crop.set_random_seed(seed)
        top, left, height, width = crop.get_params_dependent_on_data({"shape": (12, 12, 3)}, {})["window"]
        for start, side in ((top, height), (left, width)):
            starts.setdefault(side, set()).add(start)
    for side, seen in starts.items():
        gap = 12 - side
        assert seen == set(range(min(gap, 0), max(gap, 0) + 1))
