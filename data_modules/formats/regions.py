"""Masks of one image kept as their bounding box and the pixels inside, and how overlapping ones become layers of
ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Region(NamedTuple):
    """A mask that is not empty.

    Attributes:
        top: first row of the bounding box in the image.
        left: first column of the bounding box in the image.
        pixels: (h, w) bool, the mask inside its tight bounding box.
        area: number of True pixels.
    """

    top: int
    left: int
    pixels: np.ndarray
    area: int

    def overlap(self, other: Region) -> int:
        """Number of pixels that both masks cover."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.pixels.shape[0], other.top + other.pixels.shape[0])
        right = min(self.left + self.pixels.shape[1], other.left + other.pixels.shape[1])
        if bottom <= top or right <= left:
            return 0
        mine = self.pixels[top - self.top : bottom - self.top, left - self.left : right - self.left]
        theirs = other.pixels[top - other.top : bottom - other.top, left - other.left : right - other.left]
        return int(np.count_nonzero(mine & theirs))

    def iou(self, other: Region) -> float:
        """Intersection over union of the two masks."""
        common = self.overlap(other)
        return common / (self.area + other.area - common)

    def window(self, image: np.ndarray) -> np.ndarray:
        """View of an (H, W, ...) array of the image's size at the region's bounding box."""
        return image[self.top : self.top + self.pixels.shape[0], self.left : self.left + self.pixels.shape[1]]


def region_of(mask: np.ndarray, top: int = 0, left: int = 0) -> Region | None:
    """The region of a mask (bool, or numbers where all but 0 count) whose first pixel lies at (top, left); None for an
    empty mask."""
    mask = np.asarray(mask, dtype=bool)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    pixels = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return Region(top + int(rows[0]), left + int(columns[0]), pixels, int(np.count_nonzero(pixels)))


def boxes_of(regions: Sequence[Region]) -> np.ndarray:
    """(N, 4) int64: inclusive y0, y1, x0, x1 of every region."""
    boxes = np.zeros((len(regions), 4), dtype=np.int64)
    for box, region in zip(boxes, regions, strict=True):
        height, width = region.pixels.shape
        box[:] = region.top, region.top + height - 1, region.left, region.left + width - 1
    return boxes


def interval_ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, M) float64: "box IoU" of the published script, the product of the IoUs of the row and the column intervals.

    Both arguments hold inclusive y0, y1, x0, x1 per row. The union of two intervals is taken from the lower to the
    upper end, also where they do not meet (then the IoU is 0 anyway).
    """
    first_start, first_end = first[:, None, 0::2], first[:, None, 1::2]  # (N, 1, 2): row and column
    second_start, second_end = second[None, :, 0::2], second[None, :, 1::2]  # (1, M, 2)
    overlap = np.minimum(first_end, second_end) - np.maximum(first_start, second_start) + 1  # (N, M, 2)
    span = np.maximum(first_end, second_end) - np.minimum(first_start, second_start) + 1
    ious = np.clip(overlap, 0, None) / np.maximum(span, 1)
    return ious.prod(axis=2)


def pack_layers(
    regions: Sequence[Region | None], size: tuple[int, int], per_layer: int | None = None
) -> tuple[np.ndarray, list[int]]:
    """Layers of ids in which no two regions overlap: by falling area (of equal ones the later first), each into the
    first free layer.

    Args:
        regions: region k gets the id k + 1; None (an empty mask) leaves no pixels.
        size: (H, W) of the image.
        per_layer: most regions in one layer (255 where a layer is written as 8 bit).

    Returns:
        (H, W, L) int32 layers with L >= 1, and the layer of every region (0 for an empty one).
    """
    layers: list[np.ndarray] = []
    count: list[int] = []
    layer_of = [0] * len(regions)
    present = [(region.area, index, region) for index, region in enumerate(regions) if region is not None]
    for _, index, region in sorted(present, key=lambda item: item[:2], reverse=True):
        for layer, ids in enumerate(layers):
            if count[layer] != per_layer and not region.window(ids)[region.pixels].any():
                break
        else:
            layer = len(layers)
            layers.append(np.zeros(size, dtype=np.int32))
            count.append(0)
        region.window(layers[layer])[region.pixels] = index + 1
        count[layer] += 1
        layer_of[index] = layer
    return np.stack(layers or [np.zeros(size, dtype=np.int32)], axis=2), layer_of
