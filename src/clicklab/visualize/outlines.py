"""Masks as outlines: in two tones, so that they are seen on light and on dark ground."""

from __future__ import annotations

import cv2
import numpy as np
from matplotlib.axes import Axes

MASK, TARGET = "#ff7a00", "#00d0ff"  # what was answered, what is wanted
POSITIVE_COLOUR, NEGATIVE_COLOUR = "#19c319", "#ff2828"
UNDER = "black"  # the tone below: wider, so that it stands out on both sides


def outline_path(mask: np.ndarray, scale: float = 1.0) -> str:
    """The outline of a mask (H, W) bool as the path of an SVG, in pixels times `scale`; "" for an empty mask.

    The mask is enlarged first: the outline then runs along the borders of its pixels, single pixels included.
    """
    padded = np.pad(mask.astype(np.uint8), 1)
    large = cv2.resize(padded, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts = []
    for contour in contours:
        thin = cv2.approxPolyDP(contour, 2.0, closed=True)[:, 0]  # half a pixel of the mask
        places = ((thin + 0.5) / 4 - 1) * scale
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) + "Z")
    return "".join(parts)


def draw_outline(axes: Axes, mask: np.ndarray, colour: str = MASK, width: float = 1.4) -> None:
    """The outline of a mask (H, W) bool on a picture of its size."""
    padded = np.pad(mask.astype(np.float32), 1)  # closed also along the border of the picture
    if not mask.any():
        return
    height, width_px = padded.shape
    rows, columns = np.arange(height) - 1, np.arange(width_px) - 1
    axes.contour(columns, rows, padded, levels=[0.5], colors=[UNDER], linewidths=[width + 1.6])
    axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=[width])


def draw_clicks(axes: Axes, clicks: list[tuple[int, int, int]], numbers: bool = True, last_only: bool = False) -> None:
    """Clicks (row, column, label) as dots with their numbers: positive green, negative red."""
    for number, (y, x, label) in enumerate(clicks, start=1):
        newest = number == len(clicks)
        if last_only and not newest:
            continue
        colour = POSITIVE_COLOUR if label else NEGATIVE_COLOUR
        size = 7 if newest else 5
        axes.plot(x, y, "o", color=colour, markersize=size, markeredgecolor="white", markeredgewidth=1.0)
        if numbers:
            axes.annotate(
                str(number),
                (x, y),
                xytext=(5, 4),
                textcoords="offset points",
                color="white",
                fontsize=7.5,
                fontweight="bold",
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "black", "edgecolor": "none", "alpha": 0.75},
                annotation_clip=True,
            )
