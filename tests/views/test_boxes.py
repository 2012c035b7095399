"""Boxes and clicks: figures of the official zoom-in, and what must hold for any click.

The official figures come from `get_object_roi` and `ZoomIn._transform_clicks` of SimpleClick; our side of them is the
body of `test_zoom_in_equals_the_official_one`.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clicklab.records import Clicks
from clicklab.views.boxes import Box, crop_clicks, filled_lines, flip_clicks, resize_clicks

COORDINATE = st.integers(-500, 1500)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE, st.sampled_from([0, 1])), max_size=5)
SIDE = st.integers(1, 900)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    y0, x0 = draw(COORDINATE), draw(COORDINATE)
    return Box(y0, x0, y0 + draw(SIDE) - 1, x0 + draw(SIDE) - 1)


def with_empty_slot(points: list[tuple[int, int, int]]) -> Clicks:
    """One sample whose last slot is empty."""
    clicks = Clicks.from_list([points])
    return clicks.padded(clicks.slots + 1)


# image size, corners of a rectangle as mask, clicks, official region (rows, then columns), crop size, clicks in it
OFFICIAL = [
    (
        (418, 658),
        (115, 536, 248, 536),
        [(358, 364, 0), (14, 557, 0), (73, 14, 1)],
        (37, 284, 0, 641),
        (448, 448),
        [[579.871, 254.0062], [-41.5484, 388.6854], [65.0323, 9.7695]],
    ),
    (
        (633, 544),
        (316, 537, 478, 543),
        [(551, 294, 1), (166, 324, 1), (208, 420, 0)],
        (88, 629, 244, 543),
        (448, 448),
        [[382.7011, 74.6667], [64.4723, 119.4667], [99.1882, 262.8267]],
    ),
    (
        (667, 236),
        (162, 44, 252, 226),
        [(500, 160, 1), (53, 23, 1)],
        (0, 590, 0, 235),
        (448, 448),
        [[379.0186, 303.7288], [40.176, 43.661]],
    ),
]


@pytest.mark.parametrize(("image", "corners", "points", "region", "crop", "expected"), OFFICIAL)
def test_zoom_in_equals_the_official_one(image, corners, points, region, crop, expected):
    mask = torch.zeros(image, dtype=torch.bool)
    mask[Box(*corners).window] = True
    box = Box.around(filled_lines(mask).numpy(), len(mask), [(y, x) for y, x, positive in points if positive])
    assert box is not None
    box = box.expand(1.4, 200).clamp(image)
    assert (box.y0, box.y1, box.x0, box.x1) == region
    clicks = resize_clicks(crop_clicks(Clicks.from_list([points]), box), box.size, crop)
    torch.testing.assert_close(clicks.yx[0], torch.tensor(expected), atol=1e-4, rtol=0)


def test_box_by_hand():
    mask = torch.zeros(30, 40, dtype=torch.bool)
    assert Box.around(filled_lines(mask).numpy(), len(mask), [(3, 4)]) is None
    mask[10:13, 20:25] = True
    assert Box.around(filled_lines(mask).numpy(), len(mask)) == Box(10, 20, 12, 24)
    assert Box.around(filled_lines(mask).numpy(), len(mask), [(5.9, 22.0), (11.0, 30.5)]) == Box(5, 20, 12, 30)
    two = filled_lines(torch.stack([mask, ~mask]))
    assert two.shape == (2, 70)
    assert two[0].nonzero().flatten().tolist() == [10, 11, 12, 50, 51, 52, 53, 54]
    assert two[1].all()
    assert Box(10, 20, 12, 24).size == (3, 5)
    assert mask[Box(10, 20, 12, 24).window].all()
    assert Box.full((30, 40)) == Box(0, 0, 29, 39)
    # halves go to the even number: centres 11.5 and 11, sides 4 and 5 around them
    assert Box(11, 9, 12, 13).expand(1, 4) == Box(10, 8, 14, 14)
    assert Box(0, 0, 9, 9).expand(1.4, 200).size == (201, 201)
    assert Box(-5, 3, 50, 60).clamp((30, 40)) == Box(0, 3, 29, 39)


def test_last_row_and_column_count_as_outside():
    box = Box(10, 20, 12, 24)
    assert box.contains([(10, 20), (11.9, 23.9)])
    assert not box.contains([(10, 20), (12, 20)])
    assert not box.contains([(10, 24)])
    assert not box.contains([(9.9, 20)])
    assert box.contains([])


def test_iou_is_the_product_of_intervals():
    assert Box(0, 0, 9, 9).iou(Box(0, 5, 9, 14)) == pytest.approx(5 / 15)
    assert Box(0, 0, 9, 9).iou(Box(5, 5, 14, 14)) == pytest.approx(1 / 9)  # by area it would be 25 / 175
    assert Box(0, 0, 9, 9).iou(Box(10, 0, 19, 9)) == 0


@given(boxes(), boxes())
def test_iou_is_symmetric_and_bounded(one, other):
    assert 0 <= one.iou(other) == other.iou(one) <= 1
    assert one.iou(one) == 1


@given(boxes(), st.floats(1, 3), SIDE)
def test_expand_keeps_the_centre_and_holds_the_box(box, ratio, min_size):
    larger = box.expand(ratio, min_size)
    assert abs((larger.y0 + larger.y1) - (box.y0 + box.y1)) <= 1
    assert larger.size[1] >= max(min_size, ratio * box.size[1]) - 1
    assert larger.y0 <= box.y0
    assert larger.y1 >= box.y1


@given(POINTS, boxes())
def test_crop_and_back(points, box):
    clicks = with_empty_slot(points)
    cropped = crop_clicks(clicks, box)
    height, width = box.size
    back = crop_clicks(cropped, Box(-box.y0, -box.x0, height - 1 - box.y0, width - 1 - box.x0))
    assert torch.equal(back.yx, clicks.yx)
    assert torch.equal(cropped.label, clicks.label)
    assert cropped.yx[0, -1].tolist() == [-1, -1]


@given(POINTS, SIDE)
def test_flip_twice(points, width):
    clicks = with_empty_slot(points)
    mirrored = flip_clicks(clicks, width)
    assert torch.equal(flip_clicks(mirrored, width).yx, clicks.yx)
    assert mirrored.to_list()[0] == [(y, width - x - 1, label) for y, x, label in points]
    assert mirrored.yx[0, -1].tolist() == [-1, -1]


@given(POINTS, st.tuples(SIDE, SIDE), st.tuples(SIDE, SIDE))
def test_resize_and_back(points, source, target):
    clicks = with_empty_slot(points)
    resized = resize_clicks(clicks, source, target)
    assert resized.yx.dtype == torch.float32
    torch.testing.assert_close(resize_clicks(resized, target, source).yx, clicks.yx, atol=1e-3, rtol=1e-5)
    assert resized.yx[0, -1].tolist() == [-1, -1]


@given(st.integers(0, 39), st.integers(0, 29))
def test_a_click_moves_with_its_pixel(y, x):
    image = torch.zeros(40, 30)
    image[y, x] = 1
    clicks = Clicks.from_list([[(y, x, 1)]])
    box = Box(max(0, y - 5), max(0, x - 3), 39, 29)
    for frame, moved in (
        (image.flip(-1), flip_clicks(clicks, 30)),
        (image[box.window], crop_clicks(clicks, box)),
        (image.repeat_interleave(2, 0).repeat_interleave(3, 1), resize_clicks(clicks, (40, 30), (80, 90))),
    ):
        row, column = moved.yx[0, 0].int().tolist()
        assert frame[row, column] == 1
