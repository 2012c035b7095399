"""Scenes: an image with layered object ids, and the dataset interface that every reader keeps.

One scene holds all annotated objects of one image. Objects may overlap (a wheel on a car), so ids live in layers:
inside one layer objects never overlap, and an id is unique over all layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch.utils.data import Dataset

from clicklab.records import IGNORE, EvaluationObject, SkippedObject
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.notes import Notes

if TYPE_CHECKING:
    from data_modules.undrawn import UndrawnScene


class BrokenScene(ValueError):
    """A scene that cannot be read (unreadable or missing file, sizes that do not fit); the message names the file."""


@dataclass(frozen=True)
class SceneObject:
    """Where an object's pixels are and what it belongs to.

    Attributes:
        layer: index of the layer that holds the pixels with the object's id.
        parent: id of the object that contains this one, 0 for a root.
        stuff: True for an amorphous region (sky, grass), which only sometimes is a target.
    """

    layer: int
    parent: int = 0
    stuff: bool = False


@dataclass
class Scene:
    """One annotated image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        layers: (H, W, L) int32 object ids, 0 background, -1 ignore. Ids are small (they are counted with bincount):
            readers number their objects 1..n where the file's own ids are large.
        objects: object id (> 0) -> where it is. Ids in `layers` that are not listed here count as background.
        name: file stem of the image.
        initial_masks: object id -> (H, W) bool mask to start the dialogue from, None when the set has none.
        faults: object id -> why it has no pixels, for objects whose annotation cannot be used.

    Raises:
        BrokenScene: image and layers differ in size or type, or an object names a layer or parent that does not exist.
    """

    image: np.ndarray
    layers: np.ndarray
    objects: dict[int, SceneObject]
    name: str
    initial_masks: dict[int, np.ndarray] | None = None
    faults: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise BrokenScene(f"{self.name}: image is {self.image.dtype} {self.image.shape}, expected uint8 (H, W, 3)")
        if self.layers.ndim != 3 or self.layers.dtype != np.int32:
            raise BrokenScene(
                f"{self.name}: layers are {self.layers.dtype} {self.layers.shape}, expected int32 (H, W, L)"
            )
        if self.layers.shape[:2] != self.image.shape[:2]:
            raise BrokenScene(
                f"{self.name}: image is {self.image.shape[:2]} but its annotation {self.layers.shape[:2]}"
            )
        for key, entry in self.objects.items():
            if key <= 0 or not 0 <= entry.layer < self.layers.shape[2]:
                raise BrokenScene(
                    f"{self.name}: object {key} in layer {entry.layer}: ids start at 1, layers are 0..L-1"
                )
            if entry.parent and entry.parent not in self.objects:
                raise BrokenScene(f"{self.name}: object {key} names the parent {entry.parent}, which does not exist")

    def mask(self, object_id: int) -> np.ndarray:
        """(H, W) int8: 1 the object, 0 the rest, -1 pixels that any layer marks as ignore."""
        mask = (self.layers[..., self.objects[object_id].layer] == object_id).astype(np.int8)
        mask[self.ignored()] = IGNORE
        return mask

    def ignored(self) -> np.ndarray:
        """(H, W) bool: pixels that any layer marks as ignore."""
        return (self.layers == IGNORE).any(axis=2)

    def areas(self) -> dict[int, int]:
        """Pixels of every listed object (0 where nothing is left of it)."""
        counts = [np.bincount(ids[ids > 0]) for ids in np.moveaxis(self.layers, 2, 0)]
        return {
            key: int(counts[entry.layer][key]) if key < len(counts[entry.layer]) else 0
            for key, entry in self.objects.items()
        }


class SceneDataset(Dataset[Scene], ABC):
    """What every reader keeps: scenes by index, and the list of objects that evaluation asks for.

    A reader's constructor takes `(root, split=..., ...)` and raises FileNotFoundError that names the missing folder or
    file and the page where the set comes from. It must stay cheap to pickle (DataLoader workers) and decodes images
    only in `__getitem__`.

    Attributes:
        name: the set's name as printed in the papers.
        view_scale: the official evaluation views the set at this multiple of the usual size (DAVIS 1.5).
        page: public page of the set; licence: its terms in a few words; published: published counts, such as
            {"images": 50, "objects": 50}. All three serve `clicklab data check`.
        given: folder and options of a dataset that was opened by name (`open_dataset`), for the record.
        overlap: benchmarks that share images with this split; training on it is refused unless the source allows it.
        negatives: scenes without any object are there on purpose, as training samples without target.
        reading: how image files are read.
        notes: what the reader noticed about files that it could read.
    """

    name: str = ""
    view_scale: float = 1.0
    overlap: str = ""
    negatives: bool = False
    reading: ImageReading = AS_USUAL
    given: Mapping[str, Any] | None = None
    page: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    published: ClassVar[Mapping[str, int]] = {}

    @cached_property
    def notes(self) -> Notes:
        return Notes()

    @abstractmethod
    def __len__(self) -> int:
        """Number of scenes."""

    @abstractmethod
    def __getitem__(self, index: int) -> Scene:
        """Scene `index`, decoded now. Raises BrokenScene naming the file that cannot be read."""

    def training_scene(self, index: int) -> Scene | UndrawnScene:
        """As `__getitem__`, for a training sample: masks may be left for the crop to draw."""
        return self[index]

    def expect(self, indices: Iterable[int]) -> None:
        """Tells which scenes will be asked for next; a reader whose files are far away begins to fetch them."""

    @abstractmethod
    def scene_name(self, index: int) -> str:
        """Name of scene `index` without decoding it (for messages about broken files)."""

    @abstractmethod
    def objects(self) -> list[tuple[int, int]]:
        """(scene index, object id) of everything to be evaluated, in the official order.

        Sets with one object per image must not decode anything here. A scene whose annotation cannot be read is listed
        once with object id 0, so that it ends up among the skipped objects instead of stopping the evaluation.
        """


class EvaluationObjects(Dataset[EvaluationObject | SkippedObject]):
    """The objects of a dataset one by one; what cannot be evaluated comes as a SkippedObject with its reason.

    `index` of an item is its position in `dataset.objects()`, so it stays the same whatever `limit` is.
    """

    def __init__(self, dataset: SceneDataset, limit: int | None = None) -> None:
        """Takes all objects of `dataset`, or the first `limit` of them."""
        if limit is not None and (not isinstance(limit, Integral) or limit < 1):
            raise ValueError(f"limit is {limit!r}: give the number of objects to evaluate (1 or more), or leave it out")
        self.dataset = dataset
        self.items = dataset.objects()[:limit]
        self._last: tuple[int, Scene] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> EvaluationObject | SkippedObject:
        scene_index, object_id = self.items[index]
        try:
            scene = self._scene(scene_index)
        except BrokenScene as error:
            return SkippedObject(self.dataset.scene_name(scene_index), object_id, index, str(error))
        if object_id not in scene.objects:
            return SkippedObject(scene.name, object_id, index, f"the annotation has no object {object_id}")
        target = scene.mask(object_id)
        if not (target == 1).any():
            return SkippedObject(scene.name, object_id, index, scene.faults.get(object_id, "empty mask"))
        initial = None if scene.initial_masks is None else scene.initial_masks.get(object_id)
        return EvaluationObject(scene.image, target, scene.name, object_id, index, initial)

    def _scene(self, index: int) -> Scene:
        # objects of one image follow each other: the last image is kept instead of decoding it once per object
        last = self._last  # threads may be at different images: each reads this once and sees a whole pair
        if last is None or last[0] != index:
            last = self._last = (index, self.dataset[index])
        return last[1]
