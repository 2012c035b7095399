"""Polygons that give a mask again to the pixel: outlines along the edges of pixels, holes and parts joined by seams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

Point = tuple[int, int]  # (x, y): a corner of pixels; pixel (row, column) covers x column..column+1, y row..row+1
Ring = list[Point]
Line = Sequence[tuple[float, float]]  # a closed line of corners, whole or not
Corner = tuple[int, int]  # number of a ring, place in it
SEAM_CORNERS = 48  # of a ring, to find its neighbours


def rings(mask: np.ndarray) -> list[Ring]:
    """All outlines of a mask (H, W) bool, the object on the right hand: outer ones clockwise on the screen, holes the
    other way. Corners only."""
    padded = np.pad(mask, 1).astype(np.int8)
    turns: dict[Point, list[Point]] = defaultdict(list)
    # edges between a pixel and the one above it: rightwards where the object is below, leftwards where it is above
    rows, columns = np.nonzero(np.diff(padded, axis=0))
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        left, right = (column - 1, row), (column, row)
        if padded[row + 1, column]:
            turns[left].append(right)
        else:
            turns[right].append(left)
    # edges between a pixel and the one left of it: upwards where the object is on the right
    rows, columns = np.nonzero(np.diff(padded, axis=1))
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        upper, lower = (column, row - 1), (column, row)
        if padded[row, column + 1]:
            turns[lower].append(upper)
        else:
            turns[upper].append(lower)
    found = []
    while turns:
        found.append(_corners(_walk(turns)))
    return found


def _walk(turns: dict[Point, list[Point]]) -> Ring:
    """Takes one closed way out of the edges; where pixels touch at a corner it turns right, and so keeps them apart."""
    start = next(iter(turns))
    way, before, here = [start], None, start
    while True:
        choices = turns[here]
        if len(choices) == 1 or before is None:
            there = choices.pop()
        else:
            step = (here[0] - before[0], here[1] - before[1])
            right = (here[0] - step[1], here[1] + step[0])
            there = right if right in choices else choices[0]
            choices.remove(there)
        if not choices:
            del turns[here]
        before, here = here, there
        if here == start:
            return way
        way.append(here)


def _corners(way: Ring) -> Ring:
    """Without the points on straight lines."""
    points = np.array(way)
    ahead, behind = np.roll(points, -1, axis=0) - points, points - np.roll(points, 1, axis=0)
    turning = (ahead != behind).any(axis=1)
    return [(int(x), int(y)) for x, y in points[turning]]


def signed_area(ring: Ring) -> float:
    """Positive for an outer outline, negative for a hole."""
    x, y = np.array(ring, dtype=float).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def moved_inside(ring: Ring, by: float) -> Line:
    """An outline moved into the object by less than a pixel, so that its points lie in the outermost pixels.

    Readers that cut coordinates off to whole numbers and draw what lies on the line, as `cv2.fillPoly` does, then draw
    exactly the object; moved by less than half a pixel, so do those that look at the middles of pixels.
    """
    points = np.array(ring, dtype=float)
    arriving = np.sign(points - np.roll(points, 1, axis=0))
    leaving = np.roll(arriving, -1, axis=0)
    along = arriving + leaving  # at a corner an edge across meets an edge down
    to_the_right = np.stack([-along[:, 1], along[:, 0]], axis=1)  # where the object is
    return [(float(x), float(y)) for x, y in points + by * to_the_right]


def joined(found: Sequence[Line]) -> list[tuple[float, float]]:
    """One closed line through all rings: each is entered and left by the same seam, which covers nothing.

    A seam runs between corners of two rings that are near each other, first across, then down, so that every renderer
    that counts crossings cancels it. One that draws what lies on a line draws the seam too; that is why it is short.
    """
    if not found:
        return []
    detours: dict[Corner, list[tuple[float, float]]] = defaultdict(list)
    for corner, home in reversed(_seams(found)):  # rings that hang on a ring come before it
        (x, _), (home_x, home_y) = found[corner[0]][corner[1]], found[home[0]][home[1]]
        bend = (x, home_y)
        detours[home] += [bend, *_round_trip(found, corner, detours), bend, (home_x, home_y)]
    return _round_trip(found, (0, 0), detours)[:-1]


def _round_trip(found: Sequence[Line], start: Corner, detours: Mapping[Corner, Line]) -> list[tuple[float, float]]:
    """Once round a ring and back to the corner where it began, with the detours that begin at its corners."""
    number, first = start
    ring = found[number]
    way: list[tuple[float, float]] = []
    for corner in (*range(first, len(ring)), *range(first)):
        way += [ring[corner], *detours.get((number, corner), ())]
    return [*way, ring[first]]


def _seams(found: Sequence[Line]) -> list[tuple[Corner, Corner]]:
    """For every ring but the first a corner of its own and one of a ring before it, near each other."""
    outlines = [np.array(ring, dtype=float) for ring in found]
    some = [ring[:: -(-len(ring) // SEAM_CORNERS)] for ring in outlines]  # enough to see which rings are neighbours
    points = np.concatenate(some)  # (n, 2)
    owners = np.repeat(np.arange(len(some)), [len(ring) for ring in some])
    distance = np.full(len(points), np.inf)  # (n,) to the rings that are joined
    homes = np.zeros(len(points), dtype=int)  # (n,) number of the one that is nearest
    waiting, newest, seams = np.flatnonzero(owners != 0), 0, []
    while len(waiting):
        apart = np.abs(points[waiting, None] - some[newest]).sum(axis=2).min(axis=1)
        closer = waiting[apart < distance[waiting]]
        distance[closer], homes[closer] = apart[apart < distance[waiting]], newest
        chosen = waiting[distance[waiting].argmin()]
        newest, home = int(owners[chosen]), int(homes[chosen])
        home_corner = _nearest(outlines[home], points[chosen])
        seams.append(((newest, _nearest(outlines[newest], outlines[home][home_corner])), (home, home_corner)))
        waiting = waiting[owners[waiting] != newest]
    return seams


def _nearest(ring: np.ndarray, point: np.ndarray) -> int:
    """Place of the corner of a ring (n, 2) that is nearest to a point (2,)."""
    return int(np.abs(ring - point).sum(axis=1).argmin())


def parts(mask: np.ndarray) -> list[Line]:
    """A polygon for each outer outline, its holes joined to it by seams."""
    return [joined(family) for family in families(rings(mask))]


def families(found: list[Ring]) -> list[list[Ring]]:
    """Each outer outline of a mask, followed by the holes in it."""
    outer = [ring for ring in found if signed_area(ring) > 0]
    holes = [ring for ring in found if signed_area(ring) < 0]
    owners: dict[int, list[Ring]] = defaultdict(list)
    for hole in holes:
        owners[_owner(outer, hole)].append(hole)
    return [[ring, *owners[number]] for number, ring in enumerate(outer)]


def _owner(outer: list[Ring], hole: Ring) -> int:
    """Number of the smallest outer outline round a hole."""
    x, y = hole[0]
    inside = [(signed_area(ring), number) for number, ring in enumerate(outer) if _holds(ring, x, y, hole)]
    return min(inside)[1]


def _holds(ring: Ring, x: float, y: float, hole: Ring) -> bool:
    """Whether a hole lies in a ring: half a pixel inside the hole's first corner, which no line crosses."""
    following = np.array(hole[1]) - np.array(hole[0])
    preceding = np.array(hole[-1]) - np.array(hole[0])
    x, y = np.array([x, y]) + 0.5 * (np.sign(following) + np.sign(preceding))
    x0, y0 = np.array(ring, dtype=float).T
    y1 = np.roll(y0, -1)
    crossing = (y0 > y) != (y1 > y)
    return bool((crossing & (x0 > x)).sum() % 2)
