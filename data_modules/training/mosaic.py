"""Mosaic: a view becomes one of four tiles, so that its target is a small thing among others.

Photos for saliency show one large object, while a person also clicks on small ones in crowded photos. Ours, after the
mosaics that detectors are trained on (Bochkovskiy et al., YOLOv4, arXiv 2004.10934, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from clicklab.records import IGNORE
from data_modules.scenes import SceneObject
from data_modules.training.view import SceneMix, TrainingView

TARGET = 1  # the target's id in a mosaic; the objects of the other tiles are 2, 3 and 4


class Mosaic:
    """Shrinks some views to one of four tiles round a random crossing; the other tiles are views of other scenes.

    The target stays the view's own. The targets of the other tiles are kept as objects, which negative clicks may fall
    on; all other objects become background.
    """

    def __init__(
        self,
        prob: float = 0.25,
        crossing: tuple[float, float] = (0.35, 0.65),
        min_target: int = 60,
        then: SceneMix | None = None,
    ) -> None:
        """
        Args:
            prob: share of views that become mosaics.
            crossing: range of the place where the tiles meet, as a share of either side.
            min_target: a view whose target would keep fewer pixels than this is left alone.
            then: another mix, for the views that are left alone.

        Raises:
            ValueError: a probability or a range that is none.
        """
        if not 0 <= prob <= 1:
            raise ValueError(f"the mosaic's prob is {prob}: a probability lies in 0..1")
        if not 0 < crossing[0] <= crossing[1] < 1:
            raise ValueError(f"the mosaic's crossing is {list(crossing)}: a range between 0 and 1 is wanted")
        self.prob, self.crossing, self.min_target, self.then = prob, crossing, min_target, then

    def __call__(
        self, view: TrainingView, another: Callable[[], TrainingView], rng: np.random.Generator
    ) -> TrainingView:
        """Changes a view.

        Args:
            view: the source, with its target.
            another: draws a view of another scene, with its target.
            rng: where all chance comes from.

        Returns:
            The changed view with its target; the arrays of all views given are left alone.
        """
        if view.target and rng.random() < self.prob:
            tiles = self._tiles(view.image.shape[:2], rng)
            own = int(rng.integers(4))
            shrunk = _shrunk(view, tiles[own], TARGET)
            if np.count_nonzero(shrunk[1] == TARGET) >= self.min_target:
                return _assembled(view, shrunk, own, tiles, another)
        return view if self.then is None else self.then(view, another, rng)

    def _tiles(self, size: tuple[int, int], rng: np.random.Generator) -> list[tuple[slice, slice]]:
        """Rows and columns of the four tiles: above left, above right, below left, below right."""
        row, column = (max(1, round(side * float(rng.uniform(*self.crossing)))) for side in size)
        rows, columns = (slice(0, row), slice(row, size[0])), (slice(0, column), slice(column, size[1]))
        return [(down, across) for down in rows for across in columns]


def _assembled(
    view: TrainingView,
    shrunk: tuple[np.ndarray, np.ndarray],
    own: int,
    tiles: list[tuple[slice, slice]],
    another: Callable[[], TrainingView],
) -> TrainingView:
    """The mosaic of a view that was shrunk to its own tile, with other views in the other tiles."""
    image = np.empty_like(view.image)
    layer = np.zeros(view.layers.shape[:2], np.int32)  # (H, W)
    number = TARGET
    for place, tile in enumerate(tiles):
        if place == own:
            image[tile], layer[tile] = shrunk
        else:
            number += 1
            image[tile], layer[tile] = _shrunk(another(), tile, number)
    objects = {key: SceneObject(0) for key in range(TARGET, number + 1)}
    return TrainingView(image, layer[..., None], objects, (TARGET,))


def _shrunk(view: TrainingView, tile: tuple[slice, slice], number: int) -> tuple[np.ndarray, np.ndarray]:
    """A view in the size of a tile.

    Returns:
        Its image (h, w, 3), and (h, w) int32: `number` on the target, -1 on ignored pixels, 0 elsewhere.
    """
    rows, columns = tile
    size = (columns.stop - columns.start, rows.stop - rows.start)
    ids = view.target_mask().astype(np.int16) * number
    ids[view.ignored()] = IGNORE
    image = cv2.resize(view.image, size, interpolation=cv2.INTER_AREA)
    return image, cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int32)
