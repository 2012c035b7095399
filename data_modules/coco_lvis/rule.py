"""The published rule that makes one annotation of COCO and LVIS masks of an image (RITM's annotation script;
docs/data.md#build-rule)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_modules.coco_lvis.thresholds import Thresholds
from data_modules.formats.hierarchy import region_tree
from data_modules.formats.layered_store import LayeredIds
from data_modules.formats.regions import Region, boxes_of, interval_ious, pack_layers, region_of


def combine(
    coco: Sequence[Region | None],
    lvis: Sequence[Region | None],
    stuff: Sequence[Region | None],
    size: tuple[int, int],
    thresholds: Thresholds,
) -> LayeredIds:
    """Layered ids and tree of one image: kept COCO masks first, then kept LVIS masks, then stuff without them.

    Args:
        coco, lvis: masks in file order, None for an empty one.
        stuff: stuff regions, which may overlap the instances.
        size: (H, W) of the image.
        thresholds: the numbers of the rule.

    Returns:
        No objects at all when no instance is kept, whatever stuff there is (as published).
    """
    things = [region for region in coco if region is not None and region.area >= thresholds.min_area]
    parts = [region for region in lvis if region is not None and region.area >= thresholds.min_area]
    kept = [things[i] for i in _without_twin(things, parts, thresholds)]
    kept += [parts[i] for i in _without_later_twin(parts, thresholds)]
    parents = region_tree(kept, thresholds.tree_box, thresholds.tree_mask)
    left = _remaining_stuff(stuff, kept, size, thresholds.stuff_area) if kept else []
    layers, layer_of = pack_layers([*kept, *left], size)
    return LayeredIds(
        layers,
        np.array(layer_of, dtype=np.int32),
        np.array([0 if parent is None else parent + 1 for parent in parents] + [0] * len(left), dtype=np.int32),
        np.array([False] * len(kept) + [True] * len(left), dtype=bool),
    )


def _without_twin(coco: Sequence[Region], lvis: Sequence[Region], thresholds: Thresholds) -> list[int]:
    """COCO masks that no LVIS mask repeats."""
    near = interval_ious(boxes_of(coco), boxes_of(lvis)) > thresholds.coco_box  # (coco, lvis)
    return [i for i, region in enumerate(coco) if not _has_twin(region, lvis, near[i], thresholds.coco_mask)]


def _without_later_twin(lvis: Sequence[Region], thresholds: Thresholds) -> list[int]:
    """LVIS masks that no later LVIS mask repeats (the later may itself be dropped for a still later one)."""
    boxes = boxes_of(lvis)
    near = interval_ious(boxes, boxes) > thresholds.lvis_box  # (lvis, lvis)
    later = np.triu(near, k=1)
    return [i for i, region in enumerate(lvis) if not _has_twin(region, lvis, later[i], thresholds.lvis_mask)]


def _has_twin(region: Region, others: Sequence[Region], near: np.ndarray, iou: float) -> bool:
    """Whether the mask of one of the `near` (N,) bool others has more than this IoU with a region's."""
    return any(region.iou(others[j]) > iou for j in np.flatnonzero(near))


def _remaining_stuff(
    stuff: Sequence[Region | None], instances: Sequence[Region], size: tuple[int, int], least: int
) -> list[Region]:
    """Stuff without the pixels of all instances, where more than `least` pixels are left."""
    taken = np.zeros(size, dtype=bool)
    for region in instances:
        region.window(taken)[region.pixels] = True
    bare = [
        region_of(region.pixels & ~region.window(taken), region.top, region.left)
        for region in stuff
        if region is not None
    ]
    return [region for region in bare if region is not None and region.area > least]
