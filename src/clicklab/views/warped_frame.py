"""Target-aware zooming as a view: looks at an outer frame through `TargetZoom`, and brings the answer back.

Source: VTMR, "Target-Aware Image Zooming" (docs/methods/vtmr.md#target-aware-zoom). It stands behind any other
frame of a `View`, such as the crop of a zoom-in: the crop chooses the part of the image, this one gives its pixels to
the target.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clicklab.records import Clicks
from clicklab.views.frames import Size
from clicklab.views.zoom_warp import TargetZoom, ZoomWarp


@dataclass(frozen=True, eq=False)
class TargetFrame:
    """An outer frame, resized unevenly. Two of them are never equal: the warp follows the mask of the moment.

    Attributes:
        outer: (H, W) of the frame before it.
        warp: of one sample.
    """

    outer: Size
    warp: ZoomWarp

    @classmethod
    def towards(cls, rule: TargetZoom, mask: Tensor, clicks: Clicks) -> TargetFrame:
        """The frame for a mask (H, W), bool or probability, and the clicks of one sample, both of the outer frame."""
        return cls((mask.shape[0], mask.shape[1]), rule.warp(mask[None, None], clicks))

    @property
    def size(self) -> Size:
        """(h, w) of the view."""
        return self.warp.size

    @property
    def key(self) -> TargetFrame:
        """As `AnyFrame.key`: no other frame shows the same."""
        return self

    def image(self, maps: Tensor) -> Tensor:
        """(C, H, W) of the outer frame -> (C, h, w)."""
        return self.warp.zoom(maps[None])[0]

    def clicks(self, clicks: Clicks) -> Clicks:
        """Clicks of the outer frame in pixels of this one, not rounded; those outside of it become empty slots."""
        return self.warp.clicks(clicks, self.outer)

    def back(self, maps: Tensor) -> Tensor:
        """(K, h, w) -> (K, H, W) of the outer frame."""
        return self.warp.unzoom(maps[None], self.outer)[0]
