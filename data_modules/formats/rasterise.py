"""Polygons and run lengths of COCO and LVIS files as masks.

Two rules are in use for polygons and differ by the outline's pixels. `fill_poly` is what the published
click-segmentation readers and the COCO+LVIS script do (OpenCV fills rounded points including the outline, masks about 5
% larger than the file's `area`). `coco_api` is the definition of the COCO and LVIS tools (pycocotools), to which the
file's `area` belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from data_modules.formats.notes import brief
from data_modules.formats.regions import Region, region_of
from data_modules.formats.run_masks import uncompressed

PolygonRule = Literal["fill_poly", "coco_api"]
FARTHEST = 2.0**20  # points farther out are pulled in: OpenCV's fixed-point lines overflow there


def need_polygon_rule(rule: str) -> None:
    """Raises ValueError for anything but the two rules."""
    if rule not in get_args(PolygonRule):
        raise ValueError(f"polygons is {rule!r}: give one of {', '.join(get_args(PolygonRule))}")


def segmentation_fault(segmentation: Any) -> str | None:
    """What is wrong with the structure of a `segmentation` entry, None when it is usable."""
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        usable = isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)
        if not usable or not isinstance(counts, list | str):
            return "run lengths without size or counts"
        return _run_length_fault(size, counts) if isinstance(counts, list) else None
    if not isinstance(segmentation, list):
        return f"a segmentation that is {type(segmentation).__name__}, neither polygons nor run lengths"
    for polygon in segmentation:
        if not isinstance(polygon, list):
            return "a polygon that is not a list of numbers"
        if len(polygon) % 2:
            return f"a polygon of {len(polygon)} numbers, which are not pairs of x and y"
    return None if segmentation else "no polygon"


def _run_length_fault(size: list[int], counts: list[Any]) -> str | None:
    """What is wrong with plain run lengths, None when they cover a mask of `size` (rows, columns) exactly."""
    for count in counts:
        if not isinstance(count, int) or isinstance(count, bool):
            return f"run lengths that are not whole numbers ({brief(repr(count), 20)})"
        if count < 0:
            return f"a negative run length ({brief(str(count), 20)})"
    covered = sum(counts)
    if covered != size[0] * size[1]:
        return f"run lengths that add up to {brief(str(covered), 20)} pixels, but the mask has {size[0]} x {size[1]}"
    return None


def run_length_size(segmentation: Any) -> tuple[int, int] | None:
    """The (rows, columns) that the run lengths of a usable `segmentation` entry are for; None for polygons."""
    return (segmentation["size"][0], segmentation["size"][1]) if isinstance(segmentation, dict) else None


def size_fault(found: tuple[int, int], size: tuple[int, int]) -> str:
    """The message for run lengths of another size than their image's, both (rows, columns)."""
    swapped = ": rows and columns are swapped" if found == size[::-1] else ""
    return f"run lengths for {found[0]} x {found[1]} (rows x columns), but the image has {size[0]} x {size[1]}{swapped}"


def segmentation_region(
    segmentation: Any, size: tuple[int, int], rule: PolygonRule, canvas: np.ndarray
) -> Region | None:
    """The mask of a `segmentation` entry of a COCO or LVIS annotation.

    Args:
        segmentation: list of polygons [x0, y0, x1, y1, ...], or run lengths {"size": [H, W], "counts": list or
            compressed string}.
        size: (H, W) of the image; what lies outside is cut off.
        rule: how polygons become pixels; run lengths have one meaning.
        canvas: (H, W) uint8 zeros, used for drawing and zero again afterwards (one buffer serves all objects of an
            image).

    Returns:
        None when no pixel is covered.

    Raises:
        ValueError: not a usable segmentation; the message says why (without naming the annotation).
    """
    if fault := segmentation_fault(segmentation):
        raise ValueError(fault)
    if isinstance(segmentation, dict):
        return _run_length_region(segmentation, size)
    try:
        polygons = [np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in segmentation]
    except (TypeError, ValueError) as error:
        raise ValueError("a polygon with something that is not a number") from error
    if not all(np.isfinite(polygon).all() for polygon in polygons):
        raise ValueError("a polygon with a coordinate that is not finite")
    if rule == "fill_poly":
        return _filled_region(polygons, canvas)
    # pycocotools takes two points for a box: only real polygons are handed over
    flat = [polygon.ravel().tolist() for polygon in polygons if len(polygon) > 2]
    return region_of(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, *size)))) if flat else None


def _filled_region(polygons: Sequence[np.ndarray], canvas: np.ndarray) -> Region | None:
    """Union of polygons (P, 2) of x, y, points rounded half to even, one fill per polygon as in the published
    readers."""
    height, width = canvas.shape
    corners = []
    for polygon in polygons:
        if not len(polygon):
            continue
        points = np.rint(np.clip(polygon, -FARTHEST, FARTHEST)).astype(np.int32)
        cv2.fillPoly(canvas, [points], (1,))
        corners += [points.min(axis=0), points.max(axis=0)]
    if not corners:
        return None
    left, top = np.clip(np.min(corners, axis=0), 0, [width, height]).tolist()
    right, bottom = np.clip(np.max(corners, axis=0) + 1, 0, [width, height]).tolist()
    window = canvas[top:bottom, left:right]
    region = region_of(window, top, left)
    window[:] = 0
    return region


def _run_length_region(segmentation: dict[str, Any], size: tuple[int, int]) -> Region | None:
    """Column-major run lengths, plain or compressed. Raises ValueError when they do not fit the image."""
    height, width = size
    found = run_length_size(segmentation)
    if found is not None and found != size:
        raise ValueError(size_fault(found, size))
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = uncompressed(counts).tolist()
        if fault := _run_length_fault([height, width], counts):
            raise ValueError(fault)
    inside = np.arange(len(counts)) % 2 == 1  # runs of background and object take turns
    columns = np.repeat(inside, np.array(counts, dtype=np.int64)).reshape(width, height)
    return region_of(columns.T)
