"""Pascal VOC 2012 segmentation (docs/data.md#pascal-voc)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from clicklab.records import IGNORE
from data_modules.formats.files import (
    file_below,
    need_all_inside,
    need_file,
    need_folder,
    need_same_size,
    read_list,
)
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import read_rgb
from data_modules.formats.mask_values import read_mask_values
from data_modules.formats.official_masks import read_bgr_mask
from data_modules.scenes import BrokenScene, Scene, SceneDataset, SceneObject

VOID_INDEX, VOID_GRAY = 255, 220


class PascalVOC(SceneDataset):
    """`JPEGImages/*.jpg`, `SegmentationObject/*.png` and `ImageSets/Segmentation/<split>.txt` below the root (the
    folder VOC2012).

    The published readers turn the palette image into gray and take the gray value as the object's id. Six pairs of
    palette entries have the same gray (1/16, 3/18, 6/21, 9/24, 39/54, 42/57), so in images with 16 objects or more
    two may become one. That is the default here, because the published numbers were measured that way; `true_ids`
    reads the palette indices.

    The border drawn between objects (void) is ignored. One item per object: names in the order of the list, ids rising.
    The papers count 3427 objects in val; RITM's own list of 3417 (its split "test") is not part of the public set.
    """

    name = "PascalVOC"
    page = "the PASCAL VOC 2012 page of the University of Oxford ('Development Kit', VOCtrainval_11-May-2012.tar)"
    licence = "images: terms of Flickr; use as stated on the VOC page"
    published: ClassVar[Mapping[str, int]] = {"train images": 1464, "val images": 1449, "trainval images": 2913}
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "trainval")

    def __init__(
        self, root: str | Path | None, split: str = "val", true_ids: bool = False, reading: ImageReading = AS_USUAL
    ) -> None:
        """Lists the split.

        Args:
            root: the folder VOC2012, or a folder with VOC2012 or VOCdevkit/VOC2012 inside.
            split: train, val or trainval.
            true_ids: palette indices as object ids instead of the published gray values.
            reading: how image and mask files are read.

        Raises:
            FileNotFoundError: a folder or the list of the split is missing.
            ValueError: unknown split, or a list that is empty, no UTF-8 text or leads out of the folder.
        """
        if split not in self.splits:
            raise ValueError(f"PascalVOC has no split {split!r}; give one of {', '.join(self.splits)}")
        self.split, self.true_ids, self.reading = split, true_ids, reading
        folder = need_folder(root, page=self.page)
        nested = (folder / part for part in (".", "VOC2012", "VOCdevkit/VOC2012"))
        self.root = next((path for path in nested if (path / "JPEGImages").is_dir()), folder)
        for part in ("JPEGImages", "SegmentationObject"):
            need_folder(self.root, part, page=self.page)
        listed = need_file(self.root, "ImageSets", "Segmentation", f"{split}.txt", page=self.page)
        # one name a line, as the published readers take it: in sets of one's own a name may hold spaces
        self.names = read_list(listed)
        need_all_inside(self.names, listed)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Scene:
        image_path = file_below(self.root / "JPEGImages", f"{self.names[index]}.jpg")
        mask_path = self.annotation(index)
        image, ids = read_rgb(image_path, self.reading, self.notes), self._ids(mask_path)
        need_same_size(image, ids, image_path, mask_path)
        objects = {key: SceneObject(layer=0) for key in _present(ids)}
        return Scene(image, ids[..., None], objects, self.names[index])

    def scene_name(self, index: int) -> str:
        return self.names[index]

    def objects(self) -> list[tuple[int, int]]:
        listed = []
        for index in range(len(self)):
            try:
                listed += [(index, key) for key in _present(self._ids(self.annotation(index)))]
            except BrokenScene:
                listed.append((index, 0))
        return listed

    def annotation(self, index: int) -> Path:
        """The mask file of one image."""
        return file_below(self.root / "SegmentationObject", f"{self.names[index]}.png")

    def _ids(self, path: Path) -> np.ndarray:
        """(H, W) int32 ids, void as -1. Raises BrokenScene naming the file."""
        if self.true_ids:
            ids, void = palette_indices(path, self.reading), VOID_INDEX
        else:
            colours = read_bgr_mask(path, self.reading, self.notes)
            ids, void = cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY).astype(np.int32), VOID_GRAY
        ids[ids == void] = IGNORE
        return ids


def palette_indices(path: Path, reading: ImageReading = AS_USUAL) -> np.ndarray:
    """(H, W) int32 palette indices of a PNG.

    Raises BrokenScene when it has no palette, because colours do not tell the ids then.
    """
    mask = read_mask_values(path, reading)
    if mask.palette is None:
        raise BrokenScene(f"{path}: has no palette; true_ids needs the original PNG of the VOC archive")
    return mask.values.astype(np.int32)


def _present(ids: np.ndarray) -> list[int]:
    """Object ids of a map, rising."""
    return np.unique(ids[ids > 0]).tolist()
