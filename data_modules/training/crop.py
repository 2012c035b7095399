"""Crops: what augmentation makes of a scene, and the hooks before it (zoom) and after it (mix)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from clicklab.records import IGNORE
from data_modules.scenes import SceneObject


class Crop(NamedTuple):
    """A scene on its way to a training sample.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        layers: (H, W, L) int32 object ids, 0 background, -1 ignore.
        objects: id -> where the object is; ids of `layers` that are not listed count as background.
        target: ids whose union is the target; empty for a crop without one, None where it is still to be drawn.
    """

    image: np.ndarray
    layers: np.ndarray
    objects: dict[int, SceneObject]
    target: tuple[int, ...] | None = None

    def ignored(self) -> np.ndarray:
        """(H, W) bool: pixels that any layer marks as ignore."""
        return any_layer(self.layers == IGNORE) if self.layers.min() < 0 else np.zeros(self.layers.shape[:2], bool)

    def target_mask(self) -> np.ndarray:
        """(H, W) bool: the target without ignored pixels."""
        mask = np.zeros(self.layers.shape[:2], bool)
        for key in self.target or ():
            mask |= self.layers[..., self.objects[key].layer] == key
        return mask & ~self.ignored()


# (crop, draws another crop, generator) -> the crop to train on. Both crops come with their targets drawn, and the
# answer says which of its objects are the target; ids, layers and tree have to fit together. Nothing is written to the
# arrays of a crop.
SceneMix = Callable[[Crop, Callable[[], Crop], np.random.Generator], Crop]


# (whole scene, generator) -> the same scene, seen in another way and in any size, before it is augmented. It comes with
# its target drawn, which is why the view may depend on it; ids and objects stay what they are.
SceneZoom = Callable[[Crop, np.random.Generator], Crop]


def any_layer(marked: np.ndarray) -> np.ndarray:
    """(H, W) bool: where any of the layers of (H, W, L) bool is True."""
    # over the few layers one by one: numpy is slow at reducing a short last axis
    return np.logical_or.reduce([marked[..., layer] for layer in range(marked.shape[2])])
