"""Masks against pycocotools and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco
from scipy import ndimage

from clicklab.annotate import masks
from clicklab.annotate.outlines import joined, parts, rings, signed_area

small = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
EIGHT = np.ones((3, 3), dtype=bool)


@given(small)
def test_run_lengths_are_those_of_pycocotools(mask):
    rle = masks.encode(mask)
    assert rle["counts"].encode() == coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    assert (masks.decode(rle) == mask).all()
    assert masks.area(rle) == mask.sum()


@pytest.mark.parametrize("counts", ["abc", "zzzz~~", "é"])
def test_damaged_run_lengths_are_refused(counts):
    with pytest.raises(ValueError, match="run lengths"):
        masks.decode(masks.Rle(size=[5, 5], counts=counts))


@given(small)
def test_polygons_give_the_mask_again(mask):
    height, width = mask.shape
    found = [[float(value) for point in ring for value in point] for ring in parts(mask)]
    again = (
        coco.decode(coco.merge(coco.frPyObjects(found, height, width))).astype(bool) if found else np.zeros_like(mask)
    )
    assert (again == mask).all()
    outlines = rings(mask)
    assert sum(map(signed_area, outlines)) == mask.sum()
    if outlines:
        line = [float(value) for point in joined(outlines) for value in point]
        assert (coco.decode(coco.frPyObjects([line], height, width))[..., 0].astype(bool) == mask).all()


@given(small, st.data())
def test_holes_and_specks_as_scipy_finds_them(mask, data):
    assert (masks.without_holes(mask) == ndimage.binary_fill_holes(mask)).all()
    pixels = data.draw(st.integers(1, 12))
    labels, count = ndimage.label(mask, EIGHT)
    sizes = ndimage.sum_labels(mask, labels, range(count + 1))
    kept = np.isin(labels, [number for number in range(1, count + 1) if sizes[number] >= pixels])
    assert (masks.without_specks(mask, pixels) == kept).all()


@given(small, st.data())
def test_a_click_changes_one_piece_near_it_and_only_in_its_own_direction(before, data):
    answer = data.draw(hnp.arrays(bool, before.shape))
    y, x = (data.draw(st.integers(0, side - 1)) for side in before.shape)
    positive = data.draw(st.booleans())
    after = masks.corrected_at_click(before, answer, y, x, positive)
    changed = before != after
    assert not (changed & (after != positive)).any()  # a positive click adds, a negative one takes away
    assert (after[changed] == answer[changed]).all()
    wanted = (answer != before) & (answer == positive)
    labels, _ = ndimage.label(wanted, EIGHT)
    assert len(np.unique(labels[changed])) <= 1
    if wanted[y, x]:
        assert (changed == (labels == labels[y, x])).all()


@settings(max_examples=50)
@given(st.integers(0, 200), st.floats(0.5, 9), st.booleans())
def test_a_stroke_covers_what_is_near_its_line(seed, radius, positive):
    generator = np.random.default_rng(seed)
    mask = generator.random((40, 50)) < 0.5
    points = [tuple(point) for point in generator.uniform((-5, -5), (45, 55), (int(generator.integers(1, 5)), 2))]
    after = masks.with_stroke(mask, points, radius, positive)
    rows, columns = np.mgrid[:40, :50]
    distance = np.full(mask.shape, np.inf)
    for (y0, x0), (y1, x1) in zip(points, [*points[1:], points[-1]], strict=True):
        length = (y1 - y0) ** 2 + (x1 - x0) ** 2
        along = np.clip(((rows - y0) * (y1 - y0) + (columns - x0) * (x1 - x0)) / length, 0, 1) if length else 0
        distance = np.minimum(distance, np.hypot(rows - y0 - along * (y1 - y0), columns - x0 - along * (x1 - x0)))
    assert (after[distance < radius - 1.5] == positive).all()
    assert (after == mask)[distance > radius + 1.5].all()
