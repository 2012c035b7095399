"""The rule of the zoom-in: what a network looks at, click by click. `clicklab.views.frames.look` follows it.

Source: docs/protocol.md#zoom-in. Nothing here needs torch, so that command lines that read settings start at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

Size = tuple[int, int]


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
        first_size: longer side of the view as long as no object is found; None: `target_size`. Small networks find an
            object better in a small view of the whole image, and its outline in a large one of itself.

    Raises:
        ValueError: naming the field that makes no sense.
    """

    target_size: int | Size = (448, 448)
    skip_clicks: int = -1
    expansion_ratio: float = 1.4
    min_crop_size: int = 200
    recompute_iou: float = 0.5
    probability: float = 0.5
    first_size: int | None = None

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
        if self.first_size is not None and self.first_size < 1:
            raise ValueError(f"zoom first_size must be a positive number, got {self.first_size}")

    def scaled(self, factor: float) -> ZoomIn:
        """The same rule with a larger view (DAVIS is officially viewed at 1.5 times the usual size)."""
        first = None if self.first_size is None else round(self.first_size * factor)
        if isinstance(self.target_size, int):
            return replace(self, target_size=round(self.target_size * factor), first_size=first)
        height, width = self.target_size
        return replace(self, target_size=(round(height * factor), round(width * factor)), first_size=first)


def target_crop(side: int = 256) -> ZoomIn:
    """FocalClick's rule for its coarse view: the whole image at click 1, then the object, found anew at every click."""
    return ZoomIn(
        (side, side), skip_clicks=1, expansion_ratio=1.4, min_crop_size=10, recompute_iou=1.01, probability=0.49
    )
