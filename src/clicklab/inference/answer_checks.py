"""What a network answered, compared with what the contract promises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clicklab.records import Prediction
from clicklab.views.frames import Size


def checked(prediction: Any, rows: int, size: Size) -> Prediction:
    """What a network answered to `rows` images of `size` (h, w). Raises ValueError where it is not as promised."""
    if not isinstance(prediction, Prediction):
        raise ValueError(f"the network answered a {type(prediction).__name__}, expected clicklab.Prediction(logits)")
    logits, score = prediction.logits, prediction.score
    shape = tuple(getattr(logits, "shape", ()))
    if not isinstance(logits, Tensor) or len(shape) != 4 or shape[1] < 1 or (shape[0], *shape[2:]) != (rows, *size):
        raise ValueError(
            f"the network answered logits {type(logits).__name__} {shape}, expected a tensor ({rows}, K, {size[0]}, "
            f"{size[1]}), K masks for each image, at its size"
        )
    if score is None and shape[1] > 1:
        raise ValueError(
            f"the network answered {shape[1]} masks for each image without a score, which says which of them is the "
            f"mask; expected clicklab.Prediction(logits, score), score a tensor {shape[:2]}, or one mask"
        )
    if score is not None and not (isinstance(score, Tensor) and score.shape == shape[:2]):
        found = f"{type(score).__name__} {tuple(getattr(score, 'shape', ()))}"
        raise ValueError(f"the network answered score {found}, expected a tensor {shape[:2]}, one number for each mask")
    valid = prediction.valid
    if valid is not None and not (isinstance(valid, Tensor) and valid.shape == shape[:2] and valid.dtype == torch.bool):
        raise ValueError(
            f"the network answered valid {type(valid).__name__}, expected a bool tensor {shape[:2]}, or None"
        )
    return prediction


def best_of_valid(valid: Tensor, score: Tensor | None) -> tuple[list[int], list[list[int]]]:
    """The best candidate among the valid ones of each session, and which those are.

    Args:
        valid: (B, K) bool.
        score: (B, K) or None.

    Raises:
        ValueError: a session has none.
    """
    if not valid.any(dim=1).all():
        raise ValueError("the network answered no valid candidate: Prediction.valid must hold one for each image")
    picks = [row.nonzero()[:, 0].tolist() for row in valid.cpu()]
    if score is None:
        return [0] * len(picks), picks
    return [int(score[row][pick].argmax()) for row, pick in enumerate(picks)], picks
