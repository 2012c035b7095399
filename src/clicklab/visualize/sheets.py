"""Dialogue sheets: every click of an object and the mask after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from clicklab.evaluation.lockstep import LockstepPlayer, protocol_of
from clicklab.evaluation.object_result import ObjectResult
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.predictor import Predictor, predictor_for
from clicklab.inference.session import Session
from clicklab.records import POSITIVE, EvaluationObject, SkippedObject

OVERLAY = np.array([255, 64, 32], dtype=np.float32)


def picture_sheet(
    objects: Sequence[EvaluationObject | SkippedObject] | Any,
    network: nn.Module,
    path: str | Path,
    *,
    protocol: EvaluationProtocol | None = None,
    count: int = 6,
    clicks: int = 5,
) -> None:
    """Draws the first `count` objects: image with all clicks in order, the mask after each, the target."""
    predictor = predictor_for(network, protocol or EvaluationProtocol(max_clicks=clicks, target_iou=1.01))
    items = [
        item for item in (objects[n] for n in range(min(count, len(objects)))) if isinstance(item, EvaluationObject)
    ]
    played = [result for item in items for result in _play_one(predictor, item)]
    figure = Figure(figsize=(2.2 * (clicks + 2), 2.2 * max(1, len(played))), layout="constrained")
    grid = figure.subplots(max(1, len(played)), clicks + 2, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, item, result in zip(grid, items, played, strict=True):
        _draw_object(row, predictor, item, result)
    figure.savefig(path, dpi=90)


def _play_one(predictor: Predictor, item: EvaluationObject) -> list[Any]:
    player = LockstepPlayer(predictor, batch_size=2)
    return [*player.submit(item), *player.drain()]


def _draw_object(row: np.ndarray, predictor: Predictor, item: EvaluationObject, result: ObjectResult) -> None:
    """Image, masks and target; the masks come from clicking once more."""
    session = Session(predictor)
    session.set_image(item.image)
    if protocol_of(predictor).starts_from_mask and item.initial_mask is not None:
        session.set_mask(item.initial_mask)
    row[0].imshow(item.image)
    row[0].set_title(item.name, fontsize=8)
    for number, (y, x, label) in enumerate(result.clicks, start=1):
        mask = session.add_click(y, x, bool(label))
        _draw_click(row[0], number, y, x, label)
        if number < len(row) - 1:
            row[number].imshow(_overlay(item.image, mask))
            _draw_click(row[number], number, y, x, label)
            row[number].set_title(f"click {number}: IoU {result.ious[number - 1]:.3f}", fontsize=8)
    row[-1].imshow(_overlay(item.image, item.target == 1))
    row[-1].set_title("target", fontsize=8)


def _draw_click(axes: Axes, number: int, y: float, x: float, label: int) -> None:
    colour = "lime" if label == POSITIVE else "red"
    axes.plot(x, y, "o", color=colour, markersize=5, markeredgecolor="black", markeredgewidth=0.5)
    axes.annotate(str(number), (x, y), xytext=(3, 3), textcoords="offset points", color=colour, fontsize=7)


def _overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], 0.5 * image + 0.5 * OVERLAY, 0.6 * image).astype(np.uint8)
