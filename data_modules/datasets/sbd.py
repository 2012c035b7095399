"""SBD, the Semantic Boundaries Dataset: instances of 11 355 Pascal images (docs/data.md#sbd)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.ndimage import find_objects

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
from data_modules.formats.mat_files import read_mat, small_ids
from data_modules.formats.notes import brief
from data_modules.scenes import BrokenScene, Scene, SceneDataset, SceneObject

BUGGY_FILL = 0.08


class SBD(SceneDataset):
    """`img/<name>.jpg`, `inst/<name>.mat` and `<split>.txt` in the root, or in its folder `dataset` as in the archive.

    Training drops objects that fill less than 8 % of their box (`min_fill`); evaluation keeps all, one item per
    instance in the order of the list and of rising ids. No pixel is ignored.
    """

    name = "SBD"
    page: ClassVar[str] = (
        "the SBD page of Hariharan et al. ('Semantic Boundaries Dataset and Benchmark', benchmark.tgz)"
    )
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "train_noval")
    licence: ClassVar[str] = "images: terms of Flickr; research use"
    published: ClassVar[Mapping[str, int]] = {
        "train images": 8498,
        "train objects": 20172,
        "val images": 2857,
        "val objects": 6671,
        "train_noval images": 5623,
    }

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        min_fill: float | None = None,
        reading: ImageReading = AS_USUAL,
    ) -> None:
        """Reads the list of names.

        Args:
            root: the folder that holds img, inst and the lists.
            split: train (8498 images), val (2857), or train_noval (5623: without any image of VOC 2012 val; a separate
                download, used by none of the papers).
            min_fill: objects with area / box area below this are dropped; None means 0.08 for training splits and 0
                (all stay) for val, as in the official code.
            reading: how image files are read.

        Raises:
            FileNotFoundError: a folder or the list of the split is missing.
            ValueError: unknown split, or a list that is empty, no UTF-8 text or leads out of the folder.
        """
        if split not in self.splits:
            raise ValueError(f"SBD has no split {split!r}; the splits are {', '.join(self.splits)}")
        self.root = need_folder(root, page=self.page)
        if not (self.root / "img").is_dir() and (self.root / "dataset").is_dir():
            self.root = self.root / "dataset"
        for folder in ("img", "inst"):
            need_folder(self.root, folder, page=self.page)
        listed = need_file(self.root, f"{split}.txt", page=self.page)
        self.names = read_list(listed)
        need_all_inside(self.names, listed)
        self.split, self.reading = split, reading
        self.min_fill = min_fill if min_fill is not None else (0.0 if split == "val" else BUGGY_FILL)
        self._ids: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Scene:
        name = self.names[index]
        image_path = file_below(self.root / "img", f"{name}.jpg")
        ids = self._instances(index)
        image = read_rgb(image_path, self.reading, self.notes)
        need_same_size(image, ids, image_path, self.annotation(index))
        return Scene(image, ids[..., None], {key: SceneObject(0) for key in self._ids[index]}, name)

    def scene_name(self, index: int) -> str:
        return self.names[index]

    def objects(self) -> list[tuple[int, int]]:
        listed = []
        for index in range(len(self)):
            if index not in self._ids:
                try:
                    self._instances(index)
                except BrokenScene:
                    self._ids[index] = [0]
            listed += [(index, key) for key in self._ids[index]]
        return listed

    def annotation(self, index: int) -> Path:
        """The .mat file of one image."""
        return file_below(self.root / "inst", f"{self.names[index]}.mat")

    def _instances(self, index: int) -> np.ndarray:
        """(H, W) int32 instance ids without the dropped objects; notes the ids that are left."""
        ids = read_instances(self.annotation(index))
        drop = thin_objects(ids, self.min_fill) if self.min_fill > 0 else []
        ids[np.isin(ids, drop)] = 0
        self._ids[index] = (np.flatnonzero(np.bincount(ids.ravel())[1:]) + 1).tolist()
        return ids


def read_instances(path: Path) -> np.ndarray:
    """(H, W) int32 instance ids of an `inst` file, 0 background. Raises BrokenScene naming the file."""
    struct = read_mat(path, "GTinst")
    try:
        ids = np.asarray(struct["Segmentation"][0, 0])
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise BrokenScene(f"{path}: not an SBD instance annotation ({brief(error)})") from error
    if ids.ndim != 2 or ids.size == 0:
        raise BrokenScene(f"{path}: GTinst.Segmentation is not an id map (shape {ids.shape})")
    return small_ids(ids, path)


def thin_objects(ids: np.ndarray, min_fill: float) -> list[int]:
    """Ids with less than `min_fill` of their bounding box filled: broken masks, by the official rule."""
    areas = np.bincount(ids.ravel())
    thin = []
    for key, place in enumerate(find_objects(ids), start=1):
        if place is not None:
            rows, columns = place
            box = (rows.stop - rows.start) * (columns.stop - columns.start)
            if areas[key] / box < min_fill:
                thin.append(key)
    return thin
