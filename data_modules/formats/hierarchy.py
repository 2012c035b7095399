"""Which region is part of which: the object tree of COCO+LVIS (RITM's annotation script;
docs/data.md#hierarchy).

Regions of one image overlap freely. A region belongs to a larger one when the larger covers most of its box and of its
pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from data_modules.formats.regions import Region, boxes_of

BOX_SHARE = 0.70
MASK_SHARE = 0.80


def box_shares(boxes: np.ndarray) -> np.ndarray:
    """(N, N) float64: which share of box j lies in box i. `boxes` (N, 4) holds inclusive y0, y1, x0, x1."""
    first, last = boxes[:, 0::2], boxes[:, 1::2]  # (N, 2): row and column
    first_common = np.maximum(first[:, None], first[None])  # (N, N, 2)
    last_common = np.minimum(last[:, None], last[None])
    common_sides = np.clip(last_common - first_common + 1, 0, None)
    areas = (last - first + 1).prod(axis=1)  # (N,)
    return common_sides.prod(axis=2) / areas


def object_tree(areas: Sequence[int] | np.ndarray, contains: Callable[[int, int], bool]) -> list[int | None]:
    """Index of the parent of every region, None for a root.

    Regions are taken by falling area (of equal ones the later index first). Each looks for the smaller ones it contains
    that have no parent yet; such a one is handed down to the first child subtree that contains it. Containing is not
    transitive (80 % of 80 %), so the order of both loops matters and a child's subtree is searched even where the child
    itself does not contain the region.

    Args:
        areas: (N,) pixels.
        contains: `contains(i, j)` with areas[i] >= areas[j]: whether i contains j; asked at most once per pair.
    """
    order = sorted(range(len(areas)), key=lambda i: (areas[i], i), reverse=True)
    known: dict[tuple[int, int], bool] = {}
    children: list[list[int]] = [[] for _ in order]
    parents: list[int | None] = [None] * len(order)

    def holds(i: int, j: int) -> bool:
        if (i, j) not in known:
            known[i, j] = contains(i, j)
        return known[i, j]

    def owner(i: int, j: int) -> int | None:
        for child in children[i]:
            if areas[child] >= areas[j] and (found := owner(child, j)) is not None:
                return found
        return i if holds(i, j) else None

    for rank, i in enumerate(order):
        for j in order[rank + 1 :]:
            if parents[j] is None and holds(i, j):
                parents[j] = parent = owner(i, j)
                assert parent is not None, "i holds j, so the search ends at i at the latest"
                children[parent].append(j)
    return parents


def region_tree(
    regions: Sequence[Region], box_share: float = BOX_SHARE, mask_share: float = MASK_SHARE
) -> list[int | None]:
    """The tree of `object_tree` over masks: i contains j when it covers >= `box_share` of j's box and > `mask_share` of
    its pixels.

    Boxes are compared all at once; pixels only for pairs of near boxes, and only where the two boxes meet.
    """
    near = box_shares(boxes_of(regions)) >= box_share

    def contains(i: int, j: int) -> bool:
        return bool(near[i, j]) and regions[i].overlap(regions[j]) / regions[j].area > mask_share

    return object_tree([region.area for region in regions], contains)


def tree_levels(parents: Sequence[int | None]) -> list[int]:
    """Depth of every node, 0 for a root.

    Raises ValueError when parents run in a circle or name a node that does not exist.
    """
    levels = []
    for node in range(len(parents)):
        depth, above = 0, parents[node]
        while above is not None:
            if not 0 <= above < len(parents) or depth == len(parents):
                raise ValueError(
                    f"object {node} has no root: its parents run in a circle or name an object that does not exist"
                )
            depth, above = depth + 1, parents[above]
        levels.append(depth)
    return levels
