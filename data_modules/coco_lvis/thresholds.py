"""The numbers of the published COCO+LVIS rule."""

from __future__ import annotations

from dataclasses import dataclass, fields

from data_modules.formats.hierarchy import BOX_SHARE, MASK_SHARE


@dataclass(frozen=True)
class Thresholds:
    """Numbers of the rule; the defaults are the published ones.

    Attributes:
        min_area: COCO and LVIS masks with fewer pixels are dropped.
        coco_box, coco_mask: a COCO mask is dropped when some LVIS mask has more than both box IoU and mask IoU with it.
        lvis_box, lvis_mask: an LVIS mask is dropped when a later one has more than both.
        tree_box, tree_mask: a mask is part of a larger one that covers at least / more than this share of its box /
            pixels.
        stuff_area: stuff without the instances is kept when more pixels than this are left.

    The box IoU is the product of the IoUs of the row and the column intervals.

    Raises:
        ValueError: a share outside 0..1, or a negative area.
    """

    min_area: int = 80
    coco_box: float = 0.70
    coco_mask: float = 0.70
    lvis_box: float = 0.70
    lvis_mask: float = 0.85
    tree_box: float = BOX_SHARE
    tree_mask: float = MASK_SHARE
    stuff_area: int = 500

    def __post_init__(self) -> None:
        for field in fields(self):
            value, area = getattr(self, field.name), field.name.endswith("area")
            if value < 0 or (not area and value > 1):
                raise ValueError(
                    f"{field.name} is {value}: give {'0 or more pixels' if area else 'a share from 0 to 1'}"
                )
