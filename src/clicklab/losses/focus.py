"""The loss of FocalClick's refiner: normalised focal loss that counts pixels near edges double."""

from __future__ import annotations

from torch import Tensor

from clicklab.losses.nfl import focal_map


def edge_weighted_focal_loss(
    logits: Tensor, target: Tensor, edge: Tensor, alpha: float = 0.5, gamma: float = 2.0, share: float = 0.5
) -> Tensor:
    """Weighted mean of the normalised focal loss over a whole batch (ClickSEG's WFNL).

    Source: docs/methods/focalclick.md#training.

    Args:
        logits: (B, 1, H, W) refined logits of the focus views.
        target: (B, 1, H, W) float, 1 object, 0 background, -1 ignore.
        edge: (B, 1, H, W) float, 1 near edges, 0 elsewhere; anything where the target is ignored.
        alpha: as in `normalized_focal_loss`.
        gamma: as in `normalized_focal_loss`.
        share: of the weight that goes by `edge`; 0.5 makes pixels near edges count double.

    Returns:
        A scalar; 0 where no pixel is counted.
    """
    loss, counted = focal_map(logits, target, alpha, gamma)
    weight = (share * edge + (1 - share)) * counted
    return (loss * weight).sum() / (weight.sum() + 1e-12)
