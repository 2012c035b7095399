"""Focus crop and progressive merge: the official answers on seeded masks, brute force, and nearly nothing to see."""

import json
import zlib
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from blobs import blobs

from clicklab.views.boxes import Box
from clicklab.views.focus_crop import focus_crop, progressive_merge

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "focalclick.json").read_text())["merges"]
SIZE = (90, 120)


def part_by_hand(changed, y, x):
    """The changed pixels that can be walked to from (y, x), over corners too."""
    seen, waiting = set(), deque([(y, x)] if changed[y, x] else [])
    while waiting:
        y, x = waiting.popleft()
        if (y, x) in seen:
            continue
        seen.add((y, x))
        for j in range(max(0, y - 1), min(changed.shape[0], y + 2)):
            waiting.extend((j, i) for i in range(max(0, x - 1), min(changed.shape[1], x + 2)) if changed[j, i])
    return seen


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: str(case["seed"]))
def test_official_merge_and_crop(case):
    seed, click = case["seed"], case["click"]
    before, after = blobs(seed), blobs(100 + seed)
    if seed % 4 == 3:
        after = before.copy()
        after[10:14, 20:23] ^= True
    merged = progressive_merge(torch.from_numpy(before), torch.from_numpy(after), click, everything_else=True).numpy()
    assert int(merged.sum()) == case["pixels"]
    assert zlib.crc32(np.ascontiguousarray(merged).tobytes()) == case["crc32"]

    earlier = before if seed % 5 else np.zeros(SIZE, bool)
    box = focus_crop(torch.from_numpy(after), torch.from_numpy(earlier), click, Box(5, 3, 84, 116), 1.4, True)
    y0, y1, x0, x1 = case["focus_crop"]
    assert box == Box(y0, x0, y1 - 1, x1 - 1)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("robust", [False, True])
def test_merge_by_brute_force(seed, robust):
    rng = np.random.default_rng(seed)
    before, after = blobs(seed, (24, 31)), blobs(50 + seed, (24, 31))
    for _ in range(6):
        y, x = (int(v) for v in rng.integers((24, 31)))
        part = part_by_hand(before != after, y, x)
        if not part and not robust:
            part = {(int(j), int(i)) for j, i in np.argwhere(before == after)}
        wanted = before.copy()
        for place in part:
            wanted[place] = not before[y, x]
        merged = progressive_merge(torch.from_numpy(before), torch.from_numpy(after), (y, x), not robust)
        np.testing.assert_array_equal(merged.numpy(), wanted)
        for j, i in part:  # a part that the click does not hold stays as it was
            assert bool(merged[j, i]) != before[y, x]


def test_a_click_that_changes_nothing_keeps_the_mask_or_officially_floods_it():
    before = torch.from_numpy(blobs(0))
    y, x = np.argwhere(~before.numpy())[0].tolist()
    assert torch.equal(progressive_merge(before, before, (y, x), everything_else=False), before)
    assert progressive_merge(before, before, (y, x), everything_else=True).all()


@pytest.mark.parametrize("click", [(0, 0), (89, 119), (0, 119), (45.7, 60.2)])
@pytest.mark.parametrize("everything_else", [False, True])
@pytest.mark.parametrize("pixels", [0, 1, 12])
def test_next_to_nothing_and_clicks_at_the_border(click, everything_else, pixels):
    """Never an empty crop, never one outside the target crop."""
    target = Box(2, 3, 85, 110)
    for now, earlier in ((pixels, 0), (0, pixels), (pixels, 1), (pixels, pixels)):
        seen, before = torch.zeros(SIZE, dtype=torch.bool), torch.zeros(SIZE, dtype=torch.bool)
        seen[50, 20 : 20 + now] = True
        before[int(click[0]), : earlier + 1] = earlier > 0
        box = focus_crop(seen, before, click, target, 1.4, everything_else)
        assert min(box.size) > 0
        assert target.y0 <= box.y0 <= box.y1 <= target.y1
        assert target.x0 <= box.x0 <= box.x1 <= target.x1
        merged = progressive_merge(before, seen, click, everything_else)
        assert merged.shape == SIZE


def test_a_crop_away_from_the_target_falls_back_to_it():
    seen, before = torch.zeros(SIZE, dtype=torch.bool), torch.zeros(SIZE, dtype=torch.bool)
    before[:40, :40] = True
    seen[5:35, 5:35] = True
    target = Box(70, 80, 89, 119)
    assert focus_crop(seen, before, (2, 2), target, 1.4, False) == target


def test_a_change_below_a_third_of_the_object_is_seen_by_a_square():
    seen = torch.zeros(90, 120, dtype=torch.bool)
    seen[20:50, 30:70] = True  # from first to last 29 rows and 39 columns
    boxes = []
    for rows in (10, 11):  # 9 and 10 from first to last, a third is 9.7
        before = seen.clone()
        before[20 : 20 + rows] = False
        boxes.append(focus_crop(seen, before, (24, 50), Box.full((90, 120)), 1.4, False))
    # half a side of 0.2 * 39 = 7.8; 1.4 * (2 * 7.8 + 1) / 2 = 11.6 on either side of the click
    assert boxes[0] == Box(12, 38, 34, 60)
    assert boxes[1] == Box(17, 21, 31, 76)  # 25 -+ 7.7 rows, 49.5 -+ 28 columns


def test_ten_pixels_have_an_extent_of_their_own_and_nine_have_none():
    nothing = torch.zeros(90, 120, dtype=torch.bool)
    for count, wanted in ((9, Box.full((90, 120))), (10, Box(49, 17, 49, 30))):
        seen = nothing.clone()
        seen[50, 20 : 20 + count] = True
        assert focus_crop(seen, nothing, (50, 22), Box.full((90, 120)), 1.4, False) == wanted
