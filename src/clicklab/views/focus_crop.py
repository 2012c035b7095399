"""Where FocalClick looks closer after a click, and how a mask is corrected part by part (CVPR 2022, sections 3.2, 3.4).

Source: docs/methods/focalclick.md#focus-crop. The regions round a click are found on the CPU, in OpenCV.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from clicklab.views.boxes import Box

FEW = 10  # fewer pixels than this have no extent of their own
SQUARE = 0.2  # half side of the crop round a small change, as a share of the object's longer side

Extent = tuple[tuple[int, int], tuple[int, int]]  # first and last row, first and last column


def focus_crop(
    seen: Tensor, before: Tensor, click: tuple[float, float], target: Box, ratio: float, everything_else: bool
) -> Box:
    """The part of the target crop that has changed with the last click, widened.

    The first click of an object looks at the whole object. Later ones look at the changed part that holds the click,
    or, where that is small beside the object, at a square round the click.

    Args:
        seen: (H, W) bool, the coarse mask.
        before: (H, W) bool, the mask before the click.
        click: row and column of the last click.
        target: the target crop; it is also the answer where nothing of the focus crop lies inside it.
        ratio: by how much the part is widened; official: 1.4.
        everything_else: official quirk: at a click that did not change its pixel, all that has not changed counts as
            the changed part. False: the square round the click is taken.
    """
    now, earlier = torch.stack([seen, before]).cpu().numpy()
    y, x = int(click[0]), int(click[1])

    # what is looked at, as first and last row and column
    rows, columns = _extent(now)
    if earlier.any():
        part = _part_at(now != earlier, y, x, everything_else)
        height, width = rows[1] - rows[0], columns[1] - columns[0]
        if part is None or _is_small(_extent(part), height, width):
            half = SQUARE * max(height, width)
            rows, columns = (y - half, y + half), (x - half, x + half)
        else:
            rows, columns = _extent(part)

    # widened, and inside the target crop
    y0, y1 = _widened(*rows, ratio, now.shape[0])
    x0, x1 = _widened(*columns, ratio, now.shape[1])
    box = Box(max(y0, target.y0), max(x0, target.x0), min(y1 - 1, target.y1), min(x1 - 1, target.x1))
    return box if min(box.size) > 0 else target


def progressive_merge(before: Tensor, after: Tensor, click: tuple[float, float], everything_else: bool) -> Tensor:
    """Takes over only the changed part of a mask that holds the click; the rest stays as it was.

    Args:
        before: (H, W) bool, the mask that is corrected.
        after: (H, W) bool, the new answer.
        click: row and column of the last click.
        everything_else: official quirk: at a click that did not change its pixel, all that has not changed counts as
            the changed part, so that the mask is wiped or flooded. False: the mask stays.

    Returns:
        (H, W) bool on the same device.
    """
    earlier, now = torch.stack([before, after]).cpu().numpy()
    y, x = int(click[0]), int(click[1])
    part = _part_at(earlier != now, y, x, everything_else)
    if part is None:
        return before
    merged = earlier & ~part if earlier[y, x] else earlier | part
    return torch.from_numpy(merged).to(before.device)


def _part_at(changed: np.ndarray, y: int, x: int, everything_else: bool) -> np.ndarray | None:
    """(H, W) bool: what hangs together with a changed pixel, over corners too; None at an unchanged one."""
    if not changed[y, x]:
        return ~changed if everything_else else None
    filled = changed.astype(np.uint8)
    cv2.floodFill(filled, None, (x, y), 2, flags=8)
    return filled == 2


def _extent(mask: np.ndarray) -> Extent:
    """First and last row and column; of next to nothing the whole image's, officially with the last one too far."""
    if mask.sum() < FEW:
        return (0, mask.shape[0]), (0, mask.shape[1])
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (y, y + height - 1), (x, x + width - 1)


def _is_small(extent: Extent, height: float, width: float) -> bool:
    """Whether a part is less than a third as high or as wide as the object."""
    (first_row, last_row), (first_column, last_column) = extent
    return last_row - first_row < height / 3 or last_column - first_column < width / 3


def _widened(first: float, last: float, ratio: float, side: int) -> tuple[int, int]:
    """First index and end of an interval, widened about its middle, inside 0..side."""
    middle, half = 0.5 * (first + last), 0.5 * ratio * (last - first + 1)
    return max(0, int(middle - half)), min(side, int(middle + half))
