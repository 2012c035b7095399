"""Where the simulated user clicks next, in evaluation and in training.

Sources: docs/protocol.md#the-next-click, docs/training.md#corrective-clicks. Both work on whole batches, on the device
of the masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clicklab.clicks.distance import deeper_of_two
from clicklab.records import EMPTY, IGNORE


@dataclass(frozen=True)
class CorrectiveClickSampling:
    """Where in the deeper error a click falls during training. Depth is the distance in pixels to the error's outline.

    The defaults are those of all released codes: a click falls on a pixel deeper than half the greatest depth.
    iCMFormer's paper "combines the centre point and a random point near the borders", without numbers, and its code
    does not; our reading is `centre` 0.5 and `border` 0.5.

    Attributes:
        ratio: a click falls on a pixel deeper than the greatest depth divided by this.
        first_ratio: the same for the first click of a dialogue (DISNet, after RITM's `get_point_candidates`: 1.7).
        centre: share of later clicks that fall on the deepest pixel instead.
        border: share of later clicks that fall close to the outline instead.
        border_depth: greatest depth of such a pixel.
    """

    ratio: float = 2.0
    first_ratio: float = 2.0
    centre: float = 0.0
    border: float = 0.0
    border_depth: float = 3.0

    def __post_init__(self) -> None:
        if min(self.ratio, self.first_ratio) <= 1:
            raise ValueError(f"clicks.ratio and first_ratio are {self.ratio}, {self.first_ratio}, expected above 1")
        if min(self.centre, self.border) < 0 or self.centre + self.border > 1:
            raise ValueError(f"clicks.centre and border are {self.centre}, {self.border}: shares of at most 1 together")
        if self.border_depth < 1:
            raise ValueError(f"clicks.border_depth is {self.border_depth}: the outermost pixels have depth 1")


OFFICIAL = CorrectiveClickSampling()


def robot_click(pred: Tensor, target: Tensor, clicked: Tensor) -> tuple[Tensor, Tensor]:
    """The click of the official evaluation: the deepest pixel of the deeper error.

    A click is positive if the deepest missed pixel is strictly deeper than the deepest excess pixel. Of equally deep
    pixels the first in row-major order is taken. Where no error is left, the click is negative and falls on (0, 0), as
    in official code. Images of different sizes may share a batch if `target` is padded with -1 at bottom and right.

    Args:
        pred: (B, H, W) bool, the current mask.
        target: (B, H, W), 1 object, 0 background, -1 ignore.
        clicked: (B, H, W) bool, True where a click of either sign was made; those pixels are not clicked again.

    Returns:
        yx (B, 2) float32 and label (B,) int8 (1 positive, 0 negative), on the device of the masks.
    """
    missed = (target == 1) & ~pred
    excess = (target != 1) & (target != IGNORE) & pred
    depth, _, positive = deeper_of_two(missed, excess, ~clicked)
    return _pixel(depth.flatten(1).argmax(dim=1), depth.shape[-1]), positive.to(torch.int8)


def spread_click(pred: Tensor, target: Tensor, clicked: Tensor, spread: float, chance: Tensor) -> tuple[Tensor, Tensor]:
    """A click somewhere in the deeper error, not at its deepest point: people do not aim that well.

    Uniform over the pixels of the error that are at least 1 - `spread` times as deep as its deepest one. The sign, and
    the click where no error is left, are those of `robot_click`.

    Args:
        pred: (B, H, W) bool, the current mask.
        target: (B, H, W), 1 object, 0 background, -1 ignore.
        clicked: (B, H, W) bool, pixels that are not clicked again.
        spread: 0: one of the deepest pixels; 1: any pixel of the error.
        chance: (B,) float64 in [0, 1), drawn by the caller: the place among the pixels that may be clicked.

    Returns:
        As `robot_click`.
    """
    missed = (target == 1) & ~pred
    excess = (target != 1) & (target != IGNORE) & pred
    depth, deepest, positive = deeper_of_two(missed, excess, ~clicked)
    flat = depth.flatten(1)
    allowed = (flat > 0) & (flat >= (1 - spread) * deepest[:, None])
    index = torch.where(deepest > 0, _draw(allowed, chance).to(deepest.device), 0)
    return _pixel(index, depth.shape[-1]), positive.to(torch.int8)


def training_click(
    probability: Tensor,
    target: Tensor,
    generator: torch.Generator | None = None,
    threshold: float = 0.49,
    sampling: CorrectiveClickSampling = OFFICIAL,
    first: bool = False,
) -> tuple[Tensor, Tensor]:
    """The click of a training round: a uniformly random one of the allowed pixels in the deeper error.

    As in the official `get_next_points`, a probability equal to the threshold is no error, and ignored pixels count as
    background. Depths are exact here; the official ones are OpenCV's approximation with a 5 x 5 mask.

    Args:
        probability: (B, 1, H, W) the mask that the user is shown.
        target: (B, 1, H, W), 1 object, 0 background, -1 ignore.
        generator: on the device of the masks; None uses torch's global one. One number is drawn per sample, and one
            more if there are several kinds of clicks.
        threshold: probability that separates object from background.
        sampling: which pixels of the error are allowed.
        first: whether this is the first click of the dialogues.

    Returns:
        yx (B, 2) float32 and label (B,) int8: 1 positive, 0 negative; -1 with yx -1 where there is no error.
    """
    shown, wanted = probability[:, 0].float(), target[:, 0] > 0.5
    missed = wanted & (shown < threshold)
    excess = ~wanted & (shown > threshold)
    depth, deepest, positive = deeper_of_two(missed, excess)  # (B, H, W) of the deeper error, (B,), (B,)
    depth = depth.flatten(1)

    # (B, H * W) bool: where the click may fall
    ratio = sampling.first_ratio if first else sampling.ratio
    allowed = depth > (deepest / ratio)[:, None]
    if not first and sampling.centre + sampling.border > 0:
        kind = torch.rand(len(depth), 1, generator=generator, device=depth.device, dtype=torch.float64)
        in_centre, near_border = depth == deepest[:, None], (depth > 0) & (depth <= sampling.border_depth)
        allowed = torch.where(kind < sampling.centre, in_centre, allowed)
        allowed = torch.where(kind >= 1 - sampling.border, near_border, allowed)

    chance = torch.rand(len(depth), generator=generator, device=depth.device, dtype=torch.float64)
    index = _draw(allowed, chance)
    found = deepest > 0
    yx = torch.where(found[:, None], _pixel(index, probability.shape[-1]), -1.0)
    return yx, torch.where(found, positive.to(torch.int8), EMPTY)


def _draw(allowed: Tensor, chance: Tensor) -> Tensor:
    """(B,) index of one True in each row of `allowed` (B, N); any number for a row without one.

    Args:
        allowed: bool.
        chance: (B,) float64 in [0, 1), which of the row's True values is taken.
    """
    if allowed.device.type == "cpu":  # row by row takes a tenth of the time of the cumulative sums below
        drawn = []
        for row, part in zip(allowed.numpy(), chance.tolist(), strict=True):
            places = np.flatnonzero(row)
            drawn.append(int(places[int(part * len(places))]) if len(places) else 0)
        return torch.tensor(drawn)
    rank = allowed.cumsum(dim=1, dtype=torch.int32)  # the n-th True of a row has rank n
    wanted = (chance * rank[:, -1]).int() + 1
    return torch.searchsorted(rank, wanted[:, None]).squeeze(1)


def _pixel(index: Tensor, width: int) -> Tensor:
    """(B, 2) float32 row and column of row-major indices (B,)."""
    return torch.stack([index.div(width, rounding_mode="floor"), index % width], dim=1).float()
