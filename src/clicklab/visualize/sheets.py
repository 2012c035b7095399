"""Dialogue sheets: objects with their clicks, and the outline of the mask after some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import nn

from clicklab.evaluation.lockstep import LockstepPlayer
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.predictor import Predictor, predictor_for
from clicklab.records import EvaluationObject, SkippedObject
from clicklab.visualize.outlines import MASK, TARGET, draw_clicks, draw_outline
from clicklab.visualize.replay import Click, Step, replay

CELL = 2.4  # inches: width of a picture
FLATTEST, TALLEST = 0.55, 1.35  # height of a picture by its width, at least and at most
TITLE = 0.3  # inches above a picture
MILESTONES = (1, 2, 3, 5, 10, 20)  # clicks whose masks are shown where not all fit


@dataclass(frozen=True)
class Dialogue:
    """One row of a sheet.

    Attributes:
        name: what stands above it, below the image's name: dataset, object.
        item: the object.
        steps: its clicks and the masks after them.
    """

    name: str
    item: EvaluationObject
    steps: Sequence[Step]


def picture_sheet(
    objects: Sequence[EvaluationObject | SkippedObject] | Any,
    network: nn.Module,
    path: str | Path,
    *,
    protocol: EvaluationProtocol | None = None,
    count: int = 6,
    clicks: int = 5,
) -> None:
    """Plays and draws the first `count` objects: the target, and the mask after each of `clicks` clicks."""
    predictor = predictor_for(network, protocol or EvaluationProtocol(max_clicks=clicks, target_iou=1.01))
    items = [
        item for item in (objects[n] for n in range(min(count, len(objects)))) if isinstance(item, EvaluationObject)
    ]
    dialogue_sheet([dialogue for item in items for dialogue in played_dialogue(predictor, item)], path, clicks)


def played_dialogue(predictor: Predictor, item: EvaluationObject) -> list[Dialogue]:
    """The evaluation robot's dialogue on an object; nothing where it cannot be played."""
    player = LockstepPlayer(predictor, batch_size=2)
    results = [*player.submit(item), *player.drain()]
    return [
        Dialogue(f"object {item.object}", item, replay(predictor, item, result.clicks))
        for result in results
        if not isinstance(result, SkippedObject)
    ]


def dialogue_sheet(dialogues: Sequence[Dialogue], path: str | Path, most: int = len(MILESTONES)) -> None:
    """Draws one row for each object: the target with all clicks, then the masks after up to `most` clicks."""
    shown = [shown_clicks(len(dialogue.steps), most) for dialogue in dialogues]
    columns = 1 + max((len(numbers) for numbers in shown), default=0)
    heights = [CELL * _height(dialogue.item.target) + TITLE for dialogue in dialogues] or [CELL]
    margins: Any = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=(CELL * columns, sum(heights)), layout=margins)
    grid = figure.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes in grid.flat:
        axes.axis("off")
    for row, dialogue, numbers in zip(grid, dialogues, shown, strict=False):
        _draw(row, dialogue, numbers)
    figure.savefig(path, dpi=110)


def shown_clicks(played: int, most: int) -> list[int]:
    """Numbers of the clicks to be shown: all that fit, or else the usual milestones and the last one."""
    if played <= most:
        return list(range(1, played + 1))
    early = [number for number in MILESTONES if number < played]
    return [*early[: most - 1], played]


def _height(target: np.ndarray) -> float:
    height, width = target.shape
    return float(np.clip(height / width, FLATTEST, TALLEST))


def _draw(row: np.ndarray, dialogue: Dialogue, numbers: Sequence[int]) -> None:
    item, steps = dialogue.item, dialogue.steps
    clicks = [step.click for step in steps]
    _picture(row[0], item, f"{item.name}\n{dialogue.name}, {len(clicks)} clicks")
    draw_outline(row[0], item.target == 1, TARGET)
    draw_clicks(row[0], clicks, numbers=len(clicks) <= 8)
    for axes, number in zip(row[1:], numbers, strict=False):
        step = steps[number - 1]
        _picture(axes, item, f"click {number}\nIoU {step.iou:.3f}{_candidate(step)}")
        draw_outline(axes, item.target == 1, TARGET, width=0.7)
        draw_outline(axes, step.mask, MASK)
        draw_clicks(axes, clicks[:number], last_only=True)


def _candidate(step: Step) -> str:
    """Which of several candidates is the mask."""
    return f", candidate {step.chosen + 1} of {len(step.masks)}" if len(step.masks) > 1 else ""


def _picture(axes: Axes, item: EvaluationObject, title: str) -> None:
    axes.imshow(item.image, interpolation="nearest" if max(item.target.shape) < 200 else "antialiased")
    axes.set_title(title, fontsize=8, pad=3)


def clicks_of_row(row: Any) -> list[Click]:
    """The clicks of a row of `results.json`."""
    return [(int(y), int(x), int(label)) for y, x, label in row["clicks"]]
