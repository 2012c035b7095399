"""Training views in which the target has more pixels than its surroundings: VTMR's zoom with the truth as guidance.

Source: VTMR, "Target-Aware Image Zooming" and "Experimental Setting" (docs/methods/vtmr.md#target-aware-zoom):
all images are brought down to one size before the augmentation, half of them evenly and half of them zoomed.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch

from clicklab.views.zoom_warp import TargetZoom
from data_modules.training.view import TrainingView


class TargetAwareZoom:
    """Brings scenes down to one size, half of them so that the target becomes larger than it would by resizing.

    Rows and columns are moved, each by themselves, and none is lost from sight: what is not target is squeezed.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 256,
        prob: float = 0.5,
        sigma: float = 11.0,
        floor: float = 0.05,
        dilation: float = 6.0,
    ) -> None:
        """
        Args:
            size: side of the square views in pixels, or (height, width); usually the crop size.
            prob: share of scenes that are zoomed (paper: half); the others are resized evenly.
            sigma, floor, dilation: as in `clicklab.views.zoom_warp.TargetZoom`.

        Raises:
            ValueError: a value that makes no sense; the message names it.
        """
        if not 0 <= prob <= 1:
            raise ValueError(f"the share of zoomed scenes is {prob}: a probability lies in 0..1")
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.prob = prob
        self.law = TargetZoom(self.size, sigma, floor, dilation, guided_by="mask")

    def __call__(self, scene: TrainingView, rng: np.random.Generator) -> TrainingView:
        """The scene's view; the image is sampled bilinearly, ids are those of the nearest pixel."""
        zoomed = rng.random() < self.prob and bool(scene.target)
        axes = self._places(scene.target_mask()) if zoomed else [np.linspace(0, 1, side) for side in self.size]
        # pixel p of n lies at p / (n - 1)
        y, x = (place * (side - 1) for place, side in zip(axes, scene.image.shape[:2], strict=True))
        grid_x, grid_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        image = cv2.remap(scene.image, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        layers = scene.layers[np.ix_(np.rint(y).astype(np.intp), np.rint(x).astype(np.intp))]
        return replace(scene, image=image, layers=layers)

    def _places(self, target: np.ndarray) -> list[np.ndarray]:
        """Where each row and each column of the view comes from, in 0..1 of the scene."""
        warp = self.law.warp(torch.from_numpy(target)[None, None])
        return [warp.rows[0].numpy(), warp.columns[0].numpy()]
