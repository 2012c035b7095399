"""What GrabCut, Berkeley, DAVIS and COCO_MVal share: a folder of images, a folder of masks, one object per image."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_modules.formats.files import first_stem, list_images, need_folder, need_same_size
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import read_rgb
from data_modules.formats.official_masks import read_bgr_mask
from data_modules.scenes import BrokenScene, Scene, SceneDataset, SceneObject


class PairedMasks(SceneDataset):
    """One object per image, in the order of the file names; the mask is found by the image's name up to the first dot.

    A subclass names its two folders and says how the pixels of a mask become ids.
    """

    images_folder: ClassVar[str] = ""
    masks_folder: ClassVar[str] = ""

    def __init__(self, root: str | Path, reading: ImageReading = AS_USUAL) -> None:
        """Lists the files.

        Args:
            root: the folder that holds the two folders.
            reading: how image and mask files are read.

        Raises:
            FileNotFoundError: one of the two folders is missing or holds no image.
        """
        self.reading = reading
        images = need_folder(root, self.images_folder, page=self.page)
        masks = need_folder(root, self.masks_folder, page=self.page)
        self.root = images.parent
        self.images = list_images(images, self.notes)
        self.masks = {path.stem: path for path in list_images(masks, self.notes)}
        for folder, found in ((images, self.images), (masks, self.masks)):
            if not found:
                raise FileNotFoundError(f"{folder} holds no image files; the set comes from {self.page}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Scene:
        image_path = self.images[index]
        mask_path = self.masks.get(first_stem(image_path))
        if mask_path is None:
            raise BrokenScene(f"{image_path}: no mask {first_stem(image_path)}.* in {self.root / self.masks_folder}")
        image, mask = read_rgb(image_path, self.reading, self.notes), read_bgr_mask(mask_path, self.reading, self.notes)
        need_same_size(image, mask, image_path, mask_path)
        return Scene(image, self.ids(mask)[..., None], {1: SceneObject(layer=0)}, self.scene_name(index))

    def scene_name(self, index: int) -> str:
        return first_stem(self.images[index])

    def objects(self) -> list[tuple[int, int]]:
        return [(index, 1) for index in range(len(self))]

    def unpaired_masks(self) -> list[Path]:
        """Masks that no image belongs to."""
        used = {first_stem(path) for path in self.images}
        return [path for stem, path in self.masks.items() if stem not in used]

    @abstractmethod
    def ids(self, mask: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 mask in BGR -> (H, W) int32: 1 object, 0 background, -1 ignore."""
