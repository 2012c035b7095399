"""Scenes whose masks are not drawn yet: a training crop draws what it shows and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from clicklab.records import IGNORE
from data_modules.formats.regions import Region, pack_layers
from data_modules.formats.run_masks import RunMask
from data_modules.scenes import Scene, SceneObject


@dataclass(frozen=True)
class UndrawnScene:
    """One annotated image with its masks as run lengths.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        masks: object id (> 0) -> its pixels, None for an object without any.
        objects: object id -> what it belongs to; layers are told when they are drawn.
        name: file stem of the image.
        ignored: pixels that count neither as object nor as background.
        initial: object id -> mask to start the dialogue from, None when the set has none.
        faults: object id -> why it has no pixels.
    """

    image: np.ndarray
    masks: Mapping[int, RunMask | None]
    objects: dict[int, SceneObject]
    name: str
    ignored: RunMask | None = None
    initial: Mapping[int, RunMask] | None = None
    faults: Mapping[int, str] = field(default_factory=dict)

    def drawn(self) -> Scene:
        """The scene with all its masks."""
        size = (self.image.shape[0], self.image.shape[1])
        layers, objects = self._window(0, 0, *size)
        initial = None
        if self.initial is not None:
            initial = {key: _canvas(mask, size) for key, mask in self.initial.items()}
        return Scene(self.image, layers, objects, self.name, initial, self.faults)

    def pixel_numbers(self) -> np.ndarray:
        """(H, W, 1) int32: 1, 2, ... along the rows; moved like a layer they tell `cut` where each pixel went."""
        height, width = self.image.shape[:2]
        return np.arange(1, height * width + 1, dtype=np.int32).reshape(height, width, 1)

    def cut(self, numbers: np.ndarray) -> tuple[np.ndarray, dict[int, SceneObject]]:
        """Draws the masks into a crop.

        Args:
            numbers: (h, w) the `pixel_numbers` of what the crop shows, 0 outside of the image.

        Returns:
            (h, w, L) int32 ids, and the objects with their layers in it; some may lie outside of the crop.
        """
        inside = numbers > 0
        if not inside.any():
            return np.zeros((*numbers.shape, 1), np.int32), dict(self.objects)
        row, column = np.divmod(numbers - 1, self.image.shape[1])
        top, left = int(row[inside].min()), int(column[inside].min())
        bottom, right = int(row[inside].max()) + 1, int(column[inside].max()) + 1
        window, objects = self._window(top, left, bottom, right)
        ids = np.zeros((1 + window.shape[0] * window.shape[1], window.shape[2]), np.int32)  # the first: outside
        ids[1:] = window.reshape(-1, window.shape[2])
        place = np.where(inside, (row - top) * (right - left) + column - left + 1, 0)
        return ids.take(place, axis=0), objects

    def _window(self, top: int, left: int, bottom: int, right: int) -> tuple[np.ndarray, dict[int, SceneObject]]:
        """Layers of the rows top..bottom - 1 and the columns left..right - 1."""
        keys = list(self.objects)
        regions: list[Region | None] = []
        for key in keys:
            mask = self.masks[key]
            regions.append(None if mask is None else mask.within(top, left, bottom, right))
        numbers, layer_of = pack_layers(regions, (bottom - top, right - left))
        layers = np.array([0, *keys], np.int32).take(numbers) if keys != list(range(1, len(keys) + 1)) else numbers
        region = None if self.ignored is None else self.ignored.within(top, left, bottom, right)
        if region is not None:
            region.window(layers[..., 0])[region.pixels] = IGNORE
        placed = zip(keys, layer_of, strict=True)
        return layers, {
            key: SceneObject(layer, self.objects[key].parent, self.objects[key].stuff) for key, layer in placed
        }


def _canvas(mask: RunMask, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool."""
    canvas = np.zeros(size, bool)
    region = mask.within(0, 0, *size)
    if region is not None:
        region.window(canvas)[:] = region.pixels
    return canvas
