"""COCO 2017 instances (annotations/instances_<split>.json)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from data_modules.datasets.instances import InstanceScenes
from data_modules.formats.files import file_below, need_file, need_folder
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.instance_index import name_from_file_name
from data_modules.formats.rasterise import PolygonRule


class COCO(InstanceScenes):
    """`annotations/instances_<split>.json` and `<split>/*.jpg` below the root, or any COCO-format file and image
    folder.

    Polygons are drawn by pycocotools, the definition that the file's areas belong to: no published click-segmentation
    code draws COCO polygons (RITM reads the panoptic PNGs), so there is no other rule to follow. COCO_LVIS, which the
    papers train on, uses `fill_poly`.

    COCO_MVal consists of images of val2017: do not choose anything on that split and report COCO_MVal.
    """

    name = "COCO"
    page = "cocodataset.org ('Download': 2017 Train/Val images and annotations)"
    licence = "annotations CC BY 4.0; images: terms of Flickr"
    # images with at least one object and objects without crowds, as the logs of detection tools count them
    published: ClassVar[Mapping[str, int]] = {
        "train2017 images": 117266,
        "train2017 objects": 849949,
        "val2017 images": 4952,
        "val2017 objects": 36335,
    }
    splits: ClassVar[tuple[str, ...]] = ("train2017", "val2017")

    def __init__(
        self,
        root: str | Path | None,
        split: str = "val2017",
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        crowds: bool = False,
        polygons: PolygonRule = "coco_api",
        negatives: bool = False,
        reading: ImageReading = AS_USUAL,
    ) -> None:
        """Reads the annotation file once.

        Args:
            root: the COCO folder.
            split: train2017 or val2017 ("train", "val" for short); any name when `annotations`
                and `images` are given.
            annotations: the json file, where it is not at its usual place.
            images: the folder of the images, where it is not at its usual place.
            crowds: also crowd regions (run lengths), each as one object; without, they are background.
            polygons: how polygons become pixels, see `rasterise`.
            negatives: images without annotation are scenes without object (training samples without target).
            reading: how image files are read.

        Raises:
            FileNotFoundError: the json file or the image folder is missing.
            ValueError: unknown split, or a damaged json file.
        """
        full = {"train": "train2017", "val": "val2017"}.get(split, split)
        if full not in self.splits and not (annotations and images):
            raise ValueError(
                f"COCO has no split {split!r}; give one of {', '.join(self.splits)}, or both annotations and images"
            )
        if annotations is None:
            folder = need_folder(root, "annotations", page=self.page)
            annotations = need_file(folder, f"instances_{full}.json", page=self.page)
        self.images = need_folder(images, page=self.page) if images else need_folder(root, full, page=self.page)
        self.split = full
        self.overlap = "COCO_MVal" if full == "val2017" else ""
        file = need_file(Path(annotations).expanduser(), page=self.page)
        super().__init__(file, name_from_file_name, polygons, crowds, negatives, reading)

    def image_path(self, name: str) -> Path:
        return file_below(self.images, name)
