"""From the json files of COCO and LVIS to the masks of one image, for `build_coco_lvis`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.coco_lvis.layered_build import Made
from data_modules.coco_lvis.rule import combine
from data_modules.coco_lvis.thresholds import Thresholds
from data_modules.formats.decoding import decode
from data_modules.formats.files import file_below, need_inside, read_bytes
from data_modules.formats.instance_index import InstanceIndex
from data_modules.formats.rasterise import segmentation_region
from data_modules.formats.regions import Region, region_of
from data_modules.scenes import BrokenScene


@dataclass(frozen=True)
class Sources:
    """The annotation files and the images to be made from them; calling it with a number makes that image's objects.

    Attributes:
        coco, lvis: indices of the json files; one of them may be None.
        segments: folder of the panoptic PNGs when `coco` is a panoptic file.
        pairs: per image, its index in coco and in lvis (-1 where there is none).
        crowds: COCO instances with iscrowd count as objects. Panoptic crowds always do, as in the released annotation.
        thresholds: the numbers of the rule.
    """

    coco: InstanceIndex | None
    lvis: InstanceIndex | None
    segments: Path | None
    pairs: tuple[tuple[int, int], ...]
    crowds: bool
    thresholds: Thresholds

    def __call__(self, number: int) -> Made:
        """Layered ids of one image.

        Raises BrokenScene when a file is unreadable or the two files disagree about the image's size.
        """
        at_coco, at_lvis = self.pairs[number]
        sizes = [index.size(at) for index, at in ((self.coco, at_coco), (self.lvis, at_lvis)) if index is not None]
        if sizes[0] != sizes[-1]:
            raise BrokenScene(f"COCO says (height, width) {sizes[0]}, LVIS says {sizes[-1]}")
        problems: list[str] = []
        coco: Sequence[Region | None] = []
        stuff: Sequence[Region | None] = []
        lvis: Sequence[Region | None] = []
        if self.coco is not None and self.segments is not None:
            coco, stuff = _panoptic_regions(self.coco, at_coco, self.segments, sizes[0])
        elif self.coco is not None:
            coco = _drawn(self.coco.annotations(at_coco, self.crowds), sizes[0], "COCO", problems)
        if self.lvis is not None:
            lvis = _drawn(self.lvis.annotations(at_lvis), sizes[0], "LVIS", problems)
        return Made(combine(coco, lvis, stuff, sizes[0], self.thresholds), problems)


def _drawn(
    annotations: list[dict[str, Any]], size: tuple[int, int], source: str, problems: list[str]
) -> list[Region | None]:
    """Masks of the annotations, polygons filled as in the released annotation; unusable ones are named and come as
    None."""
    canvas = np.zeros(size, dtype=np.uint8)
    regions: list[Region | None] = []
    for annotation in annotations:
        try:
            region = segmentation_region(annotation.get("segmentation"), size, "fill_poly", canvas)
            if region is None:
                problems.append(f"{source} annotation {annotation.get('id')} covers no pixel of the image")
        except ValueError as error:
            region = None
            problems.append(f"{source} annotation {annotation.get('id')}: {error}")
        regions.append(region)
    return regions


def _panoptic_regions(
    index: InstanceIndex, image: int, segments: Path, size: tuple[int, int]
) -> tuple[list[Region | None], list[Region | None]]:
    """Thing and stuff masks of a panoptic PNG (id = R + 256 G + 65536 B), in the order of `segments_info`.

    Raises BrokenScene.
    """
    things: dict[int, None] = {}
    stuff: dict[int, None] = {}
    annotations = index.annotations(image)
    if not annotations:
        return [], []
    try:
        name = need_inside(
            str(annotations[0].get("file_name")), index.path, f"the file of image {index.image_ids[image]}"
        )
    except ValueError as error:
        raise BrokenScene(str(error)) from error
    path = file_below(segments, name)
    pixels = decode(read_bytes(path), path).astype(np.int32)
    if pixels.shape[:2] != size:
        raise BrokenScene(f"{path}: {pixels.shape[:2]} pixels, but {index.path} says {size} (height, width)")
    ids = pixels[..., 2] + 256 * pixels[..., 1] + 65536 * pixels[..., 0]
    try:
        for segment in annotations[0]["segments_info"]:
            (things if segment["category_id"] in index.things else stuff)[int(segment["id"])] = None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BrokenScene(f"{index.path}: segments of {path.name} without id or category_id") from error
    return [region_of(ids == key) for key in things], [region_of(ids == key) for key in stuff]


def common_images(
    coco: InstanceIndex | None, lvis: InstanceIndex | None
) -> tuple[list[str], tuple[tuple[int, int], ...]]:
    """Names and (coco, lvis) indices of the images to make: annotated in LVIS and listed in COCO, or annotated in the
    only one."""
    places = [_annotated(index) for index in (coco, lvis) if index is not None]
    if coco is not None and lvis is not None:
        listed: dict[str, int] = {}
        for at in range(len(coco)):
            if listed.setdefault(_stem(coco, at), at) != at:
                raise ValueError(f"{coco.path}: two images have the name {_stem(coco, at)!r}; rename one")
        pairs = {name: (listed[name], at) for name, at in places[-1].items() if name in listed}
        if not pairs:
            raise ValueError(f"{coco.path} and {lvis.path} have no image in common; are they of the same split?")
    else:
        pairs = {name: (at, -1) if lvis is None else (-1, at) for name, at in places[0].items()}
        if not pairs:
            raise ValueError("the annotation file has no image with an annotation")
    return list(pairs), tuple(pairs.values())


def _stem(index: InstanceIndex, image: int) -> str:
    """Name of an image's files: that of the image without folder and ending."""
    return Path(index.name(image).replace("\\", "/")).stem


def _annotated(index: InstanceIndex) -> dict[str, int]:
    """Name -> index of the images with annotations. Raises ValueError when two of them have one name."""
    found: dict[str, int] = {}
    for image in np.flatnonzero(np.diff(index.first)).tolist():
        name = _stem(index, image)
        if found.setdefault(name, image) != image:
            raise ValueError(f"{index.path}: two annotated images have the name {name!r}")
    return found
