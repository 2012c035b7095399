"""A mask of a large photo, of which no more is kept than what holds pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from clicklab.views.boxes import Size

BLOCK = 8  # pixels that are looked at as one number


@dataclass(frozen=True, eq=False)
class PartialMask(ABC):
    """A mask (H, W) of an image.

    Attributes:
        size: (H, W).
    """

    size: Size

    @abstractmethod
    def whole(self) -> np.ndarray:
        """(H, W) bool; an array of the caller's own."""

    @abstractmethod
    def filled_lines(self) -> np.ndarray:
        """(H + W,) uint8: which rows and columns of the image hold a True pixel, as `clicklab.views.boxes`."""

    @abstractmethod
    def run_starts(self) -> np.ndarray:
        """Where the mask changes down its columns, which follow one another: ascending, at most H * W."""


@dataclass(frozen=True, eq=False)
class RegionMask(PartialMask):
    """The pixels of a region; outside of it the mask is False.

    Attributes:
        top: first row of the region.
        left: its first column.
        pixels: (h, w) bool of the region.
    """

    top: int
    left: int
    pixels: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> RegionMask:
        """A mask (H, W) bool that is there as a whole; what holds pixels is kept."""
        top, left, bottom, right = bounding_box(mask) or (0, 0, 0, 0)
        return cls((mask.shape[0], mask.shape[1]), top, left, mask[top:bottom, left:right])

    @classmethod
    def empty(cls, size: Size) -> RegionMask:
        """A mask without pixels."""
        return cls(size, 0, 0, np.zeros((0, 0), dtype=bool))

    @property
    def window(self) -> tuple[slice, slice]:
        """The region, in arrays of the image."""
        height, width = self.pixels.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def whole(self) -> np.ndarray:
        """As `PartialMask.whole`."""
        full = np.zeros(self.size, dtype=bool)
        full[self.window] = self.pixels
        return full

    def filled_lines(self) -> np.ndarray:
        """As `PartialMask.filled_lines`."""
        height, width = self.size
        rows, columns = self.window
        lines = np.zeros(height + width, dtype=np.uint8)
        lines[:height][rows] = self.pixels.any(axis=1)
        lines[height:][columns] = self.pixels.any(axis=0)
        return lines

    def run_starts(self) -> np.ndarray:
        """As `PartialMask.run_starts`."""
        if not self.pixels.size:
            return np.zeros(0, dtype=np.int64)
        rows, columns = self.pixels.shape
        edges = np.zeros((rows + 1, -columns % BLOCK + columns), dtype=bool)  # between a pixel and the one above it
        edges[0, :columns], edges[-1, :columns] = self.pixels[0], self.pixels[-1]
        np.not_equal(self.pixels[1:], self.pixels[:-1], out=edges[1:-1, :columns])
        blocks = np.flatnonzero(edges.view(np.uint64) != 0)  # few hold an edge
        block, place = edges.reshape(-1, BLOCK)[blocks].nonzero()
        row, column = np.divmod(blocks[block] * BLOCK + place, edges.shape[1])
        return starts_in_columns(self.top + row, self.left + column, self.size[0])


def starts_in_columns(rows: np.ndarray, columns: np.ndarray, height: int) -> np.ndarray:
    """`PartialMask.run_starts` from the pixels (n,) that differ from the one above; row `height` stands for the end.

    Where one column ends and the next begins inside the mask, there are two of the same place, and no change.
    """
    starts = np.sort(columns * height + rows)
    doubled = starts[1:] == starts[:-1]
    if not doubled.any():
        return starts
    kept = np.ones(len(starts), dtype=bool)
    kept[1:] &= ~doubled
    kept[:-1] &= ~doubled
    return starts[kept]


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """(top, left, bottom, right) of a mask (H, W) bool, ends excluded; None when it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    return top, int(columns[0]), bottom, int(columns[-1]) + 1
