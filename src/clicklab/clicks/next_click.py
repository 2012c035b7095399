"""Where the annotator clicks next: the evaluation robot and the training annotator.

Source: cards/protocol.md (c) "Next click" and (e) "get_next_points". Both work on whole batches, on the masks' device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clicklab.clicks.distance import distance_to_background
from clicklab.records import EMPTY, IGNORE


def robot_click(pred: Tensor, target: Tensor, clicked: Tensor) -> tuple[Tensor, Tensor]:
    """The official evaluation robot: the deepest point of the deepest error.

    A click is positive when the deepest missed pixel is strictly deeper than the deepest excess pixel; of equally deep
    pixels the first in row-major order is taken. Where no error is left it answers, as officially, with a negative
    click at (0, 0). Images of different sizes may share a batch when `target` is filled up with -1 at bottom and right.

    Args:
        pred: (B, H, W) bool, the current mask.
        target: (B, H, W), 1 object, 0 background, -1 ignore.
        clicked: (B, H, W) bool, True where a click of either sign was made; those pixels are not clicked again.

    Returns:
        yx (B, 2) float32 and label (B,) int8 (1 positive, 0 negative), on the device of the masks.
    """
    missed = (target == 1) & ~pred
    excess = (target != 1) & (target != IGNORE) & pred
    depth, positive = _deeper_error(missed, excess, ~clicked)
    return _pixel(depth.flatten(1).argmax(dim=1), depth.shape[-1]), positive.to(torch.int8)


def training_click(
    probability: Tensor, target: Tensor, generator: torch.Generator | None = None, threshold: float = 0.49
) -> tuple[Tensor, Tensor]:
    """The training annotator: a uniformly random pixel deeper than half the greatest depth of the deeper error.

    As in the official `get_next_points`, a probability equal to the threshold is no error and ignored pixels count as
    background. Different from it: depths are exact, the official ones are OpenCV's approximation with a 5 x 5 mask.

    Args:
        probability: (B, 1, H, W) the mask that the user is shown.
        target: (B, 1, H, W), 1 object, 0 background, -1 ignore.
        generator: on the device of the masks; None uses torch's global one. One number is drawn per sample.
        threshold: probability that separates object from background.

    Returns:
        yx (B, 2) float32 and label (B,) int8: 1 positive, 0 negative; -1 with yx -1 where there is no error.
    """
    shown, wanted = probability[:, 0].float(), target[:, 0] > 0.5
    depth, positive = _deeper_error(wanted & (shown < threshold), ~wanted & (shown > threshold))
    depth = depth.flatten(1)
    deepest = depth.amax(dim=1)
    rank = (depth > deepest[:, None] / 2).cumsum(dim=1, dtype=torch.int32)
    count = rank[:, -1]
    chance = torch.rand(len(count), generator=generator, device=depth.device, dtype=torch.float64)
    chosen = (chance * count).int() + 1
    # where nothing is to be found the index runs past the end; such samples are replaced below
    index = torch.searchsorted(rank, chosen[:, None]).squeeze(1)
    found = deepest > 0
    yx = torch.where(found[:, None], _pixel(index, probability.shape[-1]), -1.0)
    return yx, torch.where(found, positive.to(torch.int8), EMPTY)


def _deeper_error(missed: Tensor, excess: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Depth map (B, H, W) of the error that wins and (B,) bool: it is the missed part. A tie goes to the excess."""
    depth = distance_to_background(torch.cat([missed, excess])).unflatten(0, (2, -1))
    if allowed is not None:
        depth = depth * allowed
    missed_depth, excess_depth = depth.flatten(2).amax(dim=2)
    positive = missed_depth > excess_depth
    return torch.where(positive[:, None, None], depth[0], depth[1]), positive


def _pixel(index: Tensor, width: int) -> Tensor:
    """(B, 2) float32 row and column of row-major indices (B,)."""
    return torch.stack([index.div(width, rounding_mode="floor"), index % width], dim=1).float()
