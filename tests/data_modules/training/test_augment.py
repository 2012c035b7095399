"""Augmentation pipelines: ids survive, image and layers move together, chances and ranges are the official ones."""

from __future__ import annotations

from collections import Counter

import albumentations as A
import cv2
import numpy as np
import pytest
from tiny_scenes import draw_scene

from data_modules.training.augment import AUGMENTATIONS, Augmentation, _colour, _resize, augmentation, sbd

CROP = (40, 48)


def coordinates(height, width):
    """An image whose red and green tell row and column, and layers that tell them too (with -1 in a corner)."""
    y, x = np.mgrid[:height, :width]
    layers = np.stack([y * width + x + 1, (y * width + x + 1) * 3], axis=2).astype(np.int32)
    layers[:5, :5] = -1
    return np.stack([y, x, np.full_like(y, 200)], axis=2).astype(np.uint8), layers


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("size", [(60, 80), (30, 30), (200, 45)])
def test_sizes_types_and_ids(name, size):
    scene = draw_scene(0, *size, ignore=True)
    layers = np.concatenate([scene.layers, scene.layers * 1, np.full((*size, 3), 70000, np.int32)], axis=2)
    transform = augmentation(name, CROP)
    for seed in range(20):
        image, warped = transform(scene.image, layers, np.random.default_rng(seed))
        assert image.shape == (*CROP, 3) and image.dtype == np.uint8
        assert warped.shape == (*CROP, layers.shape[2]) and warped.dtype == np.int32
        assert image.flags.c_contiguous and warped.flags.c_contiguous
        assert set(np.unique(warped)) <= set(np.unique(layers)) | {0}
        assert np.array_equal(warped[..., :2], warped[..., 2:4])  # layers move together


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_same_generator_same_result_and_the_input_is_left_alone(name):
    scene = draw_scene(0)
    image, layers = scene.image.copy(), scene.layers.copy()
    transform, again = augmentation(name, CROP), augmentation(name, CROP)
    transform(scene.image, scene.layers, np.random.default_rng(1))  # a past must not matter
    for seed in range(5):
        first = transform(scene.image, scene.layers, np.random.default_rng(seed))
        second = again(scene.image, scene.layers, np.random.default_rng(seed))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert np.array_equal(scene.image, image) and np.array_equal(scene.layers, layers)


def test_padding_is_centred_and_zero_in_both():
    image, layers = np.full((21, 30, 3), 9, np.uint8), np.full((21, 30, 2), 7, np.int32)
    padded, ids = augmentation("coco_lvis_val", CROP)(image, layers, np.random.default_rng(0))
    expected = np.zeros(CROP, bool)
    expected[9 : 9 + 21, 9 : 9 + 30] = True  # top = floor((40 - 21) / 2), left = (48 - 30) / 2
    assert np.array_equal(padded, np.where(expected[..., None], 9, 0).repeat(3, axis=2))
    assert np.array_equal(ids, np.where(expected[..., None], 7, 0).repeat(2, axis=2))


def test_crops_are_cuts_and_reach_every_border():
    image, layers = coordinates(60, 80)
    transform = augmentation("coco_lvis_val", CROP)
    tops, lefts = set(), set()
    for seed in range(400):
        cut, ids = transform(image, layers, np.random.default_rng(seed))
        top, left = int(cut[0, 0, 0]), int(cut[0, 0, 1])
        assert np.array_equal(cut, image[top : top + CROP[0], left : left + CROP[1]])
        assert np.array_equal(ids, layers[top : top + CROP[0], left : left + CROP[1]])
        tops.add(top)
        lefts.add(left)
    assert {0, 20} <= tops <= set(range(21)) and {0, 32} <= lefts <= set(range(33))


def test_image_and_layers_stay_aligned_under_the_full_sbd_pipeline():
    # without colours and interpolation an image holding the ids must arrive as the ids do
    scene = draw_scene(0)
    image = np.stack([scene.layers[..., 0] + 1] * 3, axis=2).astype(np.uint8) * 20
    transform = Augmentation(sbd(CROP)[:-2])
    for seed in range(30):
        seen, ids = transform(image, scene.layers, np.random.default_rng(seed))
        agree = seen[..., 0] == (ids[..., 0] + 1) * 20
        inside = seen[..., 0] > 0
        assert agree[inside].mean() > 0.75  # the rest: mixed pixels along outlines
        disk = np.pad((ids[..., 0] == 1).astype(np.uint8), 1)  # mixed pixels may lie along the crop's border too
        flat = cv2.erode(disk, np.ones((7, 7)))[1:-1, 1:-1] > 0
        assert agree[flat].all()


def test_the_scale_is_one_factor_for_both_sides_uniform_in_its_range():
    transform = Augmentation([_resize(0.75, 1.40)])
    image, layers = np.zeros((200, 300, 3), np.uint8), np.zeros((200, 300, 1), np.int32)
    sizes = np.array([transform(image, layers, np.random.default_rng(s))[1].shape[:2] for s in range(800)])
    assert np.abs(sizes[:, 0] / 200 - sizes[:, 1] / 300).max() < 0.005
    factor = sizes[:, 1] / 300
    assert 0.745 < factor.min() < 0.77 and 1.38 < factor.max() <= 1.40
    assert np.abs(np.histogram(factor, 5, (0.75, 1.40))[0] - 160).max() < 5 * np.sqrt(800 * 0.16)


def nearest(image, factor):
    """Nearest-neighbour resizing written out: output pixel i shows input pixel floor(i * old / new)."""
    new = [int(side * factor) for side in image.shape[:2]]
    rows, columns = (np.arange(n) * side // n for n, side in zip(new, image.shape[:2], strict=True))
    return image[rows][:, columns]


@pytest.mark.parametrize("factor", [0.75, 1.25])
def test_resized_ids_equal_resizing_by_hand(factor):
    image, layers = coordinates(60, 80)
    resized = Augmentation([A.RandomScale((factor - 1, factor - 1), p=1.0)])(image, layers, np.random.default_rng(0))[1]
    assert np.array_equal(resized, nearest(layers, factor))


def test_flips_and_turns_of_sbd_have_the_official_shares():
    flips, turns = sbd(CROP)[1:3]
    image, layers = coordinates(8, 8)
    rows, columns = slice(None, None, -1), (slice(None), slice(None, None, -1))
    views = {"none": ..., "vertical": rows, "horizontal": columns, "both": (rows, rows)}
    flip = Augmentation([flips])
    seen = Counter()
    for seed in range(1200):
        flipped, ids = flip(image, layers, np.random.default_rng(seed))
        name = next(key for key, view in views.items() if np.array_equal(flipped, image[view]))
        assert np.array_equal(ids, layers[views[name]])
        seen[name] += 1
    for name, share in (("none", 1 / 2), ("vertical", 1 / 6), ("horizontal", 1 / 6), ("both", 1 / 6)):
        assert abs(seen[name] / 1200 - share) < 5 * np.sqrt(share * (1 - share) / 1200), (name, seen)
    turn = Augmentation([turns])
    turned = Counter()
    for seed in range(1200):
        rotated, ids = turn(image, layers, np.random.default_rng(seed))
        k = next(k for k in range(4) if np.array_equal(rotated, np.rot90(image, k)))
        assert np.array_equal(ids, np.rot90(layers, k))
        turned[k] += 1
    for k, share in enumerate((5 / 8, 1 / 8, 1 / 8, 1 / 8)):
        assert abs(turned[k] / 1200 - share) < 5 * np.sqrt(share * (1 - share) / 1200), turned


def test_resized_windows_follow_the_official_law():
    # in a square image a window of share s and ratio r fits where |ln r| <= -ln s, which has probability
    # -ln s / ln(4/3) for s in 0.75..1 and 0 above: all in all `fits`; ten misses give the whole image
    fits = 2 * (0.25 - 0.75 * np.log(4 / 3)) / np.log(4 / 3)
    side, count = 120, 1500
    y, x = np.mgrid[:side, :side]
    layers = np.stack([y + 1, x + 1], axis=2).astype(np.int32)
    transform = augmentation("resized_window", (side, side))  # windows are enlarged: every row of them is seen
    image, windows, flipped = np.zeros((side, side, 3), np.uint8), [], []
    for seed in range(count):
        ids = transform(image, layers, np.random.default_rng(seed))[1]
        corner, end = ids[0, 0], ids[-1, -1]
        windows.append((*np.minimum(corner, end), *(np.abs(end - corner) + 1)))
        flipped.append(corner > end)
    top, left, height, width = np.array(windows).T
    whole = (height == side) & (width == side)
    missed = (1 - fits) ** 10
    assert abs(whole.mean() - missed) < 5 * np.sqrt(missed * (1 - missed) / count) + 0.002  # a few round to the whole
    share, ratio = (height * width / side**2)[~whole], (width / height)[~whole]
    assert 0.74 < share.min() < 0.76 and share.max() > 0.95
    assert 0.74 < ratio.min() < 0.78 and 1.28 < ratio.max() < 1.35
    edges = np.linspace(0.75, 1, 6)
    law = edges - edges * np.log(np.maximum(edges, 1e-9))  # the integral of -ln s
    expected = np.diff(law) / (law[-1] - law[0])
    assert np.abs(np.histogram(share, edges)[0] / len(share) - expected).max() < 5 * np.sqrt(0.25 / len(share))
    free = (height < side - 3) & (width < side - 3)
    places = np.concatenate([(top - 1)[free] / (side - height)[free], (left - 1)[free] / (side - width)[free]])
    assert places.min() == 0 and places.max() == 1 and abs(places.mean() - 0.5) < 5 * np.sqrt(1 / 12 / len(places))
    for share in (np.mean(flipped, axis=0)).tolist():  # upside down or mirrored, a third of the time each
        assert abs(share - 1 / 3) < 5 * np.sqrt(2 / 9 / count)


def test_shifts_and_rotations_of_sbd_are_small():
    affine = Augmentation([sbd(CROP)[3]])
    image, layers = np.zeros((101, 201, 3), np.uint8), np.zeros((101, 201, 1), np.int32)
    layers[50, 20:181] = 1
    layers[48:53, 100] = 2
    angles, shifts, same = [], [], 0
    for seed in range(400):
        ids = affine(image, layers, np.random.default_rng(seed))[1][..., 0]
        same += np.array_equal(ids, layers[..., 0])
        y, x = np.nonzero(ids == 1)
        angles.append(np.degrees(np.arctan(np.polyfit(x, y, 1)[0])))
        shifts.append([c.mean() - m for c, m in zip(np.nonzero(ids == 2), (50, 100), strict=True)])
    assert abs(same / 400 - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 400) + 0.02
    assert 2.5 < np.max(angles) < 3.3 and -3.3 < np.min(angles) < -2.5
    down, right = np.abs(shifts).max(axis=0)
    assert 2 <= down <= 3.6 and 4 <= right <= 6.6  # 3 % of 101 and of 201


def test_colours_have_the_official_ranges_and_leave_ids_alone():
    brightness, shift = _colour()
    grey = np.full((4, 4, 3), 100, np.uint8)
    layers = np.ones((4, 4, 1), np.int32)
    change = Augmentation([shift])
    shifts = np.array([change(grey, layers, np.random.default_rng(s))[0][0, 0].astype(int) - 100 for s in range(3000)])
    assert shifts.min() >= -10 and shifts.max() <= 10 and shifts.min() <= -9 and shifts.max() >= 9
    unchanged = (shifts == 0).all(axis=1).mean()
    assert abs(unchanged - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 3000) + 0.002
    moved = shifts[(shifts != 0).any(axis=1)]
    assert abs(np.corrcoef(moved[:, 0], moved[:, 1])[0, 1]) < 0.12  # channels are independent

    ramp = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=2)
    change = Augmentation([brightness])
    slopes, offsets = [], []
    for seed in range(800):
        out, ids = change(ramp, np.ones((16, 16, 1), np.int32), np.random.default_rng(seed))
        assert (ids == 1).all()
        values = out[..., 0].ravel().astype(float)
        free = (values > 0) & (values < 255)
        slope, offset = np.polyfit(np.arange(256)[free], values[free], 1)
        slopes.append(slope)
        offsets.append(offset)
    assert 0.83 < min(slopes) < 0.88 and 1.35 < max(slopes) < 1.42  # contrast -0.15..0.40
    assert -66 < min(offsets) < -58 and 58 < max(offsets) < 66  # brightness 255 * 0.25


def test_transforms_draw_independently():
    # with albumentations' own seeding a flipped image would always be brightened: every transform has the same stream
    image = np.zeros((40, 48, 3), np.uint8)
    image[:, :24] = 100
    transform = Augmentation([A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast((0.2, 0.2), (0.0, 0.0), p=0.5)])
    seen = Counter()
    for seed in range(800):
        out = transform(image, np.zeros((40, 48, 1), np.int32), np.random.default_rng(seed))[0]
        seen[out[0, 0, 0] < out[0, -1, 0], min(out[0, 0, 0], out[0, -1, 0]) > 0] += 1
    assert len(seen) == 4 and all(abs(count - 200) < 5 * np.sqrt(800 * 3 / 16) for count in seen.values())


def test_unknown_names_and_sizes():
    with pytest.raises(ValueError, match=r"'sdb'; the known ones are coco_lvis, .*sbd"):
        augmentation("sdb", CROP)
    with pytest.raises(ValueError, match="crop size"):
        augmentation("sbd", (0, 448))


LAWS = {
    "coco_lvis": (0.75, 1.40, 0, 0.5, True),
    "coco_lvis_mild": (0.75, 1.25, 0, 0.5, True),
    "coco_lvis_plain": (0.75, 1.40, 0, 0.5, False),
    "coco_lvis_flips": (0.75, 1.40, 0.5, 0.5, True),
    "coco_lvis_rare_flips": (0.75, 1.40, 0.3, 0.3, True),
    "coco_lvis_val": (1.0, 1.0, 0, 0, False),
    "sbd": (0.75, 1.25, None, None, True),  # its flips and turns have a test of their own
    "sbd_flips": (0.75, 1.25, 0.5, 0.5, True),
    "sbd_val": (0.75, 1.25, 0, 0, False),
}


@pytest.mark.parametrize("name", LAWS)
def test_every_pipeline_has_its_scales_flips_and_colours(name):
    low, high, upside_down, mirrored, coloured = LAWS[name]
    y, x = np.mgrid[:260, :260]
    layers, grey = np.stack([y + 1, x + 1], axis=2).astype(np.int32), np.full((260, 260, 3), 100, np.uint8)
    transform, count = augmentation(name, (120, 120)), 400
    factors, flips, changed = [], [], 0
    for seed in range(count):
        image, ids = transform(grey, layers, np.random.default_rng(seed))
        middle = ids[20:100, 20:100].astype(int)
        down, right = middle[-1, 40] - middle[0, 40], middle[40, -1] - middle[40, 0]  # rows and columns passed
        factors.append(79 / max(np.abs(down).max(), np.abs(right).max()))
        flips.append((down[0] < 0, right[1] < 0))
        changed += not (image[60, 60] == 100).all()
    assert low * 0.98 < min(factors) < low * 1.03 and high * 0.97 < max(factors) < high * 1.03
    for seen, wanted in zip(np.mean(flips, axis=0), (upside_down, mirrored), strict=True):
        assert wanted is None or abs(seen - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / count)
    assert changed / count > 0.85 if coloured else changed == 0
