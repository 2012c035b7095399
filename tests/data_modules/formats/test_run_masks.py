"""Run lengths against pycocotools and against masks that are drawn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask
from shard_files import run_lengths

from data_modules.formats.hierarchy import region_tree
from data_modules.formats.regions import region_of
from data_modules.formats.run_masks import run_mask, uncompressed

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def runs(mask):
    return run_mask(run_lengths(mask), mask.shape)


@given(MASKS, st.data())
def test_any_window_of_any_mask_is_what_pycocotools_draws(mask, data):
    found = runs(mask)
    if not mask.any():
        assert found is None
        return
    rows, columns = np.nonzero(mask)
    assert found.area == mask.sum()
    assert found.box == (rows.min(), rows.max(), columns.min(), columns.max())
    height, width = mask.shape
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    region = found.within(top, left, bottom, right)
    expected = coco_mask.decode(run_lengths(mask))[top:bottom, left:right] == 1
    drawn = np.zeros_like(expected)
    if region is not None:
        region.window(drawn)[:] = region.pixels
        assert region.area == expected.sum()
    assert np.array_equal(drawn, expected)


@given(arrays(bool, (2, 9, 11)))
def test_overlaps_are_counted_without_drawing(pair):
    if pair.any(axis=(1, 2)).all():
        assert runs(pair[0]).overlap(runs(pair[1])) == (pair[0] & pair[1]).sum()


def test_long_numbers_and_plain_lists(tmp_path):
    mask = np.zeros((700, 900), bool)
    mask[3:690, 5:880] = True
    mask[200:300, 300:310] = False
    packed = run_lengths(mask)
    flat = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel(order="F"), [0]])))
    counts = np.diff([0, *flat, mask.size]).tolist()
    assert uncompressed(packed["counts"]).tolist()[: len(counts)] == counts
    plain = run_mask({"size": [700, 900], "counts": counts}, mask.shape)
    assert np.array_equal(plain.starts, runs(mask).starts) and np.array_equal(plain.ends, runs(mask).ends)


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ([[1, 2, 3, 4, 5, 6]], "no run lengths"),
        ({"size": [4, 6], "counts": [24]}, r"run lengths for \[4, 6\], but the image is \[6, 4\]"),
        ({"size": [6, 4], "counts": [20, 5]}, "add up to 25 pixels"),
        ({"size": [6, 4], "counts": [-2, 26]}, "a run length of -2"),
        ({"size": [6, 4], "counts": [2**70]}, "whole numbers"),
        ({"size": [6, 4], "counts": [1.5, 22.5]}, "whole numbers"),
        ({"size": [6, 4], "counts": "\x01"}, "a character that does not belong"),
        ({"size": [6, 4], "counts": "é"}, "a character that does not belong"),
        ({"size": [6, 4], "counts": "o" * 30}, "end in the middle"),
        ({"size": [6, 4], "counts": "o" * 30 + "1"}, "a character that does not belong"),
    ],
)
def test_what_does_not_fit_is_refused(segmentation, told):
    with pytest.raises(ValueError, match=told):
        run_mask(segmentation, (6, 4))


@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=40))
def test_no_string_leads_out_of_the_image(text):
    try:
        found = run_mask({"size": [6, 4], "counts": text}, (6, 4))
    except ValueError:
        return
    assert found is None or (0 <= found.starts[0] < found.ends[-1] <= 24 and found.area <= 24)


def test_the_tree_is_that_of_drawn_masks():
    from data_modules.datasets.sa1b import containment

    rng = np.random.default_rng(3)
    for _ in range(20):
        masks = []
        for _ in range(12):
            mask = np.zeros((50, 70), np.uint8)
            axes = (int(rng.integers(2, 30)), int(rng.integers(2, 20)))
            cv2.ellipse(
                mask, (int(rng.integers(70)), int(rng.integers(50))), axes, float(rng.integers(90)), 0, 360, 1, -1
            )
            masks.append(mask == 1)
        masks = [mask for mask in masks if mask.any()]
        expected = region_tree([region_of(mask) for mask in masks])
        assert containment([runs(mask) for mask in masks]) == expected
