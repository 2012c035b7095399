"""Training views as a zoom-in gives them: a window round the target, or most of the scene, in one resize."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from data_modules.training.view import TrainingView


class TargetWindow:
    """Cuts a square window out of a scene and brings it to one size.

    A share of the windows surround the target closely, as later clicks see it through the zoom-in; the others take
    nearly the whole scene, as the first click sees it. Their sides are stretched a little, apart from each other. What
    a window holds beyond the scene is black background.
    """

    def __init__(
        self,
        size: int = 192,
        near: float = 0.6,
        expansion: tuple[float, float] = (1.1, 2.2),
        stretch: float = 0.15,
        min_side: int = 80,
    ) -> None:
        """
        Args:
            size: side of the views in pixels; the crop size.
            near: share of windows round the target.
            expansion: range of their side in multiples of the longer side of the target's box.
            stretch: most that a side is made longer or shorter.
            min_side: shortest side of a window in pixels of the scene.

        Raises:
            ValueError: a value that makes no sense; the message names it.
        """
        if not 0 <= near <= 1:
            raise ValueError(f"the share of near windows is {near}: a probability lies in 0..1")
        if not 0 < expansion[0] <= expansion[1]:
            raise ValueError(f"expansion is {expansion}, expected a range above 0")
        if not 0 <= stretch < 1 or size < 1 or min_side < 1:
            raise ValueError(f"impossible window settings: size {size}, stretch {stretch}, min_side {min_side}")
        self.size, self.near, self.expansion, self.stretch, self.min_side = size, near, expansion, stretch, min_side

    def __call__(self, scene: TrainingView, rng: np.random.Generator) -> TrainingView:
        """The scene's view; the image is sampled bilinearly, ids are those of the nearest pixel."""
        box = _box(scene.target_mask()) if scene.target else None
        height, width = scene.image.shape[:2]
        if box is not None and rng.random() < self.near:
            low, high = np.log(self.expansion)
            side = max(box[2] - box[0], box[3] - box[1]) * float(np.exp(rng.uniform(low, high)))
        else:
            side = float(rng.uniform(min(height, width), max(height, width)))
        side = max(side, self.min_side)
        sides = [side * (1 + float(rng.uniform(-self.stretch, self.stretch))) for _ in range(2)]
        if box is None:
            box = (0, 0, height, width)
        starts = [
            _start(low, high, length, side, rng)
            for low, high, length, side in zip(box[:2], box[2:], (height, width), sides, strict=True)
        ]
        return self._cut(scene, starts, sides)

    def _cut(self, scene: TrainingView, starts: list[float], sides: list[float]) -> TrainingView:
        # pixel centres: the view's (i + 0.5) / size is the window's
        scale_y, scale_x = (side / self.size for side in sides)
        inverse = np.array(
            [
                [scale_x, 0, starts[1] + 0.5 * scale_x - 0.5],
                [0, scale_y, starts[0] + 0.5 * scale_y - 0.5],
            ]
        )
        size = (self.size, self.size)
        source = scene.image
        if min(scale_x, scale_y) > 1.5:  # bilinear alone would skip pixels
            source = cv2.GaussianBlur(source, (0, 0), sigmaX=0.4 * scale_x, sigmaY=0.4 * scale_y)
        image = cv2.warpAffine(source, inverse, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        rows, columns = (
            np.floor(start + (np.arange(self.size) + 0.5) * scale).astype(np.intp)
            for start, scale in zip(starts, (scale_y, scale_x), strict=True)
        )
        height, width = scene.layers.shape[:2]
        inside_y, inside_x = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        layers = np.zeros((self.size, self.size, scene.layers.shape[2]), scene.layers.dtype)
        layers[np.ix_(inside_y, inside_x)] = scene.layers[np.ix_(rows[inside_y], columns[inside_x])]
        return replace(scene, image=image, layers=layers)


def _start(low: int, high: int, length: int, side: float, rng: np.random.Generator) -> float:
    """Where a window of `side` begins on an axis: it holds low..high if it can, and as little beyond as it must."""
    # the places where the window lies inside the scene, and those where it holds the target
    inside = sorted((0.0, length - side))
    holding = sorted((high - side, float(low)))
    first, last = max(inside[0], holding[0]), min(inside[1], holding[1])
    if first > last:
        first, last = holding
    return float(rng.uniform(first, last))


def _box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """First row, first column, one behind the last row and column of what is True; None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
