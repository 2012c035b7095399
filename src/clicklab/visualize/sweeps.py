"""Pictures of a sweep: a heat map over two parameters, or lines over one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def sweep_figure(rows: Sequence[Mapping[str, Any]], parameters: Sequence[str], metric: str, minimize: bool) -> Figure:
    """Two parameters: a heat map of the mean over all others. One: a line. More: the first two.

    Args:
        rows: one per trial, `parameters` and `metric` in it; rows whose metric is None are left out.
        parameters: names of those that vary.
        metric: what is drawn.
        minimize: whether less is better; the best cell or point is framed.

    Raises:
        ValueError: there is nothing to draw.
    """
    known = [row for row in rows if row.get(metric) is not None]
    if not known or not parameters:
        raise ValueError(f"no trial with a {metric} yet: there is nothing to draw")
    figure = Figure(figsize=(5.2, 4), layout="constrained")
    if len(parameters) == 1:
        _draw_line(figure, known, parameters[0], metric, minimize)
    else:
        _draw_map(figure, known, parameters[0], parameters[1], metric, minimize)
    return figure


def _draw_map(
    figure: Figure, rows: Sequence[Mapping[str, Any]], down: str, across: str, metric: str, minimize: bool
) -> None:
    ys, xs = _sorted_values(rows, down), _sorted_values(rows, across)
    means = np.full((len(ys), len(xs)), np.nan)
    for i, y in enumerate(ys):
        for j, x in enumerate(xs):
            cell = [row[metric] for row in rows if str(row[down]) == y and str(row[across]) == x]
            means[i, j] = np.mean(cell) if cell else np.nan
    axes = figure.subplots()
    image = axes.imshow(means, cmap="viridis_r" if minimize else "viridis", aspect="auto")
    middle = (np.nanmin(means) + np.nanmax(means)) / 2
    for (i, j), value in np.ndenumerate(means):
        if np.isfinite(value):
            dark = (value > middle) == minimize
            axes.text(j, i, f"{value:.3g}", ha="center", va="center", color="white" if dark else "black")
    best = np.nanargmin(means) if minimize else np.nanargmax(means)
    i, j = np.unravel_index(best, means.shape)
    axes.add_patch(_frame(int(i), int(j)))
    axes.set(xticks=range(len(xs)), xticklabels=xs, yticks=range(len(ys)), yticklabels=ys)
    axes.set(xlabel=_short(across), ylabel=_short(down), title=f"{metric}, best framed")
    figure.colorbar(image, label=metric)


def _draw_line(figure: Figure, rows: Sequence[Mapping[str, Any]], name: str, metric: str, minimize: bool) -> None:
    values = _sorted_values(rows, name)
    means = [float(np.mean([row[metric] for row in rows if str(row[name]) == value])) for value in values]
    best = int(np.argmin(means) if minimize else np.argmax(means))
    axes = figure.subplots()
    axes.plot(range(len(values)), means, "o-")
    axes.plot(best, means[best], "o", markersize=14, markerfacecolor="none", markeredgecolor="black")
    axes.set(xticks=range(len(values)), xticklabels=values, xlabel=_short(name), ylabel=metric, title="best ringed")
    axes.grid(alpha=0.3)


def _sorted_values(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """The values of a parameter as text: numbers by size, anything else in order of appearance."""
    values = list({str(row[name]): row[name] for row in rows}.values())
    if all(isinstance(value, (int, float)) for value in values):
        values.sort()
    return [str(value) for value in values]


def _frame(row: int, column: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=3)


def _short(name: str) -> str:
    """The part of a dotted name that a reader knows it by."""
    return name.rpartition(".")[2].replace("_", " ")
