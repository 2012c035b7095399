"""The metrics of all parts of a training run in one table, and its curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clicklab.visualize.comparison_curves import COLOURS

METRICS, CURVES = "metrics.csv", "training.png"
STEP, LOSS, MEASURE = "step", "train/loss", "val/NoC@90"
WINDOW = 50  # points that the smooth line of a loss is a mean of, at most

Row = dict[str, str]


def merged_metrics(parts: Sequence[Path]) -> list[Row]:
    """The rows of the CSV loggers of a run's parts, in the order of their steps.

    A part that was begun again from an earlier checkpoint repeats steps: those of the later part count.

    Args:
        parts: metrics.csv of each part, the earliest first.
    """
    rows: list[Row] = []
    for file in parts:
        with file.open(newline="") as opened:
            new = [row for row in csv.DictReader(opened) if row.get(STEP)]
        if new:
            first = min(float(row[STEP]) for row in new)
            rows = [row for row in rows if float(row[STEP]) < first]
        rows += new
    return sorted(rows, key=lambda row: float(row[STEP]))  # stable: equal steps stay in the order they were written


def parts_of(logs: Path) -> list[Path]:
    """metrics.csv of each part of a run: logs/version_0, version_1, ..., in the order of their numbers."""
    found = [path for path in logs.glob("version_*/metrics.csv") if path.parent.name.removeprefix("version_").isdigit()]
    return sorted(found, key=lambda path: int(path.parent.name.removeprefix("version_")))


def save_metrics(rows: Sequence[Row], folder: Path) -> None:
    """Writes metrics.csv and training.png into `folder`, each replaced when the new one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    unfinished = folder / f"{METRICS}.part"
    with unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(folder / METRICS)
    unfinished = folder / f"{CURVES}.part"
    training_figure(rows).savefig(unfinished, dpi=130, format="png")
    unfinished.replace(folder / CURVES)


def training_figure(rows: Sequence[Row]) -> Figure:
    """The loss of every logged step with its running mean, and below it NoC@90 after each validation."""
    losses, measured = _column(rows, LOSS), _column(rows, MEASURE)
    panels = [draw for draw, (steps, _) in ((_draw_loss, losses), (_draw_measure, measured)) if len(steps)]
    figure = Figure(figsize=(7, 2.6 * max(1, len(panels))), layout="constrained")
    axes = figure.subplots(max(1, len(panels)), 1, sharex=True, squeeze=False)[:, 0]
    for one, draw in zip(axes, panels, strict=False):
        draw(one, *(losses if draw is _draw_loss else measured))
        _plain(one)
    axes[-1].set(xlabel="step")
    return figure


def _draw_loss(axes: Axes, steps: np.ndarray, losses: np.ndarray) -> None:
    axes.plot(steps, losses, color=COLOURS[0], alpha=0.3, linewidth=0.8, label="logged steps")
    window = max(1, min(WINDOW, len(losses) // 5))
    if window > 1:
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        axes.plot(steps[window - 1 :], smooth, color=COLOURS[0], linewidth=1.6, label=f"mean of {window}")
        axes.legend(frameon=False, fontsize=8)
    axes.set(ylabel="loss")


def _draw_measure(axes: Axes, steps: np.ndarray, values: np.ndarray) -> None:
    axes.plot(steps, values, color=COLOURS[1], marker="o", markersize=4)
    axes.set(ylabel="NoC@90, validation")


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.3, linewidth=0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _column(rows: Sequence[Row], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a metric, where it was logged; Lightning counts steps from 0, people from 1."""
    logged = [(float(row[STEP]) + 1, float(row[name])) for row in rows if row.get(name)]
    return np.array([step for step, _ in logged]), np.array([value for _, value in logged])
