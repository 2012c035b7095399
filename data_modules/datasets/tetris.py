"""TETRIS: large photos with several objects each, on which RClicks measures with realistic clicks.

Source: docs/data.md#tetris.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from data_modules.formats.files import list_images, need_folder, need_same_size
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import read_rgb
from data_modules.formats.official_masks import read_bgr_mask
from data_modules.scenes import BrokenScene, Scene, SceneDataset, SceneObject

BYTES = np.array([65536, 256, 1], dtype=np.int32)  # an id is its colour, blue highest (channels in OpenCV's order)


class TETRIS(SceneDataset):
    """`images/*` and `masks/<image name>.png`: every colour but black is an object; nothing is ignored.

    As in the published reader, images with a longer side above `max_side` are shrunk to it, and each object with them.
    """

    name = "TETRIS"
    page = "the RClicks repository (github.com/emb-ai/rclicks, 'Data')"
    licence = "research use, see the page"
    published: ClassVar[Mapping[str, int]] = {"objects": 2531}

    def __init__(self, root: str | Path | None, max_side: int = 2048, reading: ImageReading = AS_USUAL) -> None:
        """Lists the images.

        Args:
            root: the folder that holds `images` and `masks`.
            max_side: longest side in pixels that an image keeps; 0: all keep their size.
            reading: how image and mask files are read.

        Raises:
            FileNotFoundError: a folder is missing or holds no image.
            ValueError: a negative `max_side`.
        """
        if max_side < 0:
            raise ValueError(f"TETRIS: max_side is {max_side}, expected pixels, or 0 for images as they are")
        self.max_side, self.reading = max_side, reading
        folder = need_folder(root, "images", page=self.page)
        self.images = list_images(folder, self.notes)
        self.masks = need_folder(root, "masks", page=self.page)
        if not self.images:
            raise FileNotFoundError(f"{folder} holds no image files; the set comes from {self.page}")
        self._objects: list[tuple[int, int]] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Scene:
        image_path = self.images[index]
        image, colours = read_rgb(image_path, self.reading, self.notes), self._colours(image_path)
        need_same_size(image, colours, image_path, self._mask_path(image_path))
        image, colours = shrunk(image, colours, self.max_side)
        # ids are colours of up to 24 bits; scenes count them from 1, in rising order
        found = np.unique(colours)
        found = found[found > 0]
        ids = np.where(colours > 0, np.searchsorted(found, colours) + 1, 0).astype(np.int32)
        return Scene(image, ids[..., None], {n + 1: SceneObject(0) for n in range(len(found))}, self.scene_name(index))

    def scene_name(self, index: int) -> str:
        return self.images[index].stem

    def objects(self) -> list[tuple[int, int]]:
        if self._objects is None:  # every mask has to be read for it
            self._objects = [(index, number) for index in range(len(self)) for number in self._numbers(index)]
        return self._objects

    def _numbers(self, index: int) -> list[int]:
        """Ids of an image's objects; 1 where its mask cannot be read: an object that is then said to be broken."""
        try:
            return sorted(self[index].objects)
        except BrokenScene:
            return [1]

    def _mask_path(self, image_path: Path) -> Path:
        return self.masks / f"{image_path.stem}.png"

    def _colours(self, image_path: Path) -> np.ndarray:
        """(H, W) int32 colours of the mask. Raises BrokenScene."""
        path = self._mask_path(image_path)
        if not path.exists():
            raise BrokenScene(f"{image_path}: its mask {path} is missing")
        return (read_bgr_mask(path, self.reading, self.notes).astype(np.int32) * BYTES).sum(axis=2, dtype=np.int32)


def shrunk(image: np.ndarray, colours: np.ndarray, max_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and objects with a longer side of at most `max_side`, bilinear; where two meet, the higher id wins."""
    height, width = colours.shape
    longer = max(height, width)
    if not 0 < max_side < longer:
        return image, colours
    size = [int(side / longer * max_side + 0.5) for side in (width, height)]
    small = np.zeros((size[1], size[0]), dtype=np.int32)
    for colour in np.unique(colours)[np.unique(colours) > 0]:
        covered = cv2.resize((colours == colour).astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)
        small[covered > 0] = colour
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), small
