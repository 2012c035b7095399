"""Outlines of drawn objects: convex, blob, star, thin and curved, ring, limbed.

An outline is a list of groups of closed contours around the origin, at most about 1 away from it. A group is filled
by the even-odd rule (an inner contour is a hole); the groups are united (a body and its limbs).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Outline = list[list[np.ndarray]]

_SUBPIXEL_BITS = 4


def convex(rng: np.random.Generator) -> Outline:
    """An ellipse, a regular polygon, a rectangle with cut corners or the hull of random points."""
    kind = rng.integers(4)
    if kind == 0:
        return [[_polar(np.ones(40))]]
    if kind == 1:
        return [[_polar(np.ones(rng.integers(3, 8)))]]
    if kind == 2:
        side, cut = rng.uniform(0.6, 1.0), rng.uniform(0.05, 0.5)
        corner = np.array([[1 - cut, side], [1, side * (1 - cut)]])
        half = np.concatenate([corner, corner[::-1] * [1, -1]])
        return [[np.concatenate([half, -half])]]
    points = rng.uniform(-1, 1, (9, 2)).astype(np.float32)
    return [[cv2.convexHull(points)[:, 0].astype(np.float64)]]


def blob(rng: np.random.Generator) -> Outline:
    """A smooth star-like blob: the radius is a short random Fourier series of the angle."""
    order = np.arange(2, 6)
    angle = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    amplitude = rng.uniform(0.05, 0.5, 4) / order
    radius = 1 + (amplitude * np.cos(order * angle[:, None] + rng.uniform(0, 2 * np.pi, 4))).sum(1)
    return [[_polar(radius / radius.max())]]


def star(rng: np.random.Generator) -> Outline:
    """A star with 4 to 9 tips."""
    tips = int(rng.integers(4, 10))
    radius = np.ones(2 * tips)
    radius[1::2] = rng.uniform(0.35, 0.7)
    return [[_polar(radius)]]


def band(rng: np.random.Generator, width: float | None = None) -> Outline:
    """A thin, bent strip (an arc or an S) that gets narrower towards one end."""
    along = np.linspace(-1, 1, 24)
    bend, wave = rng.uniform(-0.7, 0.7), rng.uniform(-0.35, 0.35)
    line = np.stack([along, bend * (along**2 - 0.5) + wave * np.sin(np.pi * along)], 1)
    slope = np.gradient(line, axis=0)
    normal = np.stack([-slope[:, 1], slope[:, 0]], 1) / np.linalg.norm(slope, axis=1, keepdims=True)
    half = (rng.uniform(0.08, 0.2) if width is None else width) * np.linspace(1, rng.uniform(0.4, 1), 24)[:, None]
    return [[np.concatenate([line + half * normal, (line - half * normal)[::-1]])]]


def ring(rng: np.random.Generator) -> Outline:
    """A convex shape or a blob with one large hole or two small ones; what is behind shows through."""
    outer = (convex if rng.random() < 0.5 else blob)(rng)[0][0]
    if rng.random() < 0.6:
        return [[outer, outer * rng.uniform(0.4, 0.65)]]
    shift = np.array([rng.uniform(0.28, 0.36), 0.0])
    return [[outer, outer * rng.uniform(0.18, 0.26) - shift, outer * rng.uniform(0.18, 0.26) + shift]]


def limbed(rng: np.random.Generator) -> Outline:
    """A body with 2 to 5 thin limbs: the shape of animals, tables and plants."""
    body = (convex if rng.random() < 0.5 else blob)(rng)[0][0] * rng.uniform(0.4, 0.6)
    groups: Outline = [[body]]
    start = rng.uniform(0, 2 * np.pi)
    for limb in range(int(rng.integers(2, 6))):
        angle = start + limb * rng.uniform(0.7, 1.4)
        strip = band(rng, width=rng.uniform(0.1, 0.22))[0][0] * 0.5 + [0.5, 0.0]
        groups.append([strip @ _turn(angle)])
    return groups


OUTLINES: tuple[Callable[[np.random.Generator], Outline], ...] = (convex, blob, star, band, ring, limbed)


def fill(outline: Outline, centre: np.ndarray, axes: np.ndarray, angle: float, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool mask of an outline scaled by `axes`, turned by `angle`, put at `centre` (y, x); all in pixels."""
    canvas = np.zeros(size, dtype=np.uint8)
    for group in outline:
        contours = []
        for contour in group:
            points = (contour * axes) @ _turn(angle) + centre
            # cv2 wants (x, y) in fixed-point integers
            contours.append(np.rint(points[:, ::-1] * (1 << _SUBPIXEL_BITS)).astype(np.int32))
        cv2.fillPoly(canvas, contours, 1, lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    return canvas.view(bool)


def _polar(radius: np.ndarray) -> np.ndarray:
    """(n, 2) points at the given radii and even angles."""
    angle = np.linspace(0, 2 * np.pi, len(radius), endpoint=False)
    return radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)


def _turn(angle: float) -> np.ndarray:
    """(2, 2) rotation matrix."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
