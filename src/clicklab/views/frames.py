"""Views: what a network sees of the full image, each with its inverse. Zoom-in, longest side, mirror.

Source: docs/protocol.md#what-the-network-is-shown. All resizes are bilinear with align_corners=True, as officially.
Nothing here has a memory: the region that a zoom-in keeps from click to click is handed in and given back, and lives in
the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from clicklab.records import POSITIVE, Clicks
from clicklab.views.boxes import Box, Size, crop_clicks, resize_clicks

Click = tuple[float, float, int]


@dataclass(frozen=True)
class Frame:
    """One crop of an outer frame, resized.

    Attributes:
        outer: (H, W) of the frame before it.
        box: the part that is seen.
        size: (h, w) of that part after the resize.
        home: where the answer is put back; `box`, but for the official stale region.
    """

    outer: Size
    box: Box
    size: Size
    home: Box

    @classmethod
    def whole(cls, outer: Size, home: Box | None = None) -> Frame:
        """The outer frame as it is."""
        full = Box.full(outer)
        return cls(outer, full, outer, home or full)

    def image(self, maps: Tensor) -> Tensor:
        """(C, H, W) of the outer frame -> (C, h, w)."""
        return resize(maps[(..., *self.box.window)], self.size)

    def clicks(self, clicks: Clicks) -> Clicks:
        """Clicks of the outer frame in pixels of this one; neither rounded nor clipped."""
        return clicks_in_frames(clicks, [self])

    def back(self, maps: Tensor) -> Tensor:
        """(K, h, w) -> (K, H, W) of the outer frame, 0 where nothing was seen."""
        seen = resize(maps, self.home.size)
        if self.home.size == self.outer:
            return seen
        full = seen.new_zeros((len(seen), *self.outer))
        full[(..., *self.home.window)] = seen
        return full


@dataclass(frozen=True)
class View:
    """Frames one inside the other, the outermost (the full image) first."""

    frames: tuple[Frame, ...]

    @property
    def size(self) -> Size:
        """(h, w) of what the network sees."""
        return self.frames[-1].size

    def image(self, maps: Tensor) -> Tensor:
        """(C, H, W) of the full image -> (C, h, w)."""
        for frame in self.frames:
            maps = frame.image(maps)
        return maps

    def clicks(self, clicks: Clicks) -> Clicks:
        """Clicks of the full image in pixels of the view."""
        for frame in self.frames:
            clicks = frame.clicks(clicks)
        return clicks

    def back(self, maps: Tensor) -> Tensor:
        """(K, h, w) -> (K, H, W) of the full image."""
        for frame in reversed(self.frames):
            maps = frame.back(maps)
        return maps


def clicks_in_frames(clicks: Clicks, frames: Sequence[Frame]) -> Clicks:
    """`Frame.clicks` for many samples in one go: one frame for each, or a single one for all."""
    boxes = [frame.box for frame in frames]
    return resize_clicks(crop_clicks(clicks, boxes), [box.size for box in boxes], [frame.size for frame in frames])


def clicks_in_views(clicks: Clicks, views: Sequence[View]) -> Clicks:
    """`View.clicks` for many samples in one go: one view for each, of equally many frames."""
    for frames in zip(*(view.frames for view in views), strict=True):
        clicks = clicks_in_frames(clicks, frames)
    return clicks


@dataclass(frozen=True)
class ZoomIn:
    """The official zoom-in: look at the object found so far, widened; keep looking there until that gets wrong.

    RITM uses `ZoomIn(400, skip_clicks=1)`, the plain ViT family the defaults below. With `skip_clicks=0` official code
    may predict a click twice; no script uses that and it is not done here.

    Attributes:
        target_size: an int is the longer side of the view (aspect kept), a pair its exact (height, width).
        skip_clicks: so many first clicks look at the untouched image; -1: even the first one sees the resized image.
        expansion_ratio: the object's box is made so many times as long.
        min_crop_size: and at least so long, in pixels.
        recompute_iou: the region kept is given up when its IoU with the wanted one is lower.
        probability: above it a pixel belongs to the object found so far.

    Raises:
        ValueError: naming the field that makes no sense.
    """

    target_size: int | Size = (448, 448)
    skip_clicks: int = -1
    expansion_ratio: float = 1.4
    min_crop_size: int = 200
    recompute_iou: float = 0.5
    probability: float = 0.5

    def __post_init__(self) -> None:
        sides = (self.target_size,) if isinstance(self.target_size, int) else tuple(self.target_size)
        if len(sides) > 2 or min(sides, default=0) < 1:
            raise ValueError(
                f"zoom target_size must be a positive number or a pair (height, width), got {self.target_size}"
            )
        if not isinstance(self.target_size, int):
            object.__setattr__(self, "target_size", sides if len(sides) == 2 else sides[0])
        if self.skip_clicks < -1:
            raise ValueError(f"zoom skip_clicks must be -1 or more, got {self.skip_clicks}")
        if self.expansion_ratio < 1 or self.min_crop_size < 1:
            given = f"{self.expansion_ratio} and {self.min_crop_size}"
            raise ValueError(f"zoom wants expansion_ratio >= 1 and min_crop_size >= 1, got {given}")

    def scaled(self, factor: float) -> ZoomIn:
        """The same rule with a larger view (DAVIS is officially viewed at 1.5 times the usual size)."""
        if isinstance(self.target_size, int):
            return replace(self, target_size=round(self.target_size * factor))
        height, width = self.target_size
        return replace(self, target_size=(round(height * factor), round(width * factor)))

    def look(
        self, size: Size, clicks: Sequence[Click], lines: np.ndarray | None, kept: Box | None, stale_region: bool
    ) -> tuple[Box | None, Frame]:
        """What to look at now.

        Args:
            size: (H, W) of the full image.
            clicks: (y, x, label) so far, the new one included.
            lines: (H + W,) `filled_lines` of the object found so far, None before the first answer.
            kept: region of the last answer.
            stale_region: official quirk, see `Protocol.stale_region`.

        Returns:
            the region to keep for the next click, and the frame.
        """
        if len(clicks) <= self.skip_clicks:
            return kept, Frame.whole(size, kept)
        positive = [(y, x) for y, x, label in clicks if label == POSITIVE]
        found = None if lines is None else Box.around(lines, size[0], positive)
        if found is not None:
            wanted = found.expand(self.expansion_ratio, self.min_crop_size).clamp(size)
        elif self.skip_clicks >= 0:
            kept = kept if stale_region else None
            return kept, Frame.whole(size, kept)
        else:
            wanted = Box.full(size)
        if kept is None or not kept.holds(positive) or wanted.iou(kept) < self.recompute_iou:
            kept = wanted
        return kept, Frame(size, kept, self._view_size(kept.size), kept)

    def _view_size(self, size: Size) -> Size:
        return self.target_size if isinstance(self.target_size, tuple) else scaled_to(size, self.target_size)


def limit_longest_side(size: Size, limit: int) -> Frame:
    """A frame whose longer side is at most `limit`; smaller ones stay as they are."""
    if max(size) <= limit:
        return Frame.whole(size)
    full = Box.full(size)
    return Frame(size, full, scaled_to(size, limit), full)


def scaled_to(size: Size, longest: int) -> Size:
    """(h, w) of the same aspect with `longest` as the longer side, rounded half to even, at least one pixel."""
    scale = longest / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize(maps: Tensor, size: Size) -> Tensor:
    """(C, H, W) -> (C, h, w), bilinear, align_corners=True."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=True)[0]


def average_flip(pair: Tensor) -> Tensor:
    """(..., 2, K, h, w) logits of views and mirrored views -> (..., K, h, w) mean; probabilities come later."""
    straight, mirrored = pair.unbind(dim=-4)
    return 0.5 * (straight + mirrored.flip(-1))
