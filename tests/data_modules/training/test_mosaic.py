"""Mosaic: the target becomes one of four tiles, the other tiles are other views, and nothing given is changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_scenes import BOX, DISK, draw_scene

from clicklab.records import IGNORE
from data_modules.training.mosaic import Mosaic
from data_modules.training.view import TrainingView


def plain_view(seed: int, gray: int, target: tuple[int, ...] = (DISK,)) -> TrainingView:
    """A tiny scene with ignored pixels whose image has one gray level, so that each tile can be told apart."""
    scene = draw_scene(seed, ignore=True)
    return TrainingView(np.full_like(scene.image, gray), scene.layers, scene.objects, target)


def made(mosaic: Mosaic, view: TrainingView, seed: int) -> TrainingView:
    """The answer with three other views of gray levels 60, 90, 120, after a check that no array given was changed."""
    others = [plain_view(100 + seed + place, gray) for place, gray in enumerate((60, 90, 120))]
    before = [(one.image.copy(), one.layers.copy()) for one in (view, *others)]
    waiting = list(others)
    result = mosaic(view, lambda: waiting.pop(0), np.random.default_rng(seed))
    for one, (image, layers) in zip((view, *others), before, strict=True):
        assert np.array_equal(one.image, image) and np.array_equal(one.layers, layers)
    return result


@pytest.mark.parametrize("seed", range(8))
def test_the_target_lies_in_its_own_tile_and_keeps_its_share_of_it(seed):
    view = plain_view(seed, 200, (DISK, BOX) if seed % 2 else (DISK,))
    result = made(Mosaic(prob=1.0, twins=0.0, min_target=1), view, seed)
    assert result.image.shape == view.image.shape and result.target == (1,)
    gray = result.image[..., 0]
    assert sorted(np.unique(gray)) == [60, 90, 120, 200]
    own = gray == 200
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    assert own.sum() == len(rows) * len(columns)  # a rectangle
    target = result.target_mask()
    assert not target[~own].any()
    assert target[own].mean() == pytest.approx(view.target_mask().mean(), abs=0.03)
    for number, other in ((2, 60), (3, 90), (4, 120)):  # the targets of the other tiles are objects
        placed = result.layers[..., 0] == number
        assert placed.any() and (gray[placed] == other).all()
    assert (result.layers[..., 0] == IGNORE).any()


@pytest.mark.parametrize("seed", range(4))
def test_a_twin_looks_like_the_target_and_is_none(seed):
    view = plain_view(seed, 200)
    result = made(Mosaic(prob=1.0, twins=1.0, min_target=1), view, seed)
    gray, ids = result.image[..., 0], result.layers[..., 0]
    assert (gray[ids == 1] == 200).all() and (gray[ids == 2] == 200).all()
    assert sorted(np.unique(gray)) == [60, 90, 200]  # two tiles of the view, two of others
    share = view.target_mask().mean()
    for number in (1, 2):
        assert np.count_nonzero(ids == number) > 0.1 * share * ids.size / 4
    assert result.target == (1,)


def test_a_view_whose_target_would_vanish_goes_on_to_the_next_mix():
    view = plain_view(0, 200)
    area = int(view.target_mask().sum())

    def darker(seen, another, rng):
        return replace(seen, image=seen.image // 2)

    result = made(Mosaic(prob=1.0, min_target=area + 1, then=darker), view, 0)
    assert (result.image == 100).all()
    assert made(Mosaic(prob=0.0), view, 0) is view
    assert made(Mosaic(prob=1.0), replace(view, target=()), 0).target == ()


def test_the_share_of_mosaics_is_the_probability():
    view = plain_view(0, 200)
    mosaic = Mosaic(prob=0.25, min_target=1)
    changed = sum(made(mosaic, view, seed) is not view for seed in range(400))
    assert 70 <= changed <= 130  # 100 on average, three and a half standard deviations


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"prob": 1.5}, "prob"),
        ({"twins": -1}, "twins"),
        ({"crossing": (0.0, 0.5)}, "crossing"),
        ({"crossing": (0.7, 0.3)}, "crossing"),
    ],
)
def test_impossible_settings_are_named(values, word):
    with pytest.raises(ValueError, match=word):
        Mosaic(**values)
