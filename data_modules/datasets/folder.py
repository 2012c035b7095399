"""Any folder of images and masks, for training and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from clicklab.records import IGNORE
from data_modules.formats.files import list_images, need_folder, need_same_size
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import note_turned, read_picture
from data_modules.formats.mask_files import read_mask_ids
from data_modules.formats.mask_looks import count_values
from data_modules.formats.mask_names import RULES, pair_masks
from data_modules.formats.mask_rules import MaskRules
from data_modules.formats.notes import shown
from data_modules.formats.regions import pack_layers, region_of
from data_modules.scenes import BrokenScene, Scene, SceneDataset, SceneObject


class Folder(SceneDataset):
    """`<root>/images/*` and `<root>/masks/*`, paired by name (`pair_masks`); one or several objects per image.

    The masks of `images/cat.jpg` are `masks/cat.png`, or `masks/cat_anything.png` (several such files are several
    objects and may overlap), or all files of the folder `masks/cat/`. A single id map keeps its own values as object
    ids; otherwise objects are numbered 1, 2, ... by file name, then value.
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
        threshold: float | None = None,
        smallest: int = 0,
        background: str | int | None = None,
        negatives: bool = False,
        reading: ImageReading = AS_USUAL,
    ) -> None:
        """Lists and pairs the files; warns about images without mask, masks without image and files passed over.

        Args:
            root: the folder.
            split: a subfolder of `root` that holds the two folders, such as "train"; None for `root` itself.
            kind, ignore_value, threshold, smallest, background: what the values of a mask mean, see
                `data_modules.formats.mask_files.MaskRules`.
            images: name of the folder of images.
            masks: name of the folder of masks.
            keep_apart: every so many-th image by name is kept apart, for looking at what training never saw; 0: none.
            apart: give those alone, instead of all others.
            negatives: images without mask, or with an empty one, are scenes without object (training samples without
                target) instead of being skipped.
            reading: how image and mask files are read.

        Raises:
            FileNotFoundError: a folder is missing, or no image has a mask.
            ValueError: an impossible option.
        """
        self.rules = MaskRules(kind, ignore_value, threshold, smallest, background)
        self.negatives, self.reading = negatives, reading
        parts = () if split is None else (split,)
        images_folder = need_folder(root, *parts, images, page=self.page)
        self.masks_folder = need_folder(root, *parts, masks, page=self.page)
        self.images = list_images(images_folder, self.notes)
        if not self.images:
            raise FileNotFoundError(f"{images_folder} holds no image files; {self.page}")
        self.masks, self._unpaired = pair_masks(self.images, self.masks_folder, self.notes)
        if keep_apart < 0 or (apart and not keep_apart):
            raise ValueError(f"keep_apart is {keep_apart}: apart=True wants a number, e.g. 50 for every 50th image")
        if keep_apart:
            self.images = [path for n, path in enumerate(self.images) if (n % keep_apart == keep_apart - 1) == apart]
        if not self.images:
            raise ValueError(
                f"{images_folder} has fewer than {keep_apart} images, so that none is kept apart: add some, or set "
                "keep_apart to a smaller number"
            )
        self._ids: dict[int, list[int]] = {}
        self._warn_unpaired(images_folder)

    def _warn_unpaired(self, images_folder: Path) -> None:
        bare = [] if self.negatives else [path.name for path in self.images if not self.masks[path.name]]
        if len(bare) == len(self.images):
            raise FileNotFoundError(f"none of the {len(bare)} images has a mask in {self.masks_folder}: {RULES}")
        loose = [path.name for path in self._unpaired]
        for names, text in ((bare, "images have no mask and are skipped"), (loose, "masks have no image")):
            if names:
                self.notes.add(text, f"{images_folder.parent}: {len(names)} {text}: {shown(names, 5)} ({RULES})")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Scene:
        image_path = self.images[index]
        maps = self._read_masks(index)
        picture = read_picture(image_path, self.reading, self.notes)
        note_turned(picture, image_path, self.reading, self.notes)
        image = picture.pixels
        for path, ids in maps:
            need_same_size(image, ids, image_path, path)
        if not maps:
            self._ids[index] = []
            return Scene(image, np.zeros((*image.shape[:2], 1), dtype=np.int32), {}, self.scene_name(index))
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
                found = [map_ids(ids) for _, ids in self._read_masks(index)]
            except BrokenScene:
                found = [[0]]
            # the ids of a single map stay, those of several are numbered through
            count = sum(len(ids) for ids in found)
            self._ids[index] = found[0] if len(found) == 1 else list(range(1, 1 + count))
        return self._ids[index]

    def _read_masks(self, index: int) -> list[tuple[Path, np.ndarray]]:
        """The mask files of one image with their (H, W) ids; none for an image that is a negative on purpose."""
        image = self.images[index]
        paths = self.masks[image.name]
        maps = [(path, read_mask_ids(path, self.rules, self.reading, self.notes)) for path in paths]
        if any((ids > 0).any() for _, ids in maps):
            return maps
        if self.negatives:
            return []
        if not paths:
            raise BrokenScene(f"{image}: no mask {image.stem}.* in {self.masks_folder}; negatives=true keeps it")
        raise BrokenScene(f"{paths[0]}: empty mask, no pixel belongs to an object; negatives=true keeps it")


def map_ids(ids: np.ndarray) -> list[int]:
    """Object ids of one map in rising order; a map without any counts as one empty object."""
    return count_values(ids, ids < 0 if ids.min() < 0 else None).values.tolist() or [1]


def merge_maps(maps: list[np.ndarray]) -> tuple[np.ndarray, dict[int, SceneObject]]:
    """One (H, W, L) int32 stack and its objects from the id maps of one image; -1 in any map is -1 in the stack."""
    if len(maps) == 1:
        return maps[0][..., None], {key: SceneObject(0) for key in map_ids(maps[0])}
    masks = [ids == value for ids in maps for value in map_ids(ids)]
    layers, layer_of = pack_layers([region_of(mask) for mask in masks], (maps[0].shape[0], maps[0].shape[1]))
    layers[np.any([ids == IGNORE for ids in maps], axis=0), 0] = IGNORE
    return layers, {key: SceneObject(layer) for key, layer in enumerate(layer_of, start=1)}
