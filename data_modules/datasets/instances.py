"""What COCO and LVIS have in common: one json file of instances, images decoded and polygons drawn when a scene is
asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import note_turned, read_picture
from data_modules.formats.instance_index import UNDRAWN, InstanceIndex, read_instance_index
from data_modules.formats.notes import brief
from data_modules.formats.rasterise import PolygonRule, need_polygon_rule, segmentation_region
from data_modules.formats.regions import Region, pack_layers
from data_modules.scenes import BrokenScene, Scene, SceneDataset, SceneObject


class InstanceScenes(SceneDataset):
    """Scenes of a json file: object k of a scene is the k-th annotation of its image in file order, overlaps go to
    layers of their own.

    Images without an annotation are left out. An object of which nothing can be drawn (zero area, outside the image,
    unusable polygon) keeps its number and has no pixels, so an evaluation lists it as skipped.

    Attributes:
        index: where the annotations stand in the file.
        problems: what is wrong with the file and was survived, one line per kind.
    """

    def __init__(
        self,
        annotations: Path,
        name_of: Callable[[Mapping[str, Any]], str],
        polygons: PolygonRule,
        crowds: bool,
        negatives: bool = False,
        reading: ImageReading = AS_USUAL,
    ) -> None:
        """Reads the file once (seconds to half a minute for the large ones) and keeps a few numbers per object.

        Args:
            annotations: the json file.
            name_of: image file of an element of `images`.
            polygons: how polygons become pixels.
            crowds: crowd regions are objects.
            negatives: images without annotation are scenes without object.
            reading: how image files are read.

        Raises:
            ValueError: the file is damaged, of another kind, or holds no annotation.
        """
        need_polygon_rule(polygons)
        self.polygons, self.crowds, self.negatives, self.reading = polygons, crowds, negatives, reading
        self.index: InstanceIndex = read_instance_index(annotations, name_of, reading.max_pixels)
        if self.index.panoptic:
            raise ValueError(f"{annotations}: a panoptic file; this reader takes the instances (instances_*.json)")
        self.problems = self.index.problems
        for problem in self.problems:
            self.notes.add(problem, problem)
        usable = np.ones(len(self.index.crowds), dtype=bool) if crowds else ~self.index.crowds  # (annotations,)
        usable_before = np.concatenate([[0], np.cumsum(usable)])
        count = np.diff(usable_before[self.index.first])  # (images,)
        self._images = np.arange(len(count)) if negatives else np.flatnonzero(count)
        self._objects = count[self._images]
        if not self._objects.any():
            raise ValueError(f"{annotations}: no image has an annotation")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Scene:
        image = int(self._images[index])
        size = self.index.size(image)
        pixels = self._pixels(self.image_path(self.index.name(image)), size)
        regions, faults = self._regions(image, size)
        layers, layer_of = pack_layers(regions, size)
        objects = {number: SceneObject(layer) for number, layer in enumerate(layer_of, start=1)}
        return Scene(pixels, layers, objects, self.scene_name(index), faults=faults)

    def scene_name(self, index: int) -> str:
        return Path(self.index.name(int(self._images[index])).replace("\\", "/")).stem

    def objects(self) -> list[tuple[int, int]]:
        counts = enumerate(self._objects.tolist())
        return [(scene, number) for scene, count in counts for number in range(1, count + 1)]

    @abstractmethod
    def image_path(self, name: str) -> Path:
        """File of an image by the name that the index holds."""

    def draw(self, annotation: dict[str, Any], size: tuple[int, int], canvas: np.ndarray) -> Region | None:
        """Mask of one annotation. Raises ValueError when it cannot be used."""
        return segmentation_region(annotation.get("segmentation"), size, self.polygons, canvas)

    def _pixels(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        """(H, W, 3) uint8 of an image. Raises BrokenScene where it has another size than the json file says."""
        picture = read_picture(path, self.reading, self.notes)
        height, width = picture.pixels.shape[:2]
        if (height, width) != size:
            reason = ""
            if picture.orientation > 1 and (width, height) == size and self.reading.exif == "turn":
                reason = ": its EXIF tag turns it; exif=ignore reads images as stored"
            said = f"{self.index.path} says {size[1]}x{size[0]}"
            raise BrokenScene(f"{path}: {width}x{height} pixels, but {said}{reason}")
        note_turned(picture, path, self.reading, self.notes)
        return picture.pixels

    def _regions(self, image: int, size: tuple[int, int]) -> tuple[list[Region | None], dict[int, str]]:
        """The mask of every annotation of an image, and object number -> why it has none."""
        canvas = np.zeros(size, dtype=np.uint8)
        regions: list[Region | None] = []
        faults: dict[int, str] = {}
        for number, annotation in enumerate(self.index.annotations(image, self.crowds), start=1):
            try:
                regions.append(self.draw(annotation, size, canvas))
                if regions[-1] is None:
                    faults[number] = f"annotation {brief(str(annotation.get('id')), 20)} covers no pixel of the image"
            except ValueError as error:  # the other objects of the image stay usable
                regions.append(None)
                faults[number] = f"annotation {brief(str(annotation.get('id')), 20)}: {brief(error, 120)}"
                if not any(UNDRAWN in problem for problem in self.problems):  # else told when the file was opened
                    self.notes.add(UNDRAWN, f"{self.index.path}: {faults[number]}")
        return regions, faults
