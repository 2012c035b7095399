"""Polygons and run lengths as masks, against OpenCV and pycocotools called the plain way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from data_modules.formats.rasterise import need_polygon_rule, segmentation_region
from data_modules.tools.export_instances import polygons_of

SIZE = (60, 80)


def drawn(segmentation, rule="fill_poly", size=SIZE):
    """(H, W) bool through the code under test; the canvas has to come back clean."""
    canvas = np.zeros(size, np.uint8)
    region = segmentation_region(segmentation, size, rule, canvas)
    assert not canvas.any()
    mask = np.zeros(size, bool)
    if region is not None:
        region.window(mask)[region.pixels] = True
        assert region.area == mask.sum() > 0
    return mask


def official_fill(segmentation, size=SIZE):
    """What the published readers do (protocol.md section (b)): int32 canvas, one fill of rounded points per polygon."""
    mask = np.zeros(size, np.int32)
    for polygon in segmentation:
        points = np.round(np.array(polygon).reshape(-1, 2)).astype(np.int32)
        cv2.fillPoly(mask, points[np.newaxis], 1)
    return mask == 1


def test_both_rules_equal_the_plain_calls():
    rng = np.random.default_rng(0)
    for _ in range(60):
        # some points on half pixels, some outside the image
        polygons = [
            (rng.integers(-40, 240, 2 * rng.integers(3, 9)) / 2).tolist() for _ in range(int(rng.integers(1, 4)))
        ]
        assert np.array_equal(drawn(polygons), official_fill(polygons))
        api = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *SIZE)))
        assert np.array_equal(drawn(polygons, "coco_api"), api == 1)


def test_run_lengths_plain_and_compressed():
    rng = np.random.default_rng(1)
    mask = cv2.resize(rng.integers(0, 2, (6, 8)).astype(np.uint8), SIZE[::-1], interpolation=cv2.INTER_NEAREST)
    packed = coco_mask.encode(np.asfortranarray(mask))
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    counts = [0, *counts] if flat[0] else counts
    for rule in ("fill_poly", "coco_api"):
        assert np.array_equal(drawn({"size": list(SIZE), "counts": counts}, rule), mask == 1)
        assert np.array_equal(drawn({"size": list(SIZE), "counts": packed["counts"].decode()}, rule), mask == 1)


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([[1, 2, 3]], "not pairs"),
        ([["a", 1, 2, 3, 4, 5]], "not a number"),
        ([[1, 2, 3, float("nan"), 4, 5]], "not finite"),
        ([1, 2, 3], "not a list"),
        ([], "no polygon"),
        (None, "NoneType"),
        ({"counts": [1]}, "size"),
        ({"size": [9, 9], "counts": [81]}, "rows x columns"),
        ({"size": [60, 80], "counts": [5, 6]}, "add up"),
        ({"size": [60, 80], "counts": ["a"]}, "whole number"),
        ({"size": [60, 80], "counts": "x"}, "run lengths"),
    ],
)
def test_unusable_segmentations_are_refused(segmentation, words):
    for rule in ("fill_poly", "coco_api"):
        with pytest.raises(ValueError, match=words):
            segmentation_region(segmentation, SIZE, rule, np.zeros(SIZE, np.uint8))


def test_nothing_is_drawn_outside_and_by_empty_polygons():
    far = [[-50.0, -50, -20, -50, -20, -20], [1e30, 1, 1e30, 2, 1e31, 3], [200, 10, 300, 10, 300, 40]]
    for rule in ("fill_poly", "coco_api"):
        assert not drawn([far[0]], rule).any() and not drawn([far[2]], rule).any() and not drawn([[]], rule).any()
    assert not drawn([far[1]]).any()
    crossing = [[-30, 10, 500, 10, 500, 20, -30, 20]]
    assert np.array_equal(np.flatnonzero(drawn(crossing).all(axis=1)), np.arange(10, 21))
    # two points are a line for OpenCV and would be a box for pycocotools
    assert drawn([[5, 5, 9, 5]]).sum() == 5 and not drawn([[5, 5, 9, 5]], "coco_api").any()


def test_rules_have_names():
    need_polygon_rule("coco_api")
    with pytest.raises(ValueError, match="fill_poly, coco_api"):
        need_polygon_rule("round")


def test_exported_polygons_fill_to_exactly_the_mask():
    rng = np.random.default_rng(2)
    for _ in range(40):
        coarse = (rng.random((9, 11)) < 0.6).astype(np.uint8)
        mask = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_NEAREST) > 0
        mask ^= rng.random(SIZE) < 0.02
        assert np.array_equal(official_fill(polygons_of(mask)), mask)
