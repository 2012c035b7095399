"""The one record of a training sample on its way from a scene to a batch, and the hooks that may change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from clicklab.records import IGNORE
from data_modules.scenes import Scene, SceneObject


@dataclass(frozen=True)
class TrainingView:
    """What of a scene is seen in training: at first all of it, then as zoom, augmentation and mix leave it.

    Each step returns a new view; the arrays of a view are never written to.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        layers: (H, W, L) int32 object ids, 0 background, -1 ignore.
        objects: id -> where the object is; ids of `layers` that are not listed count as background.
        target: ids whose union is the target; empty for a view without one, None where it is still to be drawn.
        areas: id -> pixels, as of the last `sync_objects`; empty before.
    """

    image: np.ndarray
    layers: np.ndarray
    objects: dict[int, SceneObject]
    target: tuple[int, ...] | None = None
    areas: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, scene: Scene, stuff: bool) -> TrainingView:
        """A whole scene, with or without its stuff regions."""
        return cls(scene.image, scene.layers, scene.objects if stuff else without_stuff(scene.objects))

    def sync_objects(self) -> TrainingView:
        """Brings layers and object table into line after pixels were moved, cut off or covered.

        Returns:
            A view whose layers hold listed ids only (the same array where nothing had to change), whose objects all
            have pixels, and whose `areas` are counted.
        """
        counts = _count_ids(self.layers)
        present = (np.flatnonzero(counts[1:]) + 1).tolist()
        areas = {key: int(counts[key]) for key in present if key in self.objects}
        unlisted = [key for key in present if key not in self.objects]
        layers = _cleared(self.layers, unlisted, len(counts)) if unlisted else self.layers
        objects = remove_objects(self.objects, self.objects.keys() - areas.keys())
        return replace(self, layers=layers, objects=objects, areas=areas)

    def ignored(self) -> np.ndarray:
        """(H, W) bool: pixels that any layer marks as ignore."""
        return ignored_pixels(self.layers)

    def target_mask(self) -> np.ndarray:
        """(H, W) bool: the target without ignored pixels."""
        mask = np.zeros(self.layers.shape[:2], bool)
        for key in self.target or ():
            mask |= self.layers[..., self.objects[key].layer] == key
        return mask & ~self.ignored()


# (view, draws another view, generator) -> the view to train on. Both views come with their targets drawn, and the
# answer says which of its objects are the target; ids, layers and tree have to fit together. Nothing is written to the
# arrays of a view.
SceneMix = Callable[[TrainingView, Callable[[], TrainingView], np.random.Generator], TrainingView]


# (whole scene, generator) -> the same scene, seen in another way and in any size, before it is augmented. It comes with
# its target drawn, which is why the view may depend on it; ids and objects stay what they are.
SceneZoom = Callable[[TrainingView, np.random.Generator], TrainingView]


def without_stuff(objects: dict[int, SceneObject]) -> dict[int, SceneObject]:
    """The objects that are no stuff regions."""
    return remove_objects(objects, {key for key, entry in objects.items() if entry.stuff})


def remove_objects(objects: dict[int, SceneObject], gone: set[int]) -> dict[int, SceneObject]:
    """The objects without those in `gone`; children of a removed object move to its nearest parent that is left."""
    kept = {}
    for key, entry in objects.items():
        if key in gone:
            continue
        parent = entry.parent
        while parent in gone:
            parent = objects[parent].parent
        kept[key] = entry if parent == entry.parent else replace(entry, parent=parent)
    return kept


def ignored_pixels(layers: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that any layer of (H, W, L) ids marks as ignore."""
    return any_layer(layers == IGNORE) if layers.min() < 0 else np.zeros(layers.shape[:2], bool)


def any_layer(marked: np.ndarray) -> np.ndarray:
    """(H, W) bool: where any of the layers of (H, W, L) bool is True."""
    # over the few layers one by one: numpy is slow at reducing a short last axis
    return np.logical_or.reduce([marked[..., layer] for layer in range(marked.shape[2])])


def _cleared(layers: np.ndarray, unlisted: list[int], ids: int) -> np.ndarray:
    """A copy of the layers with the `unlisted` ids as background; `ids` is the number of ids 0, 1, ... in use."""
    new_id = np.arange(ids + 1, dtype=np.int32)
    new_id[unlisted] = 0
    new_id[-1] = IGNORE  # the id -1 wraps round to the last place
    return new_id.take(layers, mode="wrap")


def _count_ids(layers: np.ndarray) -> np.ndarray:
    """Pixels of the ids 0, 1, ... up to the highest."""
    highest = max(int(layers.max()), 0)
    if highest >= 2**16 - 1:
        return np.bincount(layers[layers >= 0])
    # OpenCV counts 16-bit numbers twice as fast as numpy; -1 becomes 65535 and is left out
    small = layers.astype(np.uint16).reshape(len(layers), -1)
    return cv2.calcHist([small], [0], None, [highest + 1], [0, highest + 1]).ravel().astype(np.int64)
