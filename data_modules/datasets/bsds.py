"""BSDS500: several annotators' segmentations as overlapping regions with a hierarchy (docs/data.md#bsds500).

Regions are segments (sky, grass, a sleeve), not objects, but real, dense and nested: a random pixel lies in about two
of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_modules.formats.bsds_regions import Regions, extract_regions
from data_modules.formats.files import list_images, need_folder, need_same_size
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import read_rgb
from data_modules.formats.mat_files import read_mat, small_ids
from data_modules.formats.notes import brief
from data_modules.scenes import BrokenScene, Scene, SceneDataset


class BSDS500(SceneDataset):
    """`data/images/<split>/*.jpg` and `data/groundTruth/<split>/*.mat` below the root; every kept region is an object.

    99 images of BSDS500 are test images of Berkeley or GrabCut. They are left out unless asked for, because training
    on them would spoil those benchmarks; `bsds500_free.txt` lists the 401 others (155 train, 46 val, 200 test).
    """

    name = "BSDS500"
    page: ClassVar[str] = (
        "the BSDS500 page of the Berkeley Computer Vision Group ('Contour Detection and Image Segmentation Resources')"
    )
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    licence: ClassVar[str] = "non-commercial research and education"
    published: ClassVar[Mapping[str, int]] = {
        "train images": 155,
        "train objects": 4892,
        "val images": 46,
        "val objects": 1715,
        "test images": 200,
        "test objects": 7252,
    }

    def __init__(
        self,
        root: str | Path,
        split: str = "test",
        include_benchmark_images: bool = False,
        min_share: float = 0.002,
        max_share: float = 0.6,
        duplicate_iou: float = 0.7,
        reading: ImageReading = AS_USUAL,
    ) -> None:
        """Lists the images; annotations are read on demand and kept compressed.

        Args:
            root: the folder BSDS500 (it holds `data`).
            split: train, val or test, or several joined by + ("train+test").
            include_benchmark_images: also the images of Berkeley and GrabCut, with a warning.
            min_share: regions below this share of the image are dropped.
            max_share: regions above this share of the image are dropped.
            duplicate_iou: of regions of different annotators that overlap more than this, the largest stays.
            reading: how image files are read.

        Raises:
            FileNotFoundError: a folder is missing, or no image is left.
            ValueError: unknown split.
        """
        wanted = split.split("+")
        if unknown := [part for part in wanted if part not in self.splits]:
            raise ValueError(
                f"BSDS500 has no split {unknown[0]!r}; give one of {', '.join(self.splits)}, or several joined by +"
            )
        self.split, self.reading = split, reading
        self.min_share, self.max_share, self.duplicate_iou = min_share, max_share, duplicate_iou
        self.images: list[Path] = []
        for part in wanted:
            self.images += list_images(need_folder(root, "data", "images", part, page=self.page), self.notes)
            need_folder(root, "data", "groundTruth", part, page=self.page)
        self.left_out = self._leave_out_benchmarks(include_benchmark_images)
        if not self.images:
            raise FileNotFoundError(
                f"no usable images in {Path(root) / 'data' / 'images'} ({split}); the set comes from {self.page}"
            )
        self._regions: dict[int, Regions] = {}

    def _leave_out_benchmarks(self, include: bool) -> list[str]:
        """Drops images of Berkeley and GrabCut from the list and says so; returns their names."""
        free = free_ids()
        # the set's own names are numbers: other images are no part of it
        benchmark = [path.stem for path in self.images if path.stem.isdigit() and path.stem not in free]
        if not benchmark:
            return []
        if include:
            warnings.warn(
                f"BSDS500 ({self.split}): {len(benchmark)} images belong to Berkeley or GrabCut; "
                "a model trained on them must not be reported on those two",
                stacklevel=3,
            )
            return []
        warnings.warn(
            f"BSDS500 ({self.split}): {len(benchmark)} images of Berkeley and GrabCut are left out, "
            "so that these stay clean tests; include_benchmark_images=True brings them back",
            stacklevel=3,
        )
        self.images = [path for path in self.images if path.stem not in benchmark]
        return benchmark

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Scene:
        image = read_rgb(self.images[index], self.reading, self.notes)
        regions = self.regions(index)
        layers = regions.layers()
        need_same_size(image, layers, self.images[index], self.annotation(index))
        return Scene(image, layers, regions.objects, self.scene_name(index))

    def scene_name(self, index: int) -> str:
        return self.images[index].stem

    def objects(self) -> list[tuple[int, int]]:
        listed = []
        for index in range(len(self)):
            try:
                listed += [(index, key) for key in self.regions(index).objects]
            except BrokenScene:
                listed.append((index, 0))
        return listed

    def regions(self, index: int) -> Regions:
        """The regions of one image, extracted once. Raises BrokenScene naming the annotation file."""
        if index not in self._regions:
            path = self.annotation(index)
            segmentations = read_segmentations(path)
            self._regions[index] = extract_regions(segmentations, self.min_share, self.max_share, self.duplicate_iou)
        return self._regions[index]

    def annotation(self, index: int) -> Path:
        """The .mat file of one image."""
        image = self.images[index]
        return image.parents[2] / "groundTruth" / image.parent.name / f"{image.stem}.mat"


def free_ids() -> frozenset[str]:
    """Names of the 401 images of BSDS500 that are neither in Berkeley nor in GrabCut."""
    return frozenset(Path(__file__).with_name("bsds500_free.txt").read_text(encoding="ascii").split())


def read_segmentations(path: Path) -> np.ndarray:
    """(K, H, W) int32 label maps of the K annotators, labels from 1. Raises BrokenScene naming the file."""
    annotators = read_mat(path, "groundTruth")
    try:
        maps = np.stack([entry["Segmentation"][0, 0] for entry in annotators.ravel()])
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise BrokenScene(f"{path}: not a BSDS500 annotation ({brief(error)})") from error
    if maps.ndim != 3:
        raise BrokenScene(f"{path}: its segmentations are no label maps (shape {maps.shape})")
    return small_ids(maps, path)
