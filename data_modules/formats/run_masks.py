"""Masks as run lengths (COCO's RLE), compared and cut out without being drawn as a whole.

A photo of SA-1B has a hundred masks of some thousand runs over three million pixels. Which of them lies in which can be
told from the runs alone, and a training crop draws no more than the part of each mask that it shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from data_modules.formats.notes import brief
from data_modules.formats.regions import Region

LONGEST_NUMBER = 12  # characters of one run length: 60 bits


@dataclass(frozen=True, eq=False)
class RunMask:
    """A mask that is not empty.

    Attributes:
        height: rows of the image.
        starts, ends: (R,) int64, R >= 1: the pixels of run r are starts[r] <= p < ends[r]. Pixels are counted down the
            columns: (row, column) is p = column * height + row. Runs rise, hold a pixel at least, and do not overlap.
    """

    height: int
    starts: np.ndarray
    ends: np.ndarray

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int((self.ends - self.starts).sum())

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """Inclusive y0, y1, x0, x1."""
        first, last = self.starts // self.height, (self.ends - 1) // self.height
        if (first != last).any():  # a run that goes on in the next column touches the last row and the first
            top, bottom = 0, self.height - 1
        else:
            top, bottom = int((self.starts % self.height).min()), int(((self.ends - 1) % self.height).max())
        return top, bottom, int(first[0]), int(last[-1])

    def overlap(self, other: RunMask) -> int:
        """Number of pixels that both masks of one image cover."""
        # pixels of this mask before position p: a line that rises along the runs and is level between them
        corners = np.stack([self.starts, self.ends], axis=1).ravel()
        before = np.concatenate([[0], np.cumsum(self.ends - self.starts)])
        levels = np.stack([before[:-1], before[1:]], axis=1).ravel()
        covered = np.interp(other.ends, corners, levels) - np.interp(other.starts, corners, levels)
        return round(float(covered.sum()))

    def within(self, top: int, left: int, bottom: int, right: int) -> Region | None:
        """The part of the mask in rows top..bottom - 1 and columns left..right - 1, placed as seen from (top, left).

        None where no pixel of the mask lies there.
        """
        y0, y1, x0, x1 = self.box
        top_row, bottom_row = max(top, y0), min(bottom, y1 + 1)
        first, last = max(left, x0), min(right, x1 + 1)
        if bottom_row <= top_row or last <= first:
            return None
        columns, begin, stop = self._segments(first, last)
        begin, stop = np.maximum(begin, top_row), np.minimum(stop, bottom_row)
        inside = stop > begin
        if not inside.any():
            return None
        # +1 where a segment begins and -1 behind its end; their running sum down a column is the mask
        rows = bottom_row - top_row
        steps = np.zeros((last - first) * (rows + 1), np.int8)
        offset = (columns[inside] - first) * (rows + 1) - top_row
        steps[offset + begin[inside]] += 1
        steps[offset + stop[inside]] -= 1  # apart, as a segment may begin where another ends
        drawn = steps.reshape(last - first, rows + 1).cumsum(axis=1, dtype=np.int8)[:, :-1]
        area = int((stop - begin)[inside].sum())
        return Region(top_row - top, first - left, np.ascontiguousarray(drawn.T).view(bool), area)

    def _segments(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The runs in columns first..last - 1 cut at the columns' ends: column, first row, row behind the last."""
        lowest, highest = first * self.height, last * self.height
        rows = slice(np.searchsorted(self.ends, lowest, "right"), np.searchsorted(self.starts, highest, "left"))
        starts, ends = np.maximum(self.starts[rows], lowest), np.minimum(self.ends[rows], highest)
        begin_column, end_column = starts // self.height, (ends - 1) // self.height
        pieces = end_column - begin_column + 1
        run = np.repeat(np.arange(len(starts)), pieces)
        number = np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)  # of a piece in its run
        column = begin_column[run] + number
        begin = np.where(number == 0, starts[run] % self.height, 0)
        stop = np.where(column == end_column[run], (ends[run] - 1) % self.height + 1, self.height)
        return column, begin, stop


def run_mask(segmentation: Any, size: tuple[int, int]) -> RunMask | None:
    """The mask of a `segmentation` entry with run lengths, plain or compressed; None when it covers no pixel.

    Args:
        segmentation: {"size": [H, W], "counts": list or compressed string}.
        size: (H, W) of the image.

    Raises:
        ValueError: no run lengths, or not those of an image of this size.
    """
    counts = segmentation.get("counts") if isinstance(segmentation, dict) else None
    if not isinstance(counts, list | str):
        raise ValueError("no run lengths ({size, counts})")
    found = segmentation.get("size")
    if found != list(size):
        raise ValueError(f"run lengths for {brief(str(found), 20)}, but the image is {list(size)} (rows, columns)")
    lengths = uncompressed(counts) if isinstance(counts, str) else _plain(counts)
    pixels = size[0] * size[1]
    unfit = (lengths < 0) | (lengths > pixels)
    if unfit.any():
        raise ValueError(f"a run length of {lengths[unfit][0]} in an image of {pixels} pixels")
    positions = np.concatenate([[0], np.cumsum(lengths)])
    if positions[-1] != pixels:
        raise ValueError(f"run lengths that add up to {positions[-1]} pixels, but the image has {pixels}")
    starts, ends = positions[1:-1:2], positions[2::2]  # runs of background and object take turns
    if not (kept := ends > starts).all():
        starts, ends = starts[kept], ends[kept]
    return RunMask(size[0], starts, ends) if len(starts) else None


def _plain(counts: list[Any]) -> np.ndarray:
    try:
        lengths = np.array(counts)
    except (ValueError, OverflowError):
        lengths = np.array("")
    if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind != "i"):
        raise ValueError(f"run lengths that are not whole numbers ({brief(str(counts), 40)})")
    return lengths.astype(np.int64)


def uncompressed(text: str) -> np.ndarray:
    """Run lengths (R,) int64 from COCO's compressed string: five bits a character, the lowest first.

    From the fourth number on, each is the difference to the run before the last one. Written here because pycocotools
    decodes into a buffer without asking whether the runs fit.

    Raises:
        ValueError: not such a string.
    """
    bits = np.frombuffer(text.encode("latin-1", "replace"), np.uint8).astype(np.int64) - 48
    if ((bits < 0) | (bits >= 64)).any():
        raise ValueError("compressed run lengths with a character that does not belong there")
    if not len(bits):
        return bits
    last = bits < 32  # the sixth bit says that the number goes on
    if not last[-1]:
        raise ValueError("compressed run lengths that end in the middle")
    begins = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    lengths = np.diff(np.append(begins, len(bits)))
    if lengths.max() > LONGEST_NUMBER:
        raise ValueError("compressed run lengths with a character that does not belong there")
    place = np.arange(len(bits)) - np.repeat(begins, lengths)  # of a character in its number
    values = np.add.reduceat((bits & 31) << (5 * place), begins)
    negative = (bits[last] & 16) != 0
    values -= np.where(negative, np.int64(1) << (5 * lengths), 0)
    values[2::2] = np.cumsum(values[2::2])
    values[1::2] = np.cumsum(values[1::2])
    return values
