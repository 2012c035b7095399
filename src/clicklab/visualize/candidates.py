"""A picture of what several candidates are good for: one click on each object, and all masks it may mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from clicklab.clicks.next_click import robot_click
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.predictor import Predictor, predictor_for
from clicklab.inference.session import Session
from clicklab.records import IGNORE, EvaluationObject

CHOSEN, MEANT = "#ff8c00", "#2ca02c"
CELL = 1.7  # inches


def candidate_sheet(
    objects: Sequence[EvaluationObject],
    network: nn.Module,
    path: str | Path,
    protocol: EvaluationProtocol | None = None,
) -> None:
    """Draws one row per object: the click, what was meant, and all candidates from the highest score to the lowest.

    The candidate that the scores choose is framed; the title of the one nearest to the target is green.

    Args:
        objects: each gets the evaluation robot's first click.
        network: answers candidates with scores, or one mask.
        path: of the picture.
        protocol: default: the official one.
    """
    predictor = predictor_for(network, protocol or EvaluationProtocol())
    answers = [first_answer(predictor, item) for item in objects]
    most = max((len(session.candidates) for session in answers), default=1)
    rows = max(1, len(answers))
    figure = Figure(figsize=(CELL * (most + 2), 1.2 * CELL * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, most + 2, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, item, session in zip(grid, objects, answers, strict=False):
        _draw_row(row, item, session)
    figure.suptitle("One click: all candidates, best score first. Framed: chosen. Green: nearest to the target.")
    figure.savefig(path, dpi=100)


def first_click(item: EvaluationObject) -> tuple[int, int]:
    """(y, x) of the robot's first click, in the middle of the target."""
    target = torch.from_numpy(np.ascontiguousarray(item.target))[None]
    nothing = torch.zeros(target.shape, dtype=torch.bool)
    yx, _ = robot_click(nothing, target, nothing)
    y, x = yx[0].long().tolist()
    return y, x


def first_answer(predictor: Predictor, item: EvaluationObject) -> Session:
    """The dialogue after the robot's first click."""
    session = Session(predictor)
    session.set_image(item.image)
    session.add_click(*first_click(item))
    return session


def overlap(mask: np.ndarray, target: np.ndarray) -> float:
    """IoU of a mask (H, W) bool with a target (H, W) of 1, 0 and -1; ignored pixels are left out."""
    union = (mask | (target == 1)) & (target != IGNORE)
    return float((mask & (target == 1)).sum() / max(1, union.sum()))


def _draw_row(row: np.ndarray, item: EvaluationObject, session: Session) -> None:
    masks = session.candidates > session.predictor.mask_threshold
    scores = session.scores
    ious = [overlap(mask, item.target) for mask in masks]
    _picture(row[0], item.image, session, "the click")
    _picture(row[1], _marked(item.image, item.target == 1), session, "the target")
    order = [0] if scores is None else np.argsort(-scores, kind="stable").tolist()
    for axes, number in zip(row[2:], order, strict=False):
        score = "" if scores is None else f"score {scores[number]:.2f}, "
        _picture(axes, _marked(item.image, masks[number]), session, f"{score}IoU {ious[number]:.2f}")
        if number == int(np.argmax(ious)):
            axes.title.set(color=MEANT, fontweight="bold")
        if number == session.state.chosen:
            _frame(axes)


def _picture(axes: Axes, image: np.ndarray, session: Session, title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, fontsize=8)
    for y, x, _ in session.clicks:
        axes.plot(x, y, "o", color="lime", markersize=6, markeredgecolor="black", markeredgewidth=1)


def _frame(axes: Axes) -> None:
    axes.axis("on")
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(color=CHOSEN, linewidth=4)


def _marked(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask's pixels as they are, the others dark and grey: colours in the scene do not hide the mask."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    return np.where(mask[..., None], image, 0.3 * grey).astype(np.uint8)
