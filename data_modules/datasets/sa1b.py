"""SA-1B: eleven million photos with a billion masks made by SAM, read in the tar files that they come in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_modules.datasets.shards import Annotation, Shards, share
from data_modules.formats.hierarchy import BOX_SHARE, MASK_SHARE, box_shares, object_tree
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.run_masks import RunMask
from data_modules.scenes import SceneObject


class SA1B(Shards):
    """`sa_NNNNNN.tar`, each with `sa_N.jpg` and `sa_N.json`; object k of a scene is the k-th mask of its file.

    SA-1B says nothing about parts. A mask that lies in a larger one is its part by the rule of COCO+LVIS
    (docs/data.md#hierarchy), told from the run lengths.
    """

    name = "SA1B"
    page: ClassVar[str] = "the SA-1B page of Meta AI (ai.meta.com/datasets/segment-anything), a list of 1000 tar files"
    licence: ClassVar[str] = "SA-1B Dataset Research License"
    published: ClassVar[Mapping[str, int]] = {}

    def __init__(
        self,
        root: str | Path | None,
        split: str | None = None,
        pattern: str = "*.tar",
        min_stability: float = 0.0,
        min_predicted_iou: float = 0.0,
        min_area: int = 0,
        max_share: float = 1.0,
        hierarchy: bool = True,
        index: str | Path | None = None,
        workers: int | None = None,
        reading: ImageReading = AS_USUAL,
    ) -> None:
        """As `Shards`.

        Args:
            root, split, pattern, index, workers: see `Shards`.
            min_stability: masks with a lower `stability_score` are left out (all published ones are 0.95 or more).
            min_predicted_iou: masks with a lower `predicted_iou` are left out (all published ones: 0.88 or more).
            min_area: masks with fewer pixels are left out.
            max_share: masks that fill a larger part of the image are left out.
            hierarchy: tell parts from wholes; False makes every mask a root.
            reading: how image files are read.

        Raises:
            FileNotFoundError: no such folder, or no shard of that pattern.
            ValueError: an impossible limit, a shard that is no tar file, or no sample is found.
        """
        shares = {"min_stability": min_stability, "min_predicted_iou": min_predicted_iou, "max_share": max_share}
        for option, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{option} is {value}: give a number from 0 to 1")
        if min_area < 0:
            raise ValueError(f"min_area is {min_area}: give a number of pixels, 0 or more")
        self.min_stability, self.min_predicted_iou = min_stability, min_predicted_iou
        self.min_area, self.max_share, self.hierarchy = min_area, max_share, hierarchy
        super().__init__(root, split, pattern, index, workers, reading=reading)

    def wanted(self, annotation: Annotation, size: tuple[int, int]) -> bool:
        """Whether a mask passes the filters; one without the number in question does."""
        area = _number(annotation, "area", self.min_area)
        return (
            _number(annotation, "stability_score", 1.0) >= self.min_stability
            and _number(annotation, "predicted_iou", 1.0) >= self.min_predicted_iou
            and area >= self.min_area
            and share(area, size) <= self.max_share
        )

    def related(
        self, annotations: Mapping[int, Annotation], masks: Mapping[int, RunMask | None]
    ) -> dict[int, SceneObject]:
        """Which mask is part of which, from containment."""
        objects = {key: SceneObject(0) for key in annotations}
        keys = [key for key in annotations if masks[key] is not None]
        if not (self.hierarchy and keys):
            return objects
        parents = containment([mask for key in keys if (mask := masks[key]) is not None])
        for key, parent in zip(keys, parents, strict=True):
            objects[key] = SceneObject(0, 0 if parent is None else keys[parent])
        return objects


def _number(annotation: Annotation, field: str, otherwise: float) -> float:
    value = annotation.get(field)
    return float(value) if isinstance(value, int | float) else otherwise


def containment(masks: list[RunMask]) -> list[int | None]:
    """Place of the parent of every mask, None for a root: `region_tree` without drawing."""
    boxes = np.array([mask.box for mask in masks], dtype=np.int64)
    near = box_shares(boxes) >= BOX_SHARE

    def contains(i: int, j: int) -> bool:
        return bool(near[i, j]) and masks[i].overlap(masks[j]) / masks[j].area > MASK_SHARE

    return object_tree([mask.area for mask in masks], contains)
