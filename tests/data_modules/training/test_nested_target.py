"""The walk down the object tree: which node, what is cut out, where clicks have to fall."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from data_modules.scenes import SceneObject
from data_modules.training.first_clicks import InitialClickSampling, sample_points
from data_modules.training.nested_target import nested_target
from data_modules.training.targets import Target, TargetSampling, choose_target

WHOLE, PART, DOT, INNER = 1, 2, 3, 4


def tree():
    """A 40 x 40 object with a large part (which has a part itself) and a small dot, in three layers."""
    layers = np.zeros((50, 50, 3), dtype=np.int32)
    layers[5:45, 5:45, 0] = WHOLE
    layers[5:45, 5:20, 1] = PART
    layers[30:36, 30:36, 1] = DOT
    layers[10:30, 5:15, 2] = INNER
    objects = {
        WHOLE: SceneObject(0),
        PART: SceneObject(1, WHOLE),
        DOT: SceneObject(1, WHOLE),
        INNER: SceneObject(2, PART),
    }
    return layers, objects


def test_every_node_has_its_share():
    layers, objects = tree()
    rng = np.random.default_rng(0)
    seen = Counter(nested_target(WHOLE, layers, objects, rng).id for _ in range(4000))
    # 1/2 stop at the root, 1/4 for each child; PART stops with 1/2 before its only child
    for node, share in {WHOLE: 0.5, DOT: 0.25, PART: 0.125, INNER: 0.125}.items():
        assert abs(seen[node] / 4000 - share) < 0.03


def test_parts_are_drawn_like_roots_and_whole():
    layers, objects = tree()
    objects |= {9: SceneObject(0)}
    layers[47:, :, 0] = 9
    rng, seen = np.random.default_rng(0), Counter()
    for _ in range(4000):
        target = choose_target(layers, objects, TargetSampling(parts=True, merge_prob=0.0), rng)
        (key,) = target.ids
        seen[key] += 1
        assert target.whole and not target.excluded
        assert np.array_equal(target.mask == 1, layers[..., objects[key].layer] == key)
    assert set(seen) == set(objects) and all(abs(count / 4000 - 1 / 5) < 0.03 for count in seen.values())
    roots = {choose_target(layers, objects, TargetSampling(merge_prob=0.0), rng).ids[0] for _ in range(60)}
    assert roots == {WHOLE, 9}
    with pytest.raises(ValueError, match="two ways to draw parts"):
        TargetSampling(parts=True, use_hierarchy=True)


def test_masks_fit_together():
    layers, objects = tree()
    rng = np.random.default_rng(1)
    for _ in range(200):
        nested = nested_target(WHOLE, layers, objects, rng)
        full = layers[..., objects[nested.id].layer] == nested.id
        assert not (nested.mask & ~full).any()
        assert not (nested.clickable & ~nested.mask).any()
        assert nested.whole == bool((nested.mask == full).all())
        for place in nested.excluded:
            assert not (place & nested.mask).any()
        if objects[nested.id].parent:
            parent = layers[..., objects[objects[nested.id].parent].layer] == objects[nested.id].parent
            assert (nested.excluded[0] == (parent & ~full)).all()
        if nested.id == WHOLE:
            assert not nested.clickable[30:36, 30:36].any()  # the dot is below 10 % of the whole


def test_clicks_keep_to_their_places():
    layers, objects = tree()
    law = TargetSampling(use_hierarchy=True, merge_prob=0.0)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        target = choose_target(layers, objects, law, rng)
        points = sample_points(target, InitialClickSampling(), rng)
        assert all((target.mask[y, x] == 1) == positive for y, x, positive in points)
        negative = [(y, x) for y, x, positive in points if not positive]
        assert all(any(place[y, x] for y, x in negative) for place in target.excluded if place.sum() > 200)
        assert len(negative) <= 24


@pytest.mark.parametrize("places", [1, 2])
def test_numbers_of_negative_clicks_follow_the_official_law(places):
    """Lists of clicks of each place (1 or more) and of the zones (0 or more); of several lists the first clicks only,
    and then a number drawn anew (docs/training.md#initial-clicks 4 and 6, read for places to keep clear of)."""
    mask = np.zeros((20, 20), np.int8)
    mask[:5, :5] = 1
    excluded = [np.zeros((20, 20), bool) for _ in range(places)]
    excluded[0][5:10], excluded[-1][15:] = True, True
    outside = mask == 0
    target = Target(mask, (1,), (mask == 1,), outside, outside, tuple(excluded), whole=False)
    law, rng = InitialClickSampling(max_points=6, gamma=0.7), np.random.default_rng(3)
    counts = [sum(not positive for *_, positive in sample_points(target, law, rng)) for _ in range(4000)]

    or_none, one_or_more = 0.7 ** np.arange(7.0), np.r_[0, 0.7 ** np.arange(6.0)]
    or_none, one_or_more = or_none / or_none.sum(), one_or_more / one_or_more.sum()

    def together(lists):  # the first click of each and a number drawn anew, six clicks at most
        return np.bincount(np.minimum(np.arange(7) + lists, 6), weights=or_none, minlength=7)

    alone = one_or_more if places == 1 else together(places)
    wanted = or_none[0] * alone + (1 - or_none[0]) * together(places + 1)
    spread = np.sqrt(wanted * (1 - wanted) / len(counts))
    assert (np.abs(np.bincount(counts, minlength=7) / len(counts) - wanted) <= 4.5 * spread).all()


def test_off_by_default_and_then_roots_only():
    layers, objects = tree()
    rng = np.random.default_rng(2)
    targets = [choose_target(layers, objects, TargetSampling(), rng) for _ in range(20)]
    assert {target.ids for target in targets} == {(WHOLE,)}
    assert all(target.whole and not target.excluded for target in targets)


def test_children_are_left_out_by_the_official_law():
    """A root of 1000 pixels with four children of 50, 99, 100 and 150 pixels."""
    parts = np.zeros(1000, np.int32)
    parts[:50], parts[50:149], parts[149:249], parts[249:399] = 2, 3, 4, 5
    layers = np.stack([np.ones((20, 50), np.int32), parts.reshape(20, 50)], axis=2)
    objects = {1: SceneObject(0)} | {key: SceneObject(1, 1) for key in (2, 3, 4, 5)}
    rng, stopped, left_out = np.random.default_rng(0), 0, []
    for _ in range(3000):
        nested = nested_target(1, layers, objects, rng)
        if nested.id != 1:
            continue
        stopped += 1
        left_out.append(len(nested.excluded))
        shown = set(np.unique(layers[..., 1][nested.clickable]).tolist())
        assert not shown & {2, 3}  # below a tenth of the root
        whole = {key for key in (4, 5) if (nested.mask & (layers[..., 1] == key)).any()}
        assert shown - {0} == whole
    assert abs(stopped / 3000 - 0.5) < 5 * np.sqrt(0.25 / 3000)
    shares = np.bincount(left_out, minlength=4) / stopped
    assert len(shares) == 4 and np.abs(shares - 0.25).max() < 5 * np.sqrt(0.1875 / stopped)


def test_places_to_keep_clear_of_are_background():
    """Not ignored pixels, and not those of another object of the union."""
    layers, objects = tree()
    layers = np.concatenate([layers, np.zeros((50, 50, 1), np.int32)], axis=2)
    layers[15:25, 8:12, 3], layers[33:40, 10:40, 3] = -1, 9  # 9 overlaps the parts of the first object
    objects |= {9: SceneObject(3)}
    rng, places = np.random.default_rng(0), 0
    for _ in range(200):
        target = choose_target(layers, objects, TargetSampling(use_hierarchy=True, merge_prob=0.5), rng)
        places += len(target.excluded)
        assert not any((place & (target.mask != 0)).any() for place in target.excluded)
    assert places > 50
