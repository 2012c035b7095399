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

Tile = tuple[slice, slice]  # rows, columns
Piece = tuple[np.ndarray, np.ndarray]  # image (h, w, 3) and ids (h, w) of a tile
TARGET = 1  # the target's id in a mosaic; the objects of the other tiles are 2, 3 and 4


class Mosaic:
    """Shrinks some views to one of four tiles round a random crossing; the other tiles are views of other scenes.

    The target stays the view's own. In some mosaics another tile is the same view, mirrored: a twin of the target that
    nobody clicked on, because networks trained on single objects take everything that looks like the clicked one. The
    targets of the other tiles are kept as objects, which negative clicks may fall on; all other objects become
    background.
    """

    def __init__(
        self,
        prob: float = 0.25,
        twins: float = 0.5,
        crossing: tuple[float, float] = (0.35, 0.65),
        min_target: int = 60,
        then: SceneMix | None = None,
    ) -> None:
        """
        Args:
            prob: share of views that become mosaics.
            twins: share of mosaics with a twin of the target.
            crossing: range of the place where the tiles meet, as a share of either side.
            min_target: a view whose target would keep fewer pixels than this is left alone.
            then: another mix, for the views that are left alone.

        Raises:
            ValueError: a probability or a range that is none.
        """
        for name, value in {"prob": prob, "twins": twins}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"the mosaic's {name} is {value}: a probability lies in 0..1")
        if not 0 < crossing[0] <= crossing[1] < 1:
            raise ValueError(f"the mosaic's crossing is {list(crossing)}, expected a range between 0 and 1")
        self.prob, self.twins, self.crossing, self.min_target, self.then = prob, twins, crossing, min_target, then

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
            rng.shuffle(tiles)  # the first one is the target's
            own = _shrunk(view, tiles[0], TARGET)
            if np.count_nonzero(own[1] == TARGET) >= self.min_target:
                second = _mirrored(view) if rng.random() < self.twins else another()
                others = (second, another(), another())
                pieces = [own, *(_shrunk(one, tiles[n], TARGET + n) for n, one in enumerate(others, 1))]
                return _assembled(view, tiles, pieces)
        return view if self.then is None else self.then(view, another, rng)

    def _tiles(self, size: tuple[int, int], rng: np.random.Generator) -> list[Tile]:
        """Rows and columns of the four tiles: above left, above right, below left, below right."""
        row, column = (max(1, round(side * float(rng.uniform(*self.crossing)))) for side in size)
        rows, columns = (slice(0, row), slice(row, size[0])), (slice(0, column), slice(column, size[1]))
        return [(down, across) for down in rows for across in columns]


def _assembled(view: TrainingView, tiles: list[Tile], pieces: list[Piece]) -> TrainingView:
    """The mosaic of the pieces, the first of which is the view's own, in the view's size."""
    image = np.empty_like(view.image)
    layer = np.zeros(view.layers.shape[:2], np.int32)  # (H, W)
    for tile, piece in zip(tiles, pieces, strict=True):
        image[tile], layer[tile] = piece
    objects = {TARGET + number: SceneObject(0) for number in range(len(pieces))}
    return TrainingView(image, layer[..., None], objects, (TARGET,))


def _mirrored(view: TrainingView) -> TrainingView:
    """The view, left and right exchanged."""
    return TrainingView(view.image[:, ::-1], view.layers[:, ::-1], view.objects, view.target)


def _shrunk(view: TrainingView, tile: Tile, number: int) -> Piece:
    """A view in the size of a tile.

    Returns:
        Its image (h, w, 3), and (h, w) int32: `number` on the target, -1 on ignored pixels, 0 elsewhere.
    """
    rows, columns = tile
    size = (columns.stop - columns.start, rows.stop - rows.start)
    ids = view.target_mask().astype(np.int16) * number
    ids[view.ignored()] = IGNORE
    image = cv2.resize(np.ascontiguousarray(view.image), size, interpolation=cv2.INTER_AREA)
    return image, cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int32)
