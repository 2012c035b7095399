"""Views: what a network sees of the full image, each with its inverse. Zoom-in, longest side, mirror.

Source: docs/protocol.md#what-the-network-is-shown. All resizes are bilinear with align_corners=True, as officially.
Nothing here has a memory: the region that a zoom-in keeps from click to click is handed in and given back, and lives in
the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from clicklab.records import POSITIVE, Clicks
from clicklab.views.boxes import Box, Size, crop_clicks, resize_clicks
from clicklab.views.zoom_in import ZoomIn

Click = tuple[float, float, int]


class AnyFrame(Protocol):
    """A way of looking at an outer frame (H, W), with its inverse. A `View` is made of such frames.

    Attributes:
        outer: (H, W) of the frame before it.
    """

    @property
    def outer(self) -> Size: ...

    @property
    def size(self) -> Size:
        """(h, w) of what is seen."""
        ...

    @property
    def key(self) -> Any:
        """Equal for frames that show the same pixels of the same image; hashable."""
        ...

    def image(self, maps: Tensor) -> Tensor:
        """(C, H, W) of the outer frame -> (C, h, w)."""
        ...

    def clicks(self, clicks: Clicks) -> Clicks:
        """Clicks of the outer frame in pixels of this one."""
        ...

    def back(self, maps: Tensor) -> Tensor:
        """(K, h, w) -> (K, H, W) of the outer frame."""
        ...


@dataclass(frozen=True)
class Frame:
    """One crop of an outer frame, resized.

    Attributes:
        outer: (H, W) of the frame before it.
        box: the part that is seen.
        size: (h, w) of that part after the resize.
        paste_box: where the answer is put back; `box`, but for the official stale region.
    """

    outer: Size
    box: Box
    size: Size
    paste_box: Box

    @classmethod
    def whole(cls, outer: Size, paste_box: Box | None = None) -> Frame:
        """The outer frame as it is."""
        full = Box.full(outer)
        return cls(outer, full, outer, paste_box or full)

    @property
    def key(self) -> Any:
        """As `AnyFrame.key`: where an answer is put back does not matter."""
        return self.outer, self.box, self.size

    def image(self, maps: Tensor) -> Tensor:
        """(C, H, W) of the outer frame -> (C, h, w)."""
        return resize(maps[(..., *self.box.window)], self.size)

    def clicks(self, clicks: Clicks) -> Clicks:
        """Clicks of the outer frame in pixels of this one; neither rounded nor clipped."""
        return clicks_in_frames(clicks, [self])

    def back(self, maps: Tensor) -> Tensor:
        """(K, h, w) -> (K, H, W) of the outer frame, 0 where nothing was seen."""
        seen = resize(maps, self.paste_box.size)
        if self.paste_box.size == self.outer:
            return seen
        full = seen.new_zeros((len(seen), *self.outer))
        full[(..., *self.paste_box.window)] = seen
        return full


@dataclass(frozen=True)
class View:
    """Frames one inside the other, the outermost (the full image) first."""

    frames: tuple[AnyFrame, ...]

    @property
    def size(self) -> Size:
        """(h, w) of what the network sees."""
        return self.frames[-1].size

    @property
    def key(self) -> Any:
        """Equal for views that show the same pixels of the same image; hashable."""
        return tuple(frame.key for frame in self.frames)

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


def clicks_in_frames(clicks: Clicks, frames: Sequence[AnyFrame]) -> Clicks:
    """`AnyFrame.clicks` for many samples: one frame for each. Crops go in one go, others one by one."""
    crops = [frame for frame in frames if isinstance(frame, Frame)]
    if len(crops) < len(frames):
        return Clicks.stack([frame.clicks(clicks[row : row + 1]) for row, frame in enumerate(frames)])
    boxes = [frame.box for frame in crops]
    return resize_clicks(crop_clicks(clicks, boxes), [box.size for box in boxes], [frame.size for frame in crops])


def clicks_in_views(clicks: Clicks, views: Sequence[View]) -> Clicks:
    """`View.clicks` for many samples in one go: one view for each, of equally many frames."""
    for frames in zip(*(view.frames for view in views), strict=True):
        clicks = clicks_in_frames(clicks, frames)
    return clicks


def look(
    rule: ZoomIn,
    size: Size,
    clicks: Sequence[Click],
    mask_extents: np.ndarray | None,
    kept: Box | None,
    stale_region: bool,
) -> tuple[Box | None, Frame]:
    """What a zoom-in looks at now.

    Args:
        rule: the zoom-in.
        size: (H, W) of the full image.
        clicks: (y, x, label) so far, the new one included.
        mask_extents: (H + W,) `filled_lines` of the object found so far, None before the first answer.
        kept: region of the last answer.
        stale_region: official quirk, see `InferenceOptions.stale_region`.

    Returns:
        the region to keep for the next click, and the frame.
    """
    if len(clicks) <= rule.skip_clicks:
        return kept, Frame.whole(size, kept)
    positive = [(y, x) for y, x, label in clicks if label == POSITIVE]
    found = None if mask_extents is None else Box.around(mask_extents, size[0], positive)
    if found is not None:
        wanted = found.expand(rule.expansion_ratio, rule.min_crop_size).clamp(size)
    elif rule.skip_clicks >= 0:
        kept = kept if stale_region else None
        return kept, Frame.whole(size, kept)
    else:
        wanted = Box.full(size)
    if kept is None or not kept.contains(positive) or wanted.iou(kept) < rule.recompute_iou:
        kept = wanted
    target = rule.target_size if found is not None else rule.first_size or rule.target_size
    view_size = target if isinstance(target, tuple) else scaled_to(kept.size, target)
    return kept, Frame(size, kept, view_size, kept)


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
