"""The loss of RITM and its descendants: normalised focal, and cross-entropy on an auxiliary mask where there is one."""

from __future__ import annotations

from torch import Tensor

from clicklab.losses.mask import binary_cross_entropy
from clicklab.losses.nfl import normalized_focal_loss
from clicklab.records import Prediction


def click_loss(prediction: Prediction, target: Tensor, aux_weight: float = 0.4) -> Tensor:
    """Source: docs/training.md#losses.

    Args:
        prediction: logits (B, 1, H, W); `extras["aux"]`, of the same shape, where the network makes a first guess.
        target: (B, 1, H, W) in {0, 1, -1}, -1 ignored.
        aux_weight: of the auxiliary term (official: 0.4).

    Returns:
        A scalar, the mean over the batch.
    """
    loss = normalized_focal_loss(prediction.logits.float(), target, alpha=0.5, gamma=2.0).mean()
    aux = prediction.extras.get("aux")
    return loss if aux is None else loss + aux_weight * binary_cross_entropy(aux.float(), target).mean()
