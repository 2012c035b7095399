"""HQSeg-44K: six collections of finely cut objects (HQ-SAM), as SegNext and later work train and measure on them.

Source: docs/data.md#hqseg44k.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_modules.formats.files import need_folder, need_same_size
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import read_rgb
from data_modules.formats.official_masks import read_bgr_mask
from data_modules.scenes import BrokenScene, Scene, SceneDataset, SceneObject

THIN = "thin_object_detection"
# split -> (printed name, folder of the images, folder of the masks), in the official order
PARTS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "train": (
        ("DIS5K-TR", "DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt"),
        ("ThinObject5k-TR", f"{THIN}/ThinObject5K/images_train", f"{THIN}/ThinObject5K/masks_train"),
        ("FSS", "cascade_psp/fss_all", "cascade_psp/fss_all"),
        ("DUTS-TR", "cascade_psp/DUTS-TR", "cascade_psp/DUTS-TR"),
        ("DUTS-TE", "cascade_psp/DUTS-TE", "cascade_psp/DUTS-TE"),
        ("ECSSD", "cascade_psp/ecssd", "cascade_psp/ecssd"),
        ("MSRA10K", "cascade_psp/MSRA_10K", "cascade_psp/MSRA_10K"),
    ),
    "val": (
        ("DIS5K-VD", "DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"),
        ("ThinObject5k-TE", f"{THIN}/ThinObject5K/images_test", f"{THIN}/ThinObject5K/masks_test"),
        ("COIFT", f"{THIN}/COIFT/images", f"{THIN}/COIFT/masks"),
        ("HRSOD", f"{THIN}/HRSOD/images", f"{THIN}/HRSOD/masks_max255"),
    ),
}  # fmt: skip


class HQSeg44K(SceneDataset):
    """One object per image: everything above 0 in any channel of `<image name>.png`; nothing is ignored.

    Images are the `.jpg` files of each part, sorted by name, parts in the official order: 44 320 for training, 1 537
    for measuring. The view is the usual one.
    """

    name = "HQSeg44K"
    page = "huggingface.co/sam-hq-team/sam-hq-training, folder data (DIS5K, thin_object_detection, cascade_psp)"
    licence = "of each part; DIS5K and most others: research only"
    published: ClassVar[Mapping[str, int]] = {"train objects": 44320, "val objects": 1537}
    splits: ClassVar[tuple[str, ...]] = ("train", "val")

    def __init__(self, root: str | Path | None, split: str = "val", reading: ImageReading = AS_USUAL) -> None:
        """Lists the images.

        Args:
            root: the folder that holds `DIS5K`, `thin_object_detection` and, for training, `cascade_psp`.
            split: "train" or "val".
            reading: how image and mask files are read.

        Raises:
            FileNotFoundError: a part is missing or holds no `.jpg`; a number over fewer parts would be another one.
            ValueError: unknown split.
        """
        if split not in PARTS:
            raise ValueError(f"HQSeg44K has no split {split!r}; give one of {', '.join(PARTS)}")
        self.reading, self.split = reading, split
        self.files: list[tuple[str, Path, Path]] = []
        for part, image_folder, mask_folder in PARTS[split]:
            images, masks = (
                need_folder(root, image_folder, page=self.page),
                need_folder(root, mask_folder, page=self.page),
            )
            found = sorted(images.glob("*.jpg"))
            if not found:
                raise FileNotFoundError(f"{images} ({part}) holds no .jpg files; the set comes from {self.page}")
            self.files += [(part, path, masks / f"{path.stem}.png") for path in found]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Scene:
        _, image_path, mask_path = self.files[index]
        if not mask_path.exists():
            raise BrokenScene(f"{image_path}: its mask {mask_path} is missing")
        image, mask = read_rgb(image_path, self.reading, self.notes), read_bgr_mask(mask_path, self.reading, self.notes)
        need_same_size(image, mask, image_path, mask_path)
        ids = (mask.max(axis=2) > 0).astype(np.int32)
        return Scene(image, ids[..., None], {1: SceneObject(layer=0)}, self.scene_name(index))

    def scene_name(self, index: int) -> str:
        part, image_path, _ = self.files[index]
        return f"{part}_{image_path.stem}"

    def objects(self) -> list[tuple[int, int]]:
        return [(index, 1) for index in range(len(self))]
