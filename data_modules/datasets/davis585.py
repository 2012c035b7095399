"""DAVIS585: single frames of DAVIS 2017 with masks to start from (ClickSEG; docs/data.md#davis585)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_modules.formats.files import need_folder, need_same_size
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import read_rgb
from data_modules.formats.mat_files import LARGEST_ID
from data_modules.formats.official_masks import read_bgr_mask
from data_modules.formats.regions import Region, pack_layers, region_of
from data_modules.scenes import Scene, SceneDataset, SceneObject

OBJECT_FILE = re.compile(r"object(\d+)_(.+)\.png")
INITIAL = ("sp", "stm", "zero")
THRESHOLD = 128


class DAVIS585(SceneDataset):
    """One folder per sequence below the root (or its folder `data`): `<frame>.jpg`, `object<j>_<frame>.png`,
    `init_sp_object<j>_<frame>.png`, `init_stm_object<j>_<frame>.png`; in every mask channel 0 above 128 is the object.

    A scene is one frame, an item one object of it. The published reader takes files in the order the disk lists them;
    here they are sorted. The view is the usual one (the official evaluation of this set has no DAVIS exception).
    An evaluation starts from the initial masks only where it is told to (`evaluate --initial-masks`).
    """

    name = "DAVIS585"
    page = "the ClickSEG repository (github.com/XavierCHEN34/ClickSEG, 'Datasets')"
    licence = "research use (DAVIS 2017)"
    published: ClassVar[Mapping[str, int]] = {"objects": 585}

    def __init__(self, root: str | Path | None, initial: str = "sp", reading: ImageReading = AS_USUAL) -> None:
        """Lists the sequences.

        Args:
            root: the folder DAVIS585.
            initial: masks to start from: "sp" (superpixels added and removed until the IoU is 0.75 to 0.85), "stm" (a
                video network), "zero" (none).
            reading: how image and mask files are read.

        Raises:
            FileNotFoundError: the folder is missing or holds no `object<j>_<frame>.png`.
            ValueError: unknown kind of initial masks, or an object number of more than five digits.
        """
        if initial not in INITIAL:
            raise ValueError(f"DAVIS585 has no initial masks {initial!r}; give one of {', '.join(INITIAL)}")
        self.initial, self.reading = initial, reading
        folder = need_folder(root, page=self.page)
        self.root = folder / "data" if (folder / "data").is_dir() else folder
        frames: dict[tuple[str, str], list[int]] = {}
        for path in sorted(self.root.glob("*/object*.png")):
            if match := OBJECT_FILE.fullmatch(path.name):
                if len(match[1]) > len(str(LARGEST_ID)):
                    raise ValueError(f"{path}: object number {match[1][:20]} is too large; number objects 1, 2, ...")
                frames.setdefault((path.parent.name, match[2]), []).append(int(match[1]))
        if not frames:
            raise FileNotFoundError(
                f"{self.root} has no folders with object<j>_<frame>.png; the set comes from {self.page}"
            )
        # ids start at 1, also where a release counts objects from 0
        self.first = 1 if any(0 in numbers for numbers in frames.values()) else 0
        self.frames = [(*key, tuple(sorted(numbers))) for key, numbers in sorted(frames.items())]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Scene:
        sequence, frame, numbers = self.frames[index]
        image_path = self.root / sequence / f"{frame}.jpg"
        image = read_rgb(image_path, self.reading, self.notes)
        masks = [self._mask(image, image_path, f"object{number}_{frame}.png") for number in numbers]
        regions = [region_of(mask) for mask in masks]
        layers, layer_of = pack_numbered(regions, [number + self.first for number in numbers], image.shape[:2])
        objects = {number + self.first: SceneObject(layer) for number, layer in zip(numbers, layer_of, strict=True)}
        initial = None
        if self.initial != "zero":
            prefix = f"init_{self.initial}_object"
            names = {n: f"{prefix}{n}_{frame}.png" for n in numbers}  # who does not ask for them need not have them
            initial = {
                n + self.first: self._mask(image, image_path, name)
                for n, name in names.items()
                if image_path.with_name(name).exists()
            }
        return Scene(image, layers, objects, self.scene_name(index), initial)

    def scene_name(self, index: int) -> str:
        sequence, frame, _ = self.frames[index]
        return f"{sequence}_{frame}"

    def objects(self) -> list[tuple[int, int]]:
        return [(index, number + self.first) for index, (_, _, numbers) in enumerate(self.frames) for number in numbers]

    def _mask(self, image: np.ndarray, image_path: Path, name: str) -> np.ndarray:
        """(H, W) bool mask that lies beside the image. Raises BrokenScene."""
        path = image_path.with_name(name)
        mask = read_bgr_mask(path, self.reading, self.notes)
        need_same_size(image, mask, image_path, path)
        return mask[..., 0] > THRESHOLD


def pack_numbered(
    regions: list[Region | None], numbers: list[int], size: tuple[int, ...]
) -> tuple[np.ndarray, list[int]]:
    """`pack_layers` with ids of the caller's choice."""
    layers, layer_of = pack_layers(regions, (size[0], size[1]))
    return np.array([0, *numbers], dtype=np.int32)[layers], layer_of
