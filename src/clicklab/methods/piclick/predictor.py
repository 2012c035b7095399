"""PiClick's views: candidates of an image and of its mirror image have no common order, so they are paired first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clicklab.inference.mask_prediction import ViewPrediction
from clicklab.inference.predictor import Predictor
from clicklab.inference.state import SessionState
from clicklab.losses.matching import assign, mask_cost
from clicklab.views.boxes import filled_lines
from clicklab.views.frames import View

THRESHOLD = 0.49  # candidates are paired by their masks at this probability, whatever the protocol's is, as officially


class LogitPrediction(ViewPrediction):
    """An answer that keeps its logits (K, h, w) too."""

    def __init__(self, probability: Tensor, view: View, logits: Tensor) -> None:
        super().__init__(probability, view)
        self.logits = logits

    def logit_map(self, index: int) -> Tensor:
        """(H, W) logits of one mask, 0 outside the view."""
        return self.view.back(self.logits[index : index + 1])[0]


class PiClickPredictor(Predictor):
    """Mean of the best-fitting pairs of candidates over the two views. Source: docs/methods/piclick.md#evaluation."""

    def merge(self, logits: Tensor, score: Tensor | None, extras: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        """As `Predictor.merge`; candidates are in the order of the network's queries.

        Under the quirk `crossed_pairs` each view is sorted by predicted IoU, candidate k of the mirrored view keeps its
        place, and candidate pair[k] of the straight view is added to it, where pair[i] is the mirrored partner of i.
        """
        if logits.shape[1] == 1 or score is None:
            return super().merge(logits, score, extras)
        crossed = self.options.quirk("crossed_pairs")
        confidence, iou = (extras[name].unflatten(0, score.shape[:2]) for name in ("confidence", "iou"))
        logits = torch.stack([logits[:, 0], logits[:, 1].flip(-1)], dim=1)
        if crossed:
            order = iou.argsort(dim=2, descending=True)
            logits, score, confidence = (_pick(values, order, 2) for values in (logits, score, confidence))
        pair = partners(logits, confidence)
        moved, kept = (0, 1) if crossed else (1, 0)
        merged = 0.5 * (_pick(logits[:, moved], pair, 1) + logits[:, kept])
        return merged, 0.5 * (_pick(score[:, moved], pair, 1) + score[:, kept])

    def make_prediction(self, logits: Tensor, probability: Tensor, view: View) -> ViewPrediction:
        """As `Predictor.make_prediction`."""
        if self.options.quirk("logit_memory"):
            return LogitPrediction(probability, view, logits)
        return super().make_prediction(logits, probability, view)

    def zoom_lines(self, state: SessionState, level: float) -> Tensor:
        """As `Predictor.zoom_lines`; of logits, with 0 outside the view, under the quirk `logit_memory`."""
        prediction = state.prediction
        if not isinstance(prediction, LogitPrediction):
            return super().zoom_lines(state, level)
        return filled_lines(prediction.logit_map(state.chosen) > level)


def partners(logits: Tensor, confidence: Tensor) -> Tensor:
    """Which candidate of the second view shows the same as each of the first.

    The official cost: distance of the confidences and the training cost of masks (probability above `THRESHOLD`), where
    that of the first view, zeros and ones, takes the place of logits.

    Args:
        logits: (B, 2, K, h, w), the second view already mirrored back.
        confidence: (B, 2, K).

    Returns:
        (B, K) index into the second view; a permutation.
    """
    seen = logits.sigmoid() > THRESHOLD
    apart = (confidence[:, 0, :, None] - confidence[:, 1, None, :]).abs()
    cost = apart + mask_cost(seen[:, 0].float(), seen[:, 1])
    everyone = torch.ones_like(confidence[:, 1], dtype=torch.bool)
    return assign(cost[None], everyone)[3].view(len(cost), -1)


def _pick(values: Tensor, order: Tensor, dim: int) -> Tensor:
    """Reorders `values` along `dim`, the last dimension of `order`."""
    index = order.view(order.shape + (1,) * (values.ndim - order.ndim)).expand(*order.shape, *values.shape[dim + 1 :])
    return values.gather(dim, index)
