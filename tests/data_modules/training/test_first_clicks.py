"""The random first clicks, against the official laws in closed form."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy import ndimage
from tiny_scenes import BOX, DISK, PART, settled

from data_modules.scenes import SceneObject
from data_modules.training.first_clicks import InitialClickSampling, _central, _positive_points, sample_points
from data_modules.training.targets import Target, TargetSampling, choose_target
from data_modules.training.view import remove_objects

SINGLE = TargetSampling(merge_prob=0.0)


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("merge", [0.0, 1.0])
def test_positive_clicks_lie_in_the_target_and_negative_ones_outside(ignore, merge):
    layers, objects, _ = settled(ignore=ignore)
    rng = np.random.default_rng(3)
    for _ in range(300):
        target = choose_target(layers, objects, TargetSampling(merge_prob=merge), rng)
        points = sample_points(target, InitialClickSampling(), rng)
        positive = [(y, x) for y, x, sign in points if sign]
        negative = [(y, x) for y, x, sign in points if not sign]
        assert [sign for _, _, sign in points] == [True] * len(positive) + [False] * len(negative)
        assert 1 <= len(positive) <= 24 and len(negative) <= 24
        assert all(target.mask[point] == 1 for point in positive)
        assert all(target.mask[point] == 0 for point in negative)
        if merge:
            assert all(part[point] for part, point in zip(target.parts, positive, strict=False))


def test_numbers_of_clicks_follow_the_geometric_law():
    layers, objects, _ = settled()
    rng = np.random.default_rng(4)
    law = InitialClickSampling(max_points=5, erode_prob=0.0)
    target = choose_target(layers, objects, SINGLE, rng)
    signs = [[sign for _, _, sign in sample_points(target, law, rng)] for _ in range(6000)]
    positive, negative = np.array([[sum(row), len(row) - sum(row)] for row in signs]).T
    for counts, first, number in ((positive, 1, 5), (negative, 0, 6)):
        share = 0.8 ** np.arange(number) / (0.8 ** np.arange(number)).sum()
        seen = np.bincount(counts, minlength=first + number)[first:] / len(counts)
        assert np.abs(seen - share).max() < 5 * np.sqrt(0.25 / len(counts))
        assert counts.min() == first and counts.max() == first + number - 1


def test_merged_targets_get_one_click_each_and_then_a_law_that_starts_at_zero():
    layers, objects, _ = settled()
    rng = np.random.default_rng(5)
    law = InitialClickSampling(max_points=4, erode_prob=0.0, background=1, other=0, border=0)
    target = choose_target(layers, objects, TargetSampling(merge_prob=1.0), rng)
    assert len(target.ids) == 2
    counts = np.array([sum(sign for _, _, sign in sample_points(target, law, rng)) for _ in range(6000)])
    share = 0.8 ** np.arange(5) / (0.8 ** np.arange(5)).sum()
    expected = [share[0], share[1], share[2:].sum()]  # cut to 4 clicks, 2 of which are given
    assert np.abs(np.bincount(counts, minlength=5)[2:] / 6000 - expected).max() < 5 * np.sqrt(0.25 / 6000)


def test_clicks_are_uniform_on_the_eroded_object():
    layers, objects, _ = settled()
    rng = np.random.default_rng(6)
    target = choose_target(layers, remove_objects(objects, {DISK, PART}), SINGLE, rng)
    inner = ndimage.binary_erosion(target.mask == 1, np.ones((3, 3)), iterations=3, border_value=1)
    clicks = np.zeros(target.mask.shape, int)
    for _ in range(2500):
        for y, x, sign in sample_points(target, InitialClickSampling(erode_prob=1.0, max_points=6), rng):
            clicks[y, x] += sign
    assert not clicks[~inner].any()
    expected = clicks.sum() / inner.sum()
    assert (np.square(clicks[inner] - expected) / expected).sum() < inner.sum() + 5 * np.sqrt(2 * inner.sum())


def test_erosion_happens_nine_times_in_ten_and_spares_small_objects():
    layers = np.zeros((40, 40, 1), np.int32)
    layers[5:25, 5:25] = 1
    layers[30:37, 30:37] = 2  # one pixel would be left
    objects = {1: SceneObject(0), 2: SceneObject(0)}
    rng = np.random.default_rng(7)
    law = InitialClickSampling(max_points=1)
    big = choose_target(layers, {1: objects[1]}, SINGLE, rng)
    small = choose_target(layers, {2: objects[2]}, SINGLE, rng)
    inner = ndimage.binary_erosion(big.mask == 1, np.ones((7, 7)))
    outside = [not inner[sample_points(big, law, rng)[0][:2]] for _ in range(4000)]
    share = 0.1 * (1 - inner.sum() / 400)
    assert abs(np.mean(outside) - share) < 5 * np.sqrt(share / 4000)
    assert len({sample_points(small, replace(law, erode_prob=1.0), rng)[0][:2] for _ in range(400)}) > 40


@pytest.mark.parametrize("kind", ["background", "other", "border"])
def test_each_kind_of_negative_click_stays_in_its_zone_and_reaches_all_of_it(kind):
    layers, objects, _ = settled()
    rng = np.random.default_rng(8)
    law = InitialClickSampling(**{"background": 0.0, "other": 0.0, "border": 0.0, kind: 1.0})
    target = choose_target(layers, remove_objects(objects, {DISK, PART}), SINGLE, rng)
    assert target.ids == (BOX,)
    wanted = target.mask == 1
    # official: ceil(0.1 sqrt(area)) dilations by a 3 x 3 square; removed (small) objects still count as other objects
    steps = int(np.ceil(0.1 * np.sqrt(wanted.sum())))
    grown = cv2.dilate(wanted.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=steps) > 0
    zone = {"background": ~wanted, "border": grown & ~wanted, "other": ~wanted}[kind]
    if kind == "other":
        target = choose_target(layers, remove_objects(objects, {PART}), SINGLE, np.random.default_rng(0))
        zone = (layers > 0).any(axis=2) & (target.mask != 1)
    hit = np.zeros(zone.shape, bool)
    for _ in range(3000):
        for y, x, sign in sample_points(target, law, rng):
            hit[y, x] |= not sign
    assert not (hit & ~zone).any()
    assert hit[zone].mean() > 0.6


def test_shares_of_the_three_kinds():
    # three zones that can be told apart: the ring around the target, the other object, the far background
    layers = np.zeros((100, 100, 1), np.int32)
    layers[10:30, 10:30] = 1
    layers[60:90, 60:90] = 2
    objects = {1: SceneObject(0), 2: SceneObject(0)}
    rng = np.random.default_rng(9)
    target = next(t for t in (choose_target(layers, objects, SINGLE, rng) for _ in range(99)) if t.ids == (1,))
    ring = cv2.dilate((layers[..., 0] == 1).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    points = [p for _ in range(3000) for p in sample_points(target, InitialClickSampling(), rng) if not p[2]]
    seen = np.array([[ring[y, x], layers[y, x, 0] == 2] for y, x, _ in points]).mean(axis=0)
    free = (layers[..., 0] != 1).sum()
    expected = [0.5 + 0.1 * (ring.sum() - 400) / free, 0.4 + 0.1 * 900 / free]
    assert np.abs(seen - expected).max() < 5 * np.sqrt(0.25 / len(points))


def test_without_other_objects_their_share_goes_to_the_background():
    layers = np.zeros((50, 50, 1), np.int32)
    layers[20:30, 20:30] = 1
    rng = np.random.default_rng(10)
    target = choose_target(layers, {1: SceneObject(0)}, SINGLE, rng)
    points = sample_points(target, InitialClickSampling(background=0, other=1, border=0, gamma=1.0), rng)
    assert np.array_equal(target.others, layers[..., 0] == 0)
    assert any(not sign for _, _, sign in points)


def test_empty_target_gets_negative_clicks_off_all_objects_only():
    layers, _, _ = settled()
    rng = np.random.default_rng(11)
    target = choose_target(layers, {}, TargetSampling(), rng)  # all objects were too small
    assert target.ids == () and not (target.mask == 1).any()
    points = [point for _ in range(200) for point in sample_points(target, InitialClickSampling(), rng)]
    assert points and not any(sign for _, _, sign in points)
    assert all(not layers[y, x].any() for y, x, _ in points)


def test_a_target_that_fills_the_crop_gets_no_negative_clicks():
    layers = np.ones((20, 20, 1), np.int32)
    rng = np.random.default_rng(12)
    target = choose_target(layers, {1: SceneObject(0)}, TargetSampling(), rng)
    assert all(sign for _ in range(50) for _, _, sign in sample_points(target, InitialClickSampling(), rng))


def test_same_generator_same_sample():
    layers, objects, _ = settled()

    def draw(seed):
        rng = np.random.default_rng(seed)
        return [
            sample_points(choose_target(layers, objects, TargetSampling(), rng), InitialClickSampling(), rng)
            for _ in range(5)
        ]

    assert draw(1) == draw(1) != draw(2)


def test_the_first_click_on_every_object_is_central_where_asked():
    layers = np.zeros((60, 90, 1), np.int32)
    layers[10:41, 5:46] = 1  # 31 x 41: greatest depth 16
    layers[30:51, 60:81] = 2  # 21 x 21: greatest depth 11
    objects, rng = {1: SceneObject(0), 2: SceneObject(0)}, np.random.default_rng(0)
    law = InitialClickSampling(first_ratio=1.7, erode_prob=0.0)
    seen: dict[int, list[tuple[int, int]]] = {1: [], 2: []}
    for merge in (0.0, 1.0):
        for _ in range(400):
            target = choose_target(layers, objects, TargetSampling(merge_prob=merge), rng)
            points = [(y, x) for y, x, positive in sample_points(target, law, rng) if positive]
            for key, point in zip(target.ids, points, strict=False):
                seen[key].append(point)
    # deeper than 16 / 1.7 = 9.4 and 11 / 1.7 = 6.5, where the outermost pixels have depth 1
    for key, (top, bottom, left, right) in {1: (19, 31, 14, 36), 2: (36, 44, 66, 74)}.items():
        y, x = np.array(seen[key]).T
        assert (y.min(), y.max(), x.min(), x.max()) == (top, bottom, left, right)
        assert abs(y.mean() - (top + bottom) / 2) < 5 * np.sqrt((bottom - top + 1) ** 2 / 12 / len(y))
    with pytest.raises(ValueError, match=r"points\.first_ratio is 1"):
        InitialClickSampling(first_ratio=1.0)


def test_later_clicks_of_a_central_first_one_fall_anywhere_and_are_as_many_as_ever():
    layers = np.ones((40, 40, 1), np.int32)
    target = choose_target(layers, {1: SceneObject(0)}, TargetSampling(), np.random.default_rng(0))
    counts, outside = [], 0
    for ratio in (None, 1.7):
        rng = np.random.default_rng(1)
        drawn = [
            _positive_points(target, InitialClickSampling(first_ratio=ratio, erode_prob=0.0), rng) for _ in range(3000)
        ]
        counts.append(np.mean([len(points) for points in drawn]))
        outside = np.mean([min(y, x, 39 - y, 39 - x) < 11 for points in drawn for y, x, _ in points[1:]])
    # a geometric number of further clicks, cut at 23
    further = np.arange(24) @ 0.8 ** np.arange(24) / (0.8 ** np.arange(24)).sum()
    assert np.abs(np.array(counts) - 1 - further).max() < 5 * 4.2 / np.sqrt(3000)
    assert abs(outside - (1 - 18**2 / 40**2)) < 0.02


def with_excluded_place():
    """A target, a place to keep clear of, and other background that does not hold it."""
    mask = np.zeros((60, 60), np.int8)
    mask[10:30, 10:30] = 1
    place = np.zeros((60, 60), bool)
    place[40:50, 40:50] = True
    background = (mask == 0) & ~place
    return Target(mask, (1,), (mask == 1,), background, background, (place,)), place


def test_excluded_places_and_the_usual_ones_share_the_rest():
    target, place = with_excluded_place()
    law = InitialClickSampling(max_points=6, gamma=1.0, background=1, other=0, border=0)
    rng, inside, further, alone = np.random.default_rng(0), 0, 0, 0
    for _ in range(1500):
        hit = [bool(place[y, x]) for y, x, positive in sample_points(target, law, rng) if not positive]
        assert any(hit)
        if all(hit):  # the usual places drew no click at all
            alone += 1
        else:
            assert hit[:2] == [True, False]  # one of each comes first
            inside, further = inside + sum(hit[2:]), further + len(hit[2:])
    assert abs(inside / further - 0.5) < 5 * np.sqrt(0.25 / further)
    assert abs(alone / 1500 - 1 / 7) < 5 * np.sqrt(6 / 49 / 1500)


def test_clicks_on_excluded_places_are_among_the_most():
    target, _ = with_excluded_place()
    law = InitialClickSampling(max_points=4, gamma=1000.0, background=1, other=0, border=0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert sum(not positive for *_, positive in sample_points(target, law, rng)) == 4


def test_central_pixels_are_strictly_deeper():
    part = np.zeros((40, 40), bool)
    part[4:35, 4:35] = True  # 31 x 31: greatest depth 16, half of it is 8
    y, x = np.divmod(_central(part, 2.0), 40)
    assert (y.min(), y.max(), x.min(), x.max()) == (12, 26, 12, 26) and len(y) == 15**2
