"""Curves: mean IoU after each click."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = 10  # lines until matplotlib begins again


def save_curve(results: Mapping[str, Any], folder: str | Path) -> None:
    """Draws `curve_figure` into `folder`/curve.png, which is replaced only when the new one is whole."""
    target = Path(folder) / "curve.png"
    unfinished = target.with_name("curve.png.part")
    curve_figure(results).savefig(unfinished, dpi=120, format="png")
    unfinished.replace(target)


def curve_figure(results: Mapping[str, Any]) -> Figure:
    """Mean IoU after each click, one line per dataset."""
    datasets, limit = results["datasets"], results["protocol"]["max_clicks"]
    figure = Figure(figsize=(7, max(4, 0.22 * len(datasets) + 0.6)), layout="constrained")  # the legend has to fit
    axes = figure.subplots()
    for row, (dataset, record) in enumerate(datasets.items()):
        style = ("-", "--", ":")[row // COLOURS % 3]
        axes.plot(range(1, len(record["miou"]) + 1), record["miou"], style, marker=".", label=dataset)
    curves = [iou for record in datasets.values() for iou in record["miou"] if not math.isnan(iou)]
    lowest = math.floor(10 * min(curves, default=0.0)) / 10  # whole tenths: small differences look small
    axes.set(xlim=(0.5, limit + 0.5), ylim=(min(lowest, 0.9), 1))
    axes.set(xlabel="clicks", ylabel="mean IoU", title=f"preset {results['protocol']['preset']}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # there are no half clicks
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))  # beside the curves, not on them
    return figure
