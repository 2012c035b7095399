"""What follows from the IoU after each click. Pure functions; a curve is the IoUs of one object in click order.

Sources: docs/protocol.md#iou-noc-and-nof and docs/protocol.md#boundary-iou.
Curves are float32 and thresholds are compared in float32, as officially.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.records import IGNORE

Curve = Sequence[float]


class SecondsPerClick(NamedTuple):
    """SPC of all clicks, of the first ones of the dialogues, of the later ones; nan where there are none."""

    every: float
    first: float
    later: float


def clicks_needed(curve: Curve, threshold: float) -> int | None:
    """Number of the click whose IoU is the first to reach `threshold`, None if none does. The IoU may fall again."""
    reached = np.asarray(curve, dtype=np.float32) >= np.float32(threshold)
    return int(reached.argmax()) + 1 if reached.any() else None


def noc(curves: Sequence[Curve], threshold: float, max_clicks: int) -> float:
    """Mean number of clicks to reach `threshold`; `max_clicks` for an object that never does. nan without objects."""
    return _mean([clicks_needed(curve[:max_clicks], threshold) or max_clicks for curve in curves])


def nof(curves: Sequence[Curve], threshold: float, max_clicks: int, late_success_fails: bool = True) -> int:
    """Number of objects that fail to reach `threshold`.

    Official tables print ">=20@90": with `late_success_fails` (as there) success exactly at the last click fails too.
    """
    needed = [clicks_needed(curve[:max_clicks], threshold) for curve in curves]
    return sum(n is None or (late_success_fails and n == max_clicks) for n in needed)


def iou_at(curves: Sequence[Curve], click: int) -> float:
    """Mean IoU after click number `click` (from 1); an object that stopped earlier counts with its last IoU."""
    return _mean([curve[min(click, len(curve)) - 1] for curve in curves])


def miou_curve(curves: Sequence[Curve], max_clicks: int) -> list[float]:
    """Mean IoU after each click, `max_clicks` numbers; see `iou_at` for objects that stopped early."""
    return [iou_at(curves, click) for click in range(1, max_clicks + 1)]


def seconds_per_click(
    seconds: Sequence[float], first_seconds: Sequence[float], clicks: Sequence[int]
) -> SecondsPerClick:
    """SPC: wall time (reading, clicking and predicting, as officially) per click.

    Args:
        seconds: of each object, for all its clicks.
        first_seconds: of each object, the part of them until the first answer.
        clicks: of each object, 1 or more.
    """
    spent, first, count, objects = math.fsum(seconds), math.fsum(first_seconds), sum(clicks), len(clicks)
    return SecondsPerClick(_per(spent, count), _per(first, objects), _per(spent - first, count - objects))


def boundary_iou(pred: Tensor, target: Tensor) -> float:
    """BIoU: IoU of the bands of pixels that lie inside a mask and near its outline.

    The band reaches d = max(1, round(2 % of the image diagonal)) pixels inwards (Chebyshev distance; outside the image
    counts as background). Ignored pixels are no object and are left out of both sums. Two empty bands give 1.

    Args:
        pred: (H, W) bool.
        target: (H, W), 1 object, 0 background, -1 ignore.
    """
    depth = max(1, round(0.02 * math.hypot(*target.shape)))
    bands = _band(torch.stack([pred, target == 1]), depth) & (target != IGNORE)
    shared, union = (bands[0] & bands[1]).sum().item(), (bands[0] | bands[1]).sum().item()
    return shared / union if union else 1.0


def _band(masks: Tensor, depth: int) -> Tensor:
    """Pixels of the masks (B, H, W) bool at most `depth` away from a pixel outside the mask or the image."""
    outside = F.pad((~masks).float(), (depth,) * 4, value=1.0)[:, None]
    window = 2 * depth + 1
    near = F.max_pool2d(F.max_pool2d(outside, (window, 1), stride=1), (1, window), stride=1)
    return masks & (near[:, 0] > 0)


def _per(seconds: float, clicks: int) -> float:
    return seconds / clicks if clicks else math.nan


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(np.asarray(values, dtype=np.float64))) if len(values) else math.nan
