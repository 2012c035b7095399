"""What COCO and LVIS have in common: one json file of instances, images decoded and polygons drawn when a scene is
asked for."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.formats.files import read_rgb
from data_modules.formats.instance_index import InstanceIndex, read_instance_index
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
    ) -> None:
        """Reads the file once (seconds to half a minute for the large ones) and keeps a few numbers per object.

        Raises:
            ValueError: the file is damaged, of another kind, or holds no annotation.
        """
        need_polygon_rule(polygons)
        self.polygons, self.crowds = polygons, crowds
        self.index: InstanceIndex = read_instance_index(annotations, name_of)
        if self.index.panoptic:
            raise ValueError(f"{annotations}: a panoptic file; this reader takes the instances (instances_*.json)")
        self.problems = self.index.problems
        for problem in self.problems:
            warnings.warn(problem, stacklevel=3)
        usable = np.ones(len(self.index.crowds), dtype=bool) if crowds else ~self.index.crowds
        count = np.diff(np.concatenate([[0], np.cumsum(usable)])[self.index.first])
        self._images = np.flatnonzero(count)
        self._objects = count[self._images]
        if not len(self._images):
            raise ValueError(f"{annotations}: no image has an annotation")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Scene:
        image = int(self._images[index])
        path, size = self.image_path(self.index.name(image)), self.index.size(image)
        pixels = read_rgb(path)
        if pixels.shape[:2] != size:
            raise BrokenScene(
                f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, but {self.index.path} says {size[1]}x{size[0]}"
            )
        regions = self._regions(image, size)
        layers, layer_of = pack_layers(regions, size)
        objects = {number: SceneObject(layer) for number, layer in enumerate(layer_of, start=1)}
        return Scene(pixels, layers, objects, self.scene_name(index))

    def scene_name(self, index: int) -> str:
        return Path(self.index.name(int(self._images[index]))).stem

    def objects(self) -> list[tuple[int, int]]:
        counts = enumerate(self._objects.tolist())
        return [(scene, number) for scene, count in counts for number in range(1, count + 1)]

    @abstractmethod
    def image_path(self, name: str) -> Path:
        """File of an image by the name that the index holds."""

    def draw(self, annotation: dict[str, Any], size: tuple[int, int], canvas: np.ndarray) -> Region | None:
        """Mask of one annotation. Raises ValueError when it cannot be used."""
        return segmentation_region(annotation.get("segmentation"), size, self.polygons, canvas)

    def _regions(self, image: int, size: tuple[int, int]) -> list[Region | None]:
        canvas = np.zeros(size, dtype=np.uint8)
        regions: list[Region | None] = []
        for annotation in self.index.annotations(image, self.crowds):
            try:
                regions.append(self.draw(annotation, size, canvas))
            except ValueError:
                # named in `problems` where the structure is at fault; the other objects of the image stay usable
                regions.append(None)
        return regions
