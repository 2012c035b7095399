"""How many clicks objects needed: a histogram for each dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clicklab.evaluation.results import percent
from clicklab.visualize.comparison_curves import COLOURS, PAGE
from clicklab.visualize.report_data import main_threshold, needed
from clicklab.visualize.results_file import Run

PANEL = 1.9  # inches: height of a panel


def histogram_figure(runs: Sequence[Run]) -> Figure:
    """Share of the objects by clicks needed; the last bar: never reached. Bars of several runs stand side by side."""
    datasets = list(dict.fromkeys(name for run in runs for name in run.datasets))
    across = min(2, len(datasets))
    down = -(-len(datasets) // across)
    figure = Figure(figsize=(PAGE, PANEL * down + 0.3), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes, dataset in zip(grid.flat, datasets, strict=False):
        _draw_panel(axes, dataset, runs)
    for axes in list(grid.flat)[len(datasets) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("objects, %")
    if len(runs) > 1:
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(runs), frameon=False)
    return figure


def _draw_panel(axes: Axes, dataset: str, runs: Sequence[Run]) -> None:
    limit = max(run.protocol["max_clicks"] for run in runs)
    threshold = main_threshold(runs[0])
    width = 0.84 / len(runs)
    for place, run in enumerate(runs):
        rows = run.datasets.get(dataset, {}).get("objects", [])
        counts = np.bincount([needed(row, threshold, limit) for row in rows], minlength=limit + 2)[1:]
        places = np.arange(1, limit + 2) + (place - (len(runs) - 1) / 2) * width
        axes.bar(places, 100 * counts / max(1, len(rows)), width, color=COLOURS[place], label=run.label)
    ticks = [1, *range(5, limit, 5)] if limit > 5 else list(range(1, limit + 1))  # `never` needs the last one's room
    axes.set_xticks([*ticks, limit + 1], [*map(str, ticks), "never"])
    axes.set(title=dataset, xlabel=f"clicks until IoU {percent(threshold)} %", xlim=(0.3, limit + 1.8))
    axes.grid(axis="y", alpha=0.3, linewidth=0.4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
