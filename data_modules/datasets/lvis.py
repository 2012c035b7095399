"""LVIS v1 and v0.5: COCO images with many more, smaller and nested objects (docs/data.md#lvis)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from data_modules.datasets.instances import InstanceScenes
from data_modules.formats.files import file_below, need_file, need_folder
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.instance_index import name_from_url
from data_modules.formats.rasterise import segmentation_fault
from data_modules.formats.regions import Region, region_of

V1_FILES = ("lvis_v1_{split}.json",)
V05_FILES = ("lvis_v0.5_{split}.json", "lvis_{split}.json")
FOLDERS = {
    "train2017": ("train/images", "train2017", "images/train2017"),
    "val2017": ("val/images", "val2017", "images/val2017"),
}


class LVIS(InstanceScenes):
    """`<split>/lvis_v1_<split>.json` and `{train,val}/images/*.jpg` (layout of RITM and SimpleClick), or the plain one:
    `annotations/lvis_v1_<split>.json` and `{train,val}2017/*.jpg`.

    An image is looked for in the folder that its `coco_url` names, because LVIS v1 val holds images of train2017.

    RITM's own LVIS reader has no layers: it shuffles the objects and drops those that overlap earlier ones by more
    than half. Here every object is kept; no published configuration trains on LVIS alone.
    """

    name = "LVIS"
    page = "lvisdataset.org ('Dataset'); the images are those of COCO 2017"
    licence = "annotations CC BY 4.0; images: terms of Flickr"
    published: ClassVar[Mapping[str, int]] = {"train objects": 1270141, "val objects": 244707}
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    files: ClassVar[tuple[str, ...]] = V1_FILES

    def __init__(
        self,
        root: str | Path | None,
        split: str = "val",
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        polygons: Literal["fill_poly", "coco_api", "lvis"] = "fill_poly",
        negatives: bool = False,
        reading: ImageReading = AS_USUAL,
    ) -> None:
        """Reads the annotation file once.

        Args:
            root: the LVIS folder.
            split: train or val.
            annotations: the json file, where it is not at its usual place.
            images: the folder that holds train2017 and val2017, or one folder with all images.
            polygons: fill_poly as RITM and SimpleClick draw them; coco_api by pycocotools; lvis by the `lvis` package
                (the same pixels).
            negatives: images without annotation are scenes without object (training samples without target).
            reading: how image files are read.

        Raises:
            FileNotFoundError: no json file or no image folder.
            ValueError: unknown split, a damaged json file, or the `lvis` package is asked for and missing.
        """
        if split not in self.splits and annotations is None:
            raise ValueError(
                f"{self.name} has no split {split!r}; give one of {', '.join(self.splits)} "
                "(the test splits have no public masks)"
            )
        self.split = split
        self.overlap = "COCO_MVal" if split == "val" else ""
        self.root = Path(images or root or ".").expanduser()
        self.folders = lvis_image_folders(self.root, flat=images is not None)
        if not self.folders:
            need_folder(self.root, f"{split}2017", page=self.page)
        self._draw_with_package = lvis_drawing() if polygons == "lvis" else None
        found = Path(annotations).expanduser() if annotations else find_lvis_json(root, split, self.files)
        file = need_file(found, page=self.page)
        rule = "coco_api" if polygons == "lvis" else polygons
        super().__init__(file, name_from_url, rule, True, negatives, reading)

    def image_path(self, name: str) -> Path:
        folder, _, file = name.rpartition("/")
        if folder and folder in self.folders:
            return self.folders[folder] / file
        if folder in FOLDERS and "" in self.folders:  # all images in one folder, whatever COCO's had been
            return self.folders[""] / file
        candidates = [file_below(path, name) for path in (*self.folders.values(), self.root)]
        return next((path for path in candidates if path.is_file()), candidates[0])

    def draw(self, annotation: dict[str, Any], size: tuple[int, int], canvas: np.ndarray) -> Region | None:
        if self._draw_with_package is None:
            return super().draw(annotation, size, canvas)
        if fault := segmentation_fault(annotation.get("segmentation")):
            raise ValueError(fault)
        return region_of(self._draw_with_package(annotation, size))


class LVIS_v05(LVIS):
    """LVIS v0.5 (57 thousand training images): the files are `lvis_v0.5_<split>.json`, or `lvis_<split>.json` as RITM
    wants them."""

    name = "LVIS_v05"
    published: ClassVar[Mapping[str, int]] = {"train objects": 693958, "val objects": 50763}
    files: ClassVar[tuple[str, ...]] = V05_FILES


def lvis_image_folders(root: Path, flat: bool = False) -> dict[str, Path]:
    """Where the images of COCO's train2017 and val2017 lie below `root`; {"": root} for a `flat` folder that holds them
    all."""
    found = {
        key: root / place for key, places in FOLDERS.items() for place in reversed(places) if (root / place).is_dir()
    }
    return found or ({"": root} if flat and root.is_dir() else {})


def find_lvis_json(root: str | Path | None, split: str, files: Sequence[str] = V1_FILES + V05_FILES) -> Path:
    """The annotation file of a split by its possible names. Raises FileNotFoundError listing the places."""
    folder = need_folder(root, page=LVIS.page)
    names = [name.format(split=split) for name in files]
    places = [folder / part / name for name in names for part in (split, "annotations", ".")]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        listed = ", ".join(str(place) for place in places)
        raise FileNotFoundError(f"no LVIS annotation of {split}: looked for {listed}; the set comes from {LVIS.page}")
    return found


def lvis_drawing() -> Callable[[Mapping[str, Any], tuple[int, int]], np.ndarray]:
    """The mask rule of the `lvis` package, without its loader (which keeps the whole file in memory).

    Raises ValueError with the command that installs the package when it is missing.
    """
    try:
        from lvis import LVIS as PackageLVIS
    except ImportError as error:
        raise ValueError(
            "polygons='lvis' needs the package lvis: pip install --no-deps lvis==0.5.3 (its dependencies would put the "
            "GUI build of OpenCV over the headless one); polygons='coco_api' draws the same pixels without it"
        ) from error

    class OneImage(PackageLVIS):
        def __init__(self, size: tuple[int, int]) -> None:
            self.imgs = defaultdict(lambda: {"height": size[0], "width": size[1]})

    return lambda annotation, size: OneImage(size).ann_to_mask(annotation)
