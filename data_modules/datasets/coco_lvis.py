"""COCO+LVIS: layered masks and an object tree, as RITM released them or in our plain format (docs/data.md#cocolvis)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from data_modules.formats.files import need_file, need_folder, need_same_size
from data_modules.formats.hannotation import read_released_index, released_ids
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import read_rgb
from data_modules.formats.layered_store import INDEX, RECIPE, image_folder, layered_file, read_index, read_layered
from data_modules.scenes import Scene, SceneDataset


class COCO_LVIS(SceneDataset):
    """`<split>/images/<id>.jpg`, and in `<split>` either of two annotations:

    * `layers.json` and `layers/<id>.npz`: ours, made by `clicklab data build-coco-lvis` or `import-hannotation`;
    * `hannotation.pickle` and `masks/<id>.pickle`: as released.

    Mask k of the annotation is object k + 1. Masks after the instances are stuff. Scenes are ordered by image id. The
    index holds one parent number per instance at most, no masks.
    """

    name = "COCO_LVIS"
    page: ClassVar[str] = (
        "cocolvis_annotation.tar.gz of the RITM repository (github.com/SamsungLabs/ritm_interactive_segmentation), "
        "with the images of COCO 2017 (cocodataset.org); clicklab data build-coco-lvis makes it from the json files"
    )
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    licence: ClassVar[str] = "annotations: CC BY 4.0; images: terms of Flickr"
    published: ClassVar[Mapping[str, int]] = {}

    def __init__(
        self,
        root: str | Path | None,
        split: str = "val",
        annotation: str | None = None,
        images: str | Path | None = None,
        reading: ImageReading = AS_USUAL,
    ) -> None:
        """Reads the index of a split.

        Args:
            root: the folder that holds `train` and `val`.
            split: train or val. COCO_MVal lies inside val: do not tune on val and report COCO_MVal.
            annotation: file name of a released index in the folder of the split; None takes our format where it is
                there, else `hannotation.pickle`.
            images: the folder of the images; None takes `<split>/images`, or the folder that the builder noted.
            reading: how image files are read.

        Raises:
            FileNotFoundError: a folder or the index is missing, or a build was not finished.
            ValueError: unknown split, or an index that is damaged or no plain data; the message names the file.
        """
        if split not in self.splits:
            raise ValueError(f"COCO_LVIS has no split {split!r}; the splits are {', '.join(self.splits)}")
        self.split, self.reading = split, reading
        self.overlap = "COCO_MVal" if split == "val" else ""
        self.folder = need_folder(root, split, page=self.page)
        file = self.folder / (annotation or "hannotation.pickle")
        ours = (self.folder / INDEX).is_file() or ((self.folder / RECIPE).is_file() and not file.is_file())
        noted = None
        self._released = None
        if annotation is None and ours:
            index = read_index(self.folder)
            self.names, self._counts, noted = index.names, index.objects, index.images
        else:
            need_folder(self.folder, "masks", page=self.page)
            self._released = read_released_index(need_file(file, page=self.page))
            self.names, self._counts = self._released.names, self._released.counts()
        self.images = need_folder(images or image_folder(self.folder, noted), page=self.page)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Scene:
        name = self.names[index]
        image_path = self.images / f"{name}.jpg"
        if self._released is None:
            path = layered_file(self.folder, name)
            ids = read_layered(path)
        else:
            path = self.folder / "masks" / f"{name}.pickle"
            ids = released_ids(path, self._released.of(index))
        image = read_rgb(image_path, self.reading, self.notes)
        need_same_size(image, ids.layers, image_path, path)
        return Scene(image, ids.layers, ids.objects(), name)

    def scene_name(self, index: int) -> str:
        return self.names[index]

    def objects(self) -> list[tuple[int, int]]:
        return [(index, key) for index, count in enumerate(self._counts.tolist()) for key in range(1, count + 1)]
