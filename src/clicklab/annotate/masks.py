"""Masks as they are kept, sent and edited: COCO run lengths, brush strokes, holes, specks, corrections at a click.

One form serves the store, the page and the exports: `Rle`, the compressed run lengths of pycocotools. They run down
the columns of the whole photo, and a mask of a 12-megapixel photo takes about 1 KB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import cv2
import numpy as np
from pycocotools import mask as coco

from clicklab.inference.partial_mask import PartialMask, RegionMask, bounding_box

SNAP_SHARE = 0.01  # of the longer side: so far from a click its change is looked for, a click being never exact
SNAP_PIXELS = 4  # and at least so far


class Rle(TypedDict):
    """A mask as COCO keeps it: `size` is [height, width], `counts` its compressed run lengths as text."""

    size: list[int]
    counts: str


def encode(mask: np.ndarray) -> Rle:
    """Run lengths of a mask (H, W) bool."""
    return encode_partial(RegionMask.of(mask))


def encode_partial(mask: PartialMask) -> Rle:
    """Run lengths of a mask of which only a part is kept."""
    height, width = mask.size
    counts = np.diff(np.concatenate([[0], mask.run_starts(), [height * width]]))
    if counts[-1] == 0:
        counts = counts[:-1]
    return _compressed(counts.tolist(), height, width)


def decode(rle: Rle) -> np.ndarray:
    """The mask (H, W) bool.

    Raises:
        ValueError: the run lengths are damaged, or not those of a mask of that size.
    """
    height, width = rle["size"]
    try:
        mask = coco.decode({"size": [height, width], "counts": rle["counts"].encode("ascii")})
    except (ValueError, TypeError, UnicodeEncodeError) as error:
        raise ValueError(f"not the run lengths of a mask of {width} x {height} pixels ({error})") from error
    return np.ascontiguousarray(mask, dtype=np.uint8).view(bool)


def area(rle: Rle) -> int:
    """Pixels of the mask."""
    return int(coco.area(_in_bytes(rle)))


def box_of(rle: Rle) -> list[float]:
    """[x, y, width, height] of the mask, zeros when it is empty."""
    return [float(value) for value in coco.toBbox(_in_bytes(rle))]


def empty(height: int, width: int) -> Rle:
    """A mask without pixels."""
    return _compressed([height * width], height, width)


def corrected_at_click(before: np.ndarray, answer: np.ndarray, y: float, x: float, positive: bool) -> np.ndarray:
    """A given mask after a click: of what the network answered, only the change that the click asked for.

    A positive click adds, a negative one takes away, and only the connected piece of change at the click; everything
    else of the given mask stays as it was, whatever the network thinks of it.

    Args:
        before: (H, W) bool, the mask that was clicked on; it is not changed.
        answer: (H, W) bool, the network's.
        y: row of the click.
        x: column of the click.
        positive: its sign.

    Returns:
        (H, W) bool; equal to `before` where the network changed nothing near the click.
    """
    change = (answer & ~before if positive else before & ~answer).view(np.uint8)
    seed = _nearest_pixel(change, round(y), round(x))
    if seed is None:
        return before.copy()
    piece = np.ascontiguousarray(change)
    cv2.floodFill(piece, None, (seed[1], seed[0]), 2, flags=8)
    return before | (piece == 2) if positive else before & (piece != 2)


def with_stroke(mask: np.ndarray, points: Sequence[tuple[float, float]], radius: float, positive: bool) -> np.ndarray:
    """A mask (H, W) bool after a stroke of a round brush, or of an eraser.

    Args:
        mask: it is not changed.
        points: (y, x) of the stroke, at least one.
        radius: of the brush in pixels; one pixel at least is painted.
        positive: False erases.
    """
    painted = np.ascontiguousarray(mask).astype(np.uint8)
    value, fine = int(positive), 4  # OpenCV takes coordinates in sixteenths of a pixel
    dots = [(round(x * 2**fine), round(y * 2**fine)) for y, x in points]
    for dot in dots:
        cv2.circle(painted, dot, max(round(radius * 2**fine), 1), value, cv2.FILLED, cv2.LINE_8, fine)
    if len(dots) > 1:
        line = np.array(dots, dtype=np.int32).reshape(-1, 1, 2)
        cv2.polylines(painted, [line], False, value, max(round(2 * radius), 1), cv2.LINE_8, fine)
    return painted.view(bool)


def without_holes(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool with everything filled that it surrounds."""
    box = bounding_box(mask)
    if box is None:
        return mask.copy()
    top, left, bottom, right = box
    ground = np.pad(mask[top:bottom, left:right], 1).astype(np.uint8)
    cv2.floodFill(ground, None, (0, 0), 2, flags=4)
    filled = mask.copy()
    filled[top:bottom, left:right] = (ground != 2)[1:-1, 1:-1]
    return filled


def without_specks(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask (H, W) bool without its connected pieces of fewer than `pixels` pixels."""
    box = bounding_box(mask)
    if box is None:
        return mask.copy()
    top, left, bottom, right = box
    part = np.ascontiguousarray(mask[top:bottom, left:right]).view(np.uint8)
    _, labels, pieces, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
    kept = pieces[:, cv2.CC_STAT_AREA] >= pixels
    kept[0] = False
    cleaned = mask.copy()
    cleaned[top:bottom, left:right] = kept[np.asarray(labels, dtype=np.intp)]
    return cleaned


def _nearest_pixel(change: np.ndarray, row: int, column: int) -> tuple[int, int] | None:
    """(row, column) of the changed pixel nearest to a click, None where there is none close to it."""
    reach = max(SNAP_PIXELS, round(SNAP_SHARE * max(change.shape)))
    top, left = max(row - reach, 0), max(column - reach, 0)
    rows, columns = np.nonzero(change[top : row + reach + 1, left : column + reach + 1])
    if not len(rows):
        return None
    distance = (rows + top - row) ** 2 + (columns + left - column) ** 2
    nearest = int(distance.argmin())
    if distance[nearest] > reach**2:
        return None
    return int(rows[nearest]) + top, int(columns[nearest]) + left


def _compressed(counts: list[int], height: int, width: int) -> Rle:
    """Run lengths (background first) as compressed text."""
    rle = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _in_bytes(rle: Rle) -> dict:
    """As pycocotools wants it."""
    return {"size": rle["size"], "counts": rle["counts"].encode("ascii")}
