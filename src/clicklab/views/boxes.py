"""Clicks and boxes under crop, resize and flip, with the rules of the official zoom-in.

Source: docs/protocol.md#zoom-in. Coordinates are never rounded or clipped; a click may leave the frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clicklab.records import Clicks

Size = tuple[int, int]


@dataclass(frozen=True)
class Box:
    """A box of pixels; all four bounds belong to it.

    Attributes:
        y0, x0: first row and column.
        y1, x1: last row and column.
    """

    y0: int
    x0: int
    y1: int
    x1: int

    @classmethod
    def full(cls, size: tuple[int, int]) -> Box:
        """The whole image of `size` (H, W)."""
        return cls(0, 0, size[0] - 1, size[1] - 1)

    @classmethod
    def around(cls, lines: np.ndarray, height: int, points: Iterable[tuple[float, float]] = ()) -> Box | None:
        """The smallest box round a mask and some points inside the image; None where the mask is empty.

        Args:
            lines: (H + W,) `filled_lines` of the mask.
            height: H.
            points: (y, x) of the positive clicks, truncated to pixels as officially.
        """
        filled_rows, filled_columns = np.flatnonzero(lines[:height]), np.flatnonzero(lines[height:])
        if len(filled_rows) == 0:
            return None
        pixels = [(int(filled_rows[end]), int(filled_columns[end])) for end in (0, -1)]
        pixels += [(int(y), int(x)) for y, x in points]
        rows, columns = zip(*pixels, strict=True)
        return cls(min(rows), min(columns), max(rows), max(columns))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.y1 - self.y0 + 1, self.x1 - self.x0 + 1

    @property
    def window(self) -> tuple[slice, slice]:
        """Slices that cut the box out of the last two axes: `image[(..., *box.window)]`."""
        return slice(self.y0, self.y1 + 1), slice(self.x0, self.x1 + 1)

    def expand(self, ratio: float, min_size: float) -> Box:
        """Each side `ratio` times as long and at least `min_size`, same centre, bounds rounded half to even.

        The bounds are inclusive, so a side of 200 spans 201 pixels, as officially. May reach beyond the image: `clamp`.
        """
        y0, y1 = _expanded(self.y0, self.y1, ratio, min_size)
        x0, x1 = _expanded(self.x0, self.x1, ratio, min_size)
        return Box(y0, x0, y1, x1)

    def clamp(self, size: tuple[int, int]) -> Box:
        """The part inside an image of `size` (H, W)."""
        return Box(max(0, self.y0), max(0, self.x0), min(size[0] - 1, self.y1), min(size[1] - 1, self.x1))

    def iou(self, other: Box) -> float:
        """Product of the IoUs of the row and the column intervals, as officially; not the IoU of areas."""
        return _interval_iou(self.y0, self.y1, other.y0, other.y1) * _interval_iou(self.x0, self.x1, other.x0, other.x1)

    def contains(self, points: Iterable[tuple[float, float]]) -> bool:
        """True when all (y, x) lie inside; the last row and the last column count as outside, as officially."""
        return all(self.y0 <= y < self.y1 and self.x0 <= x < self.x1 for y, x in points)


def filled_lines(masks: Tensor) -> Tensor:
    """Which rows and columns of masks (..., H, W) bool hold a True pixel: (..., H + W) uint8, the rows first."""
    flags = masks.view(torch.uint8)  # the maximum of bytes is ten times as fast as `any` of bools on a CPU
    return torch.cat([flags.amax(dim=-1), flags.amax(dim=-2)], dim=-1)


def crop_clicks(clicks: Clicks, box: Box | Sequence[Box]) -> Clicks:
    """The clicks in the frame of the crop `box`, one for all samples or one for each."""
    corner = (box.y0, box.x0) if isinstance(box, Box) else [(one.y0, one.x0) for one in box]
    return _moved(clicks, clicks.yx - _pairs(clicks, corner))


def resize_clicks(clicks: Clicks, source: Size | Sequence[Size], target: Size | Sequence[Size]) -> Clicks:
    """The clicks after a resize of the frame from `source` to `target`, both (H, W): y' = H' * y / H.

    With `crop_clicks(clicks, box)` before it and `source = box.size` this is the official zoom-in of clicks. Sizes are
    those of all samples, or there is one for each.
    """
    return _moved(clicks, clicks.yx * _pairs(clicks, target) / _pairs(clicks, source))


def flip_clicks(clicks: Clicks, width: int) -> Clicks:
    """The clicks in the mirrored image: x' = width - x - 1."""
    y, x = clicks.yx.unbind(dim=-1)
    return _moved(clicks, torch.stack([y, width - x - 1], dim=-1))


def _moved(clicks: Clicks, yx: Tensor) -> Clicks:
    """New coordinates for the clicks; empty slots keep their -1."""
    return Clicks(torch.where(clicks.valid[..., None], yx, -1.0), clicks.label)


def _pairs(clicks: Clicks, values: Size | Sequence[Size]) -> Tensor:
    """Pairs in the dtype of the clicks: (2,), or (B, 1, 2) where there is one for each sample."""
    pairs = clicks.yx.new_tensor(values)
    return pairs if pairs.ndim == 1 else pairs[:, None]


def _expanded(first: int, last: int, ratio: float, min_size: float) -> tuple[int, int]:
    centre = 0.5 * (first + last)
    length = max(ratio * (last - first + 1), min_size)
    return round(centre - 0.5 * length), round(centre + 0.5 * length)


def _interval_iou(first: int, last: int, other_first: int, other_last: int) -> float:
    shared = min(last, other_last) - max(first, other_first) + 1
    return max(0, shared) / (max(last, other_last) - min(first, other_first) + 1)
