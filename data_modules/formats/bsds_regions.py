"""From several annotators' segmentations of one image to overlapping regions with a tree (docs/data.md#bsds500)."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

from data_modules.formats.hierarchy import region_tree
from data_modules.formats.regions import pack_layers, region_of
from data_modules.scenes import SceneObject


class Regions(NamedTuple):
    """Regions of one image: the bytes of (H, W, L) uint16 ids packed by zlib, their shape, and the object table."""

    packed: bytes
    shape: tuple[int, ...]
    objects: dict[int, SceneObject]

    def layers(self) -> np.ndarray:
        """(H, W, L) int32 ids."""
        return np.frombuffer(zlib.decompress(self.packed), dtype=np.uint16).reshape(self.shape).astype(np.int32)


def extract_regions(segmentations: np.ndarray, min_share: float, max_share: float, duplicate_iou: float) -> Regions:
    """Regions of all annotators without duplicates, largest first, with the tree of the COCO+LVIS rule.

    Args:
        segmentations: (K, H, W) int32, one label map per annotator, labels from 1 (0 is no region).
        min_share: regions with a smaller share of the image's pixels are dropped.
        max_share: regions with a larger share are dropped.
        duplicate_iou: a region is dropped when its IoU with a kept one is larger than this.
    """
    ids, areas = _usable_regions(segmentations, min_share, max_share)
    common = _intersections(ids, len(areas))
    kept: list[int] = []
    for number in np.argsort(-areas, kind="stable").tolist():
        overlap = common[number, kept]
        if not (overlap / (areas[number] + areas[kept] - overlap) > duplicate_iou).any():
            kept.append(number)
    # every number lives in the map of one annotator only
    regions = [region for number in kept if (region := region_of((ids == number + 1).any(axis=0))) is not None]
    layers, layer_of = pack_layers(regions, (ids.shape[1], ids.shape[2]))
    parents = region_tree(regions)
    objects = {
        key: SceneObject(layer, 0 if parent is None else parent + 1)
        for key, (layer, parent) in enumerate(zip(layer_of, parents, strict=True), start=1)
    }
    return Regions(zlib.compress(layers.astype(np.uint16).tobytes(), 1), layers.shape, objects)


def _usable_regions(segmentations: np.ndarray, min_share: float, max_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Regions of a fitting size, numbered over all annotators: (K, H, W) numbers 1..N or 0, and their (N,) areas."""
    ids = np.zeros_like(segmentations)
    areas: list[int] = []
    for annotator, labels in enumerate(segmentations):
        count = np.bincount(labels.ravel())
        share = count / labels.size
        usable = np.flatnonzero((count > 0) & (share >= min_share) & (share <= max_share))
        usable = usable[usable > 0]
        lookup = np.zeros(len(count), dtype=ids.dtype)
        lookup[usable] = len(areas) + 1 + np.arange(len(usable))
        ids[annotator] = lookup[labels]
        areas += count[usable].tolist()
    return ids, np.array(areas, dtype=np.int64)


def _intersections(ids: np.ndarray, regions: int) -> np.ndarray:
    """(N, N) int64: pixels that two regions of different annotators share; 0 for two regions of one annotator."""
    flat = ids.reshape(len(ids), -1).astype(np.int64)
    total = np.zeros((regions + 1) ** 2, dtype=np.int64)
    for first in range(len(flat)):
        for second in range(first + 1, len(flat)):
            total += np.bincount(flat[first] * (regions + 1) + flat[second], minlength=len(total))
    total = total.reshape(regions + 1, regions + 1)[1:, 1:]
    return total + total.T
