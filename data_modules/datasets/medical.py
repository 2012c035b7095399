"""Medical sets of SimpleClick's paper: ssTEM, BraTS, OAIZIB (docs/data.md#medical-sets). They are reported at 80 %
(NoC@80).

All three store slices and masks as images of the same name; channel 0 of a mask counts, nothing is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from data_modules.datasets.pairs import PairedMasks
from data_modules.formats.files import first_stem, need_folder
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.official_masks import read_bgr_mask
from data_modules.scenes import BrokenScene, Scene, SceneObject

SIMPLECLICK_PAGE = "the data section of the SimpleClick repository (github.com/uncbiag/SimpleClick)"


class BraTS(PairedMasks):
    """`image/*.png` and `annotation/*.png`: everything above 0 is the one object (whole tumour of a slice)."""

    name = "BraTS"
    page = f"BraTS 2020 slices as in {SIMPLECLICK_PAGE}; the scans come from the BraTS challenge"
    licence = "terms of the BraTS challenge"
    published: ClassVar[Mapping[str, int]] = {"images": 369, "objects": 369}
    images_folder = "image"
    masks_folder = "annotation"

    def ids(self, mask: np.ndarray) -> np.ndarray:
        return (mask[..., 0] > 0).astype(np.int32)


class LabelledMasks(PairedMasks):
    """Several objects per image: every id that occurs in the mask is one, in rising order."""

    def __getitem__(self, index: int) -> Scene:
        scene = super().__getitem__(index)
        return replace(scene, objects={key: SceneObject(layer=0) for key in _present(scene.layers)})

    def objects(self) -> list[tuple[int, int]]:
        listed = []
        for index, image in enumerate(self.images):
            try:
                path = self.masks.get(first_stem(image))
                listed += (
                    [(index, key) for key in _present(self.ids(read_bgr_mask(path, self.reading, self.notes)))]
                    if path
                    else [(index, 0)]
                )
            except BrokenScene:
                listed.append((index, 0))
        return listed


class ssTEM(LabelledMasks):
    """`raw/*.tif` and `mitochondria/*.png` of stack1: every connected component of non-zero pixels is one
    mitochondrion.

    Components are 8-connected. The published reader means 4, but passes it where OpenCV expects something else, so
    its 389 objects are 8-connected ones (4 gives 391). Soft edge values (1 to 127) count as object, as published.
    """

    name = "ssTEM"
    page = "github.com/unidesigner/groundtruth-drosophila-vnc (folder stack1)"
    licence = "CC BY-NC-SA 3.0"
    published: ClassVar[Mapping[str, int]] = {"images": 20, "objects": 389}
    images_folder = "raw"
    masks_folder = "mitochondria"

    def __init__(self, root: str | Path, connectivity: int = 8, reading: ImageReading = AS_USUAL) -> None:
        """Lists the files.

        Args:
            root: the folder that holds raw and mitochondria, or stack1 with both.
            connectivity: 8 or 4, which pixels belong together.
            reading: how image and mask files are read.

        Raises:
            ValueError: another connectivity.
            FileNotFoundError: a folder is missing or holds no image.
        """
        if connectivity not in (4, 8):
            raise ValueError(f"connectivity is {connectivity}: give 8 (as published) or 4")
        self.connectivity = connectivity
        folder = need_folder(root, page=self.page)
        super().__init__(folder / "stack1" if (folder / "stack1").is_dir() else folder, reading)

    def ids(self, mask: np.ndarray) -> np.ndarray:
        _, labels = cv2.connectedComponents(np.ascontiguousarray(mask[..., 0]), connectivity=self.connectivity)
        return labels.astype(np.int32)


class OAIZIB(LabelledMasks):
    """`<split>/image/*.png` and `<split>/annotations/*.png`: every non-zero value is one object (femoral and tibial
    cartilage)."""

    name = "OAIZIB"
    page = f"OAI-ZIB slices as in {SIMPLECLICK_PAGE}; the scans come from the OAI, their masks from ZIB"
    licence = "terms of the Osteoarthritis Initiative"
    published: ClassVar[Mapping[str, int]] = {"test images": 150}
    splits: ClassVar[tuple[str, ...]] = ("test",)
    images_folder = "image"
    masks_folder = "annotations"

    def __init__(self, root: str | Path, split: str = "test", reading: ImageReading = AS_USUAL) -> None:
        """Lists one split.

        Args:
            root: the folder that holds the splits.
            split: train, val or test.
            reading: how image and mask files are read.

        Raises:
            ValueError: another split.
            FileNotFoundError: its folder is missing or holds no image.
        """
        if split not in ("train", "val", "test"):
            raise ValueError(f"OAIZIB has no split {split!r}; give train, val or test")
        self.split = split
        super().__init__(need_folder(root, split, page=self.page), reading)

    def ids(self, mask: np.ndarray) -> np.ndarray:
        return mask[..., 0].astype(np.int32)


def _present(ids: np.ndarray) -> list[int]:
    """Object ids of a map, rising."""
    return np.unique(ids[ids > 0]).tolist()
