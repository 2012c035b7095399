"""Where the annotator clicks next: the evaluation robot and the training annotator.

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
    """Where in the deeper error the training annotator clicks; depth is the distance to the error's outline in pixels.

    The defaults are the law of all released codes: every click goes to a pixel deeper than half the greatest depth.
    iCMFormer's paper "combines the centre point and a random point near the borders" without numbers (its code does
    not): our reading is `centre` 0.5 and `border` 0.5.

    Attributes:
        ratio: a click goes to a pixel deeper than the greatest depth divided by this.
        first_ratio: the same of a dialogue's first click (DISNet, after RITM's `get_point_candidates`: 1.7).
        centre: share of later clicks that go to the deepest pixel instead.
        border: share of later clicks that go to a pixel close to the outline instead.
        border_depth: how deep such a pixel lies at most.
    """

    ratio: float = 2.0
    first_ratio: float = 2.0
    centre: float = 0.0
    border: float = 0.0
    border_depth: float = 3.0

    def __post_init__(self) -> None:
        if min(self.ratio, self.first_ratio) <= 1:
            raise ValueError(f"clicks.ratio and first_ratio are {self.ratio}, {self.first_ratio}: above 1 is wanted")
        if min(self.centre, self.border) < 0 or self.centre + self.border > 1:
            raise ValueError(f"clicks.centre and border are {self.centre}, {self.border}: shares of at most 1 together")
        if self.border_depth < 1:
            raise ValueError(f"clicks.border_depth is {self.border_depth}: the outermost pixels have depth 1")


OFFICIAL = CorrectiveClickSampling()


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
    depth, _, positive = deeper_of_two(missed, excess, ~clicked)
    return _pixel(depth.flatten(1).argmax(dim=1), depth.shape[-1]), positive.to(torch.int8)


def training_click(
    probability: Tensor,
    target: Tensor,
    generator: torch.Generator | None = None,
    threshold: float = 0.49,
    law: CorrectiveClickSampling = OFFICIAL,
    first: bool = False,
) -> tuple[Tensor, Tensor]:
    """The training annotator: a uniformly random pixel of those in the deeper error that the law allows.

    As in the official `get_next_points`, a probability equal to the threshold is no error and ignored pixels count as
    background. Different from it: depths are exact, the official ones are OpenCV's approximation with a 5 x 5 mask.

    Args:
        probability: (B, 1, H, W) the mask that the user is shown.
        target: (B, 1, H, W), 1 object, 0 background, -1 ignore.
        generator: on the device of the masks; None uses torch's global one. One number is drawn per sample, and one
            more where the law has several kinds of clicks.
        threshold: probability that separates object from background.
        law: how deep the click lies.
        first: it is the first click of the dialogues.

    Returns:
        yx (B, 2) float32 and label (B,) int8: 1 positive, 0 negative; -1 with yx -1 where there is no error.
    """
    shown, wanted = probability[:, 0].float(), target[:, 0] > 0.5
    depth, deepest, positive = deeper_of_two(wanted & (shown < threshold), ~wanted & (shown > threshold))
    depth = depth.flatten(1)
    allowed = depth > (deepest / (law.first_ratio if first else law.ratio))[:, None]
    if not first and law.centre + law.border > 0:
        kind = torch.rand(len(depth), 1, generator=generator, device=depth.device, dtype=torch.float64)
        allowed = torch.where(kind < law.centre, depth == deepest[:, None], allowed)
        allowed = torch.where(kind >= 1 - law.border, (depth > 0) & (depth <= law.border_depth), allowed)
    chance = torch.rand(len(depth), generator=generator, device=depth.device, dtype=torch.float64)
    index = _drawn(allowed, chance)
    found = deepest > 0
    yx = torch.where(found[:, None], _pixel(index, probability.shape[-1]), -1.0)
    return yx, torch.where(found, positive.to(torch.int8), EMPTY)


def _drawn(allowed: Tensor, chance: Tensor) -> Tensor:
    """(B,) index of one True of each row of `allowed` (B, N); any number where a row has none.

    Args:
        allowed: bool.
        chance: (B,) float64 in [0, 1): the place among the row's True.
    """
    if allowed.device.type == "cpu":  # here a look at every row costs a tenth of sums over all of them
        places = [np.flatnonzero(row) for row in allowed.numpy()]
        chosen = zip(places, chance.tolist(), strict=True)
        return torch.tensor([int(place[int(part * len(place))]) if len(place) else 0 for place, part in chosen])
    rank = allowed.cumsum(dim=1, dtype=torch.int32)
    return torch.searchsorted(rank, (chance * rank[:, -1]).int()[:, None] + 1).squeeze(1)


def _pixel(index: Tensor, width: int) -> Tensor:
    """(B, 2) float32 row and column of row-major indices (B,)."""
    return torch.stack([index.div(width, rounding_mode="floor"), index % width], dim=1).float()
