"""One figure for a paper: mean IoU after each click of several runs, with 95 % bands, a panel for each dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clicklab.evaluation.paired_bootstrap import resampled_means
from clicklab.evaluation.protocol import ORACLE
from clicklab.visualize.comparison import plain_name
from clicklab.visualize.results_file import Run

COLUMN, PAGE = 3.35, 6.9  # inches: one column and both of a two-column paper
PANEL = 2.1  # inches: height of a panel
# Okabe and Ito's colours, told apart by colour-blind readers; with dashes and markers for print in grey
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,  # letters stay letters, which journals ask for
    "svg.fonttype": "none",
}
SEED, RESAMPLES = 0, 1000
ENDINGS = ("png", "pdf", "svg")


def save_curves(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Writes curves.png, .pdf and .svg into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figure = curves_figure(runs)
        paths = [folder / f"curves.{ending}" for ending in ENDINGS]
        for path in paths:
            figure.savefig(path, dpi=300)
    return paths


def curves_figure(runs: Sequence[Run]) -> Figure:
    """The figure; one dataset takes a column of a paper, several take the page, two or three panels a row."""
    lines = [_Line(run, oracle) for run in runs for oracle in (False, True)]
    lines = [line for line in lines if line.records]
    datasets = list(dict.fromkeys(name for line in lines for name in line.records))
    across = 1 if len(datasets) == 1 else 2 if len(datasets) in (2, 4) else 3
    down = -(-len(datasets) // across)
    width = COLUMN if across == 1 else PAGE
    per_row = 2 if across == 1 else 4  # entries of the legend
    legend = 0.2 * -(-len(lines) // per_row) + 0.1
    figure = Figure(figsize=(width, PANEL * down + legend), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes, dataset in zip(grid.flat, datasets, strict=False):
        _draw_panel(axes, dataset, lines)
    for axes in list(grid.flat)[len(datasets) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("mean IoU")
    for axes in list(grid.flat)[max(0, len(datasets) - across) : len(datasets)]:
        axes.set_xlabel("clicks")
    drawn = {line.get_label(): line for axes in grid.flat for line in axes.lines}
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=per_row, frameon=False)
    return figure


class _Line:
    """What one look stands for: a run, or a run whose candidates were picked by the ground truth.

    Attributes:
        label: in the legend.
        records: dataset -> record.
        run: where it belongs.
    """

    def __init__(self, run: Run, oracle: bool) -> None:
        self.label = f"{run.label}, the user picks" if oracle else run.label
        self.run = run
        self.records = {
            plain_name(name): record
            for name, record in run.datasets.items()
            if name.endswith(ORACLE) == oracle and record["objects"]
        }


def _draw_panel(axes: Axes, dataset: str, lines: Sequence[_Line]) -> None:
    lowest, limit = 1.0, 1
    for place, line in enumerate(lines):
        if dataset not in line.records:
            continue
        curves = [row["ious"] for row in line.records[dataset]["objects"]]
        ious = iou_table(curves, line.run.protocol["max_clicks"])
        clicks = np.arange(1, ious.shape[1] + 1)
        low, high = _band(ious)
        colour = COLOURS[place % len(COLOURS)]
        axes.fill_between(clicks, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            clicks,
            ious.mean(axis=0),
            color=colour,
            linestyle=DASHES[place % len(DASHES)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=2.6,
            linewidth=1.1,
            label=line.label,
        )
        lowest, limit = min(lowest, float(low.min())), max(limit, ious.shape[1])
    axes.set(ylim=(max(0.0, np.floor(20 * lowest) / 20), 1.0), title=_title(dataset, lines))
    axes.set_xticks([1, *range(5, limit + 1, 5)] if limit >= 5 else range(1, limit + 1))
    axes.grid(alpha=0.3, linewidth=0.4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _title(dataset: str, lines: Sequence[_Line]) -> str:
    """The dataset; where objects stopped early, that their last IoU is kept."""
    stops = {line.run.protocol.get("target_iou", 1.01) for line in lines if dataset in line.records}
    stopped = [stop for stop in stops if stop <= 1]
    return f"{dataset} (each object until IoU {min(stopped):g})" if stopped else dataset


def iou_table(curves: Sequence[Sequence[float]], max_clicks: int) -> np.ndarray:
    """(n, max_clicks): IoU of every object after each click; one that stopped early keeps its last IoU."""
    table = np.empty((len(curves), max_clicks))
    for row, curve in enumerate(curves):
        played = curve[:max_clicks]
        table[row, : len(played)] = played
        table[row, len(played) :] = played[-1]
    return table


def _band(ious: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % bootstrap interval of the mean after each click."""
    means = resampled_means(ious, np.random.default_rng(SEED), RESAMPLES)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high
