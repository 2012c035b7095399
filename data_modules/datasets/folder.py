"""Any folder of images and masks, for training and evaluation."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np

from clicklab.records import IGNORE
from data_modules.formats.files import list_images, need_folder, need_same_size, read_rgb
from data_modules.formats.mask_files import KINDS, read_mask_ids
from data_modules.formats.regions import pack_layers, region_of
from data_modules.scenes import BrokenScene, Scene, SceneDataset, SceneObject

SEPARATORS = "_-. "


class Folder(SceneDataset):
    """`<root>/images/*` and `<root>/masks/*`, paired by name; one or several objects per image.

    The masks of `images/cat.jpg` are `masks/cat.png`, or `masks/cat_anything.png` (`_`, `-`, `.` or a blank after the
    name; several such files are several objects and may overlap), or all files of the folder `masks/cat/`. A single
    id map keeps its own values as object ids; otherwise objects are numbered 1, 2, ... by file name, then value.
    """

    name = "Folder"
    page: ClassVar[str] = "your own images: put them into images/ and their masks, under the same names, into masks/"
    licence: ClassVar[str] = "that of the images"

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        kind: str = "auto",
        ignore_value: int | None = None,
        images: str = "images",
        masks: str = "masks",
        keep_apart: int = 0,
        apart: bool = False,
    ) -> None:
        """Lists and pairs the files; warns about images without mask and masks without image.

        Args:
            root: the folder.
            split: a subfolder of `root` that holds the two folders, such as "train"; None for `root` itself.
            kind: what the values of a mask mean, see `read_mask_ids`: "binary", "ids" or "auto".
            ignore_value: mask pixels of this value are ignored (255 in Pascal VOC, 128 in GrabCut).
            images: name of the folder of images.
            masks: name of the folder of masks.
            keep_apart: every so many-th image by name is kept apart, for looking at what training never saw; 0: none.
            apart: give those alone, instead of all others.
        """
        if kind not in KINDS:
            raise ValueError(f"Folder: kind is {kind!r}; give one of {', '.join(KINDS)}")
        if not isinstance(ignore_value, (int, type(None))):
            raise ValueError(f"Folder: ignore_value is {ignore_value!r}; give the value of the pixels to be ignored")
        if ignore_value == 0:
            raise ValueError("Folder: ignore_value=0 would ignore the background; give the value of the border pixels")
        parts = () if split is None else (split,)
        images_folder = need_folder(root, *parts, images, page=self.page)
        self.masks_folder = need_folder(root, *parts, masks, page=self.page)
        self.kind, self.ignore_value = kind, ignore_value
        self.images = list_images(images_folder)
        if not self.images:
            raise FileNotFoundError(f"{images_folder} holds no image files; {self.page}")
        self.masks, self._unpaired = pair_masks(self.images, self.masks_folder)
        if keep_apart:
            self.images = [path for n, path in enumerate(self.images) if (n % keep_apart == keep_apart - 1) == apart]
        self._ids: dict[int, list[int]] = {}
        self._warn_unpaired(images_folder)

    def _warn_unpaired(self, images_folder: Path) -> None:
        bare = [path.name for path in self.images if not self.masks[path.name]]
        if len(bare) == len(self.images):
            raise FileNotFoundError(
                f"none of the {len(bare)} images in {images_folder} has a mask in {self.masks_folder}; {self.page}"
            )
        loose = [path.name for path in self._unpaired]
        for names, text in ((bare, "images have no mask and are skipped"), (loose, "masks have no image")):
            if names:
                shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                warnings.warn(f"{images_folder.parent}: {len(names)} {text}: {shown}", stacklevel=3)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Scene:
        image_path = self.images[index]
        maps = self._read_masks(index)
        image = read_rgb(image_path)
        for path, ids in maps:
            need_same_size(image, ids, image_path, path)
        layers, objects = merge_maps([ids for _, ids in maps])
        self._ids[index] = list(objects)
        return Scene(image, layers, objects, self.scene_name(index))

    def scene_name(self, index: int) -> str:
        return self.images[index].stem

    def objects(self) -> list[tuple[int, int]]:
        return [(index, key) for index in range(len(self)) for key in self._object_ids(index)]

    def unpaired_masks(self) -> list[Path]:
        """Masks that no image belongs to."""
        return self._unpaired

    def _object_ids(self, index: int) -> list[int]:
        """Ids of one image, from its masks alone; [0] when they cannot be read."""
        if index not in self._ids:
            try:
                maps = [ids for _, ids in self._read_masks(index)]
                self._ids[index] = list(range(1, 1 + sum(len(map_ids(ids)) for ids in maps)))
                if len(maps) == 1:
                    self._ids[index] = map_ids(maps[0])
            except BrokenScene:
                self._ids[index] = [0]
        return self._ids[index]

    def _read_masks(self, index: int) -> list[tuple[Path, np.ndarray]]:
        image = self.images[index]
        paths = self.masks[image.name]
        if not paths:
            raise BrokenScene(f"{image}: no mask {image.stem}.* in {self.masks_folder}")
        maps = [(path, read_mask_ids(path, self.kind, self.ignore_value)) for path in paths]
        if not any((ids > 0).any() for _, ids in maps):
            raise BrokenScene(f"{paths[0]}: empty mask, no pixel belongs to an object")
        return maps


def pair_masks(images: list[Path], folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Image file name -> its mask files (maybe none); and the masks that belong to no image."""
    by_stem: dict[str, list[Path]] = {image.stem: [] for image in images}
    loose = []
    for path in list_images(folder):
        owner = _owner(path.stem, by_stem)
        (loose if owner is None else by_stem[owner]).append(path)
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        if subfolder.name in by_stem:
            by_stem[subfolder.name] += list_images(subfolder)
        else:
            loose += list_images(subfolder)
    return {image.name: by_stem[image.stem] for image in images}, loose


def _owner(stem: str, stems: dict[str, list[Path]]) -> str | None:
    """The image stem that a mask stem belongs to: the same, or the longest that it starts with before a separator."""
    if stem in stems:
        return stem
    cuts = (stem[:position] for position in range(len(stem) - 1, 0, -1) if stem[position] in SEPARATORS)
    return next((cut for cut in cuts if cut in stems), None)


def map_ids(ids: np.ndarray) -> list[int]:
    """Object ids of one map in rising order; a map without any counts as one empty object."""
    found = np.unique(ids)
    return found[found > 0].tolist() or [1]


def merge_maps(maps: list[np.ndarray]) -> tuple[np.ndarray, dict[int, SceneObject]]:
    """One (H, W, L) int32 stack and its objects from the id maps of one image; -1 in any map is -1 in the stack."""
    if len(maps) == 1:
        return maps[0][..., None], {key: SceneObject(0) for key in map_ids(maps[0])}
    masks = [ids == value for ids in maps for value in map_ids(ids)]
    layers, layer_of = pack_layers([region_of(mask) for mask in masks], (maps[0].shape[0], maps[0].shape[1]))
    layers[np.any([ids == IGNORE for ids in maps], axis=0), 0] = IGNORE
    return layers, {key: SceneObject(layer) for key, layer in enumerate(layer_of, start=1)}
