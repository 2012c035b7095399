"""Clicks as seeds of a classical algorithm: disks of labelled pixels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from clicklab.records import Clicks

UNKNOWN, BACKGROUND, OBJECT = 0, 1, 2
CERTAIN = 10.0  # logit of a pixel that an algorithm without probabilities gives to the object


def seed_map(clicks: Clicks, sample: int, size: tuple[int, int], radius: float) -> np.ndarray:
    """Disks round the clicks of one sample; where two overlap, the later click counts.

    Args:
        clicks: in pixels of the image.
        sample: row of the batch.
        size: (H, W) of the image.
        radius: of the disks in pixels; 0 marks the clicked pixel alone.

    Returns:
        (H, W) uint8: OBJECT, BACKGROUND, or UNKNOWN where nobody clicked.
    """
    seeds = np.full(size, UNKNOWN, dtype=np.uint8)
    rows, columns = np.ogrid[: size[0], : size[1]]
    for (y, x), label in zip(clicks.yx[sample].tolist(), clicks.label[sample].tolist(), strict=True):
        if label < 0:  # an empty slot
            continue
        disk = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        seeds[disk] = OBJECT if label else BACKGROUND
    return seeds


def rgb8(image: Tensor) -> np.ndarray:
    """(3, H, W) RGB in [0, 1] as (H, W, 3) uint8."""
    return np.ascontiguousarray((image * 255).round().byte().permute(1, 2, 0).cpu().numpy())
