"""A crop whose height and width are drawn apart and stretched to the wanted size (FocalClick's augmentation)."""

from __future__ import annotations

from typing import Any

import albumentations as A
import cv2
import numpy as np


class StretchedCrop(A.DualTransform):
    """Cuts a window of random height and width out of the image, at a random place, and resizes it to one size.

    The window's sides are the image's times a factor each, both from a normal distribution cut to a range. A side above
    the image's own takes zeros from outside, so that the image lies at a random place in the window.

    Source: `AlignedAugmentator` of ClickSEG (docs/methods/focalclick.md#training). Two of its slips are not
    repeated: its windows always reach the image's right border, and it resizes labels bilinearly (here: nearest).
    """

    def __init__(
        self, size: tuple[int, int], mean: float = 0.8, spread: float = 0.4, low: float = 0.3, high: float = 1.3
    ) -> None:
        """
        Args:
            size: (height, width) of the result.
            mean, spread: of the factors before the cut.
            low, high: smallest and largest factor.

        Raises:
            ValueError: low, mean and high are not in this order above 0.
        """
        super().__init__(p=1.0)
        if not 0 < low <= mean <= high or spread <= 0:
            raise ValueError(f"a stretched crop wants 0 < low <= mean <= high, got {low}, {mean}, {high}")
        self.size, self.mean, self.spread, self.low, self.high = size, mean, spread, low, high

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draws the window: first row, first column, height, width; it may begin before or end after the image."""
        del data
        height, width = params["shape"][:2]
        window_height = max(1, round(height * self._factor()))
        window_width = max(1, round(width * self._factor()))
        top = self._start(height, window_height)
        left = self._start(width, window_width)
        return {"window": (top, left, window_height, window_width)}

    def _start(self, side: int, window: int) -> int:
        """Where a window begins: anywhere inside the image, or, if it is larger, before it so that it holds all."""
        gap = side - window
        return int(self.random_generator.integers(min(gap, 0), max(gap, 0) + 1))

    def apply(self, img: np.ndarray, window: tuple[int, int, int, int], **params: Any) -> np.ndarray:
        """The image's part, bilinear."""
        del params
        return cv2.resize(_cut(img, window), self.size[::-1], interpolation=cv2.INTER_LINEAR)

    def apply_to_mask(self, mask: np.ndarray, window: tuple[int, int, int, int], **params: Any) -> np.ndarray:
        """The map's part, nearest."""
        del params
        return cv2.resize(_cut(mask, window), self.size[::-1], interpolation=cv2.INTER_NEAREST)

    def _factor(self) -> float:
        while True:  # of the official ranges three draws in four hit
            factor = float(self.random_generator.normal(self.mean, self.spread))
            if self.low <= factor <= self.high:
                return factor


def _cut(image: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """The window out of the image, with zeros where it reaches beyond."""
    top, left, height, width = window
    inside = image[max(top, 0) : top + height, max(left, 0) : left + width]
    before = max(-top, 0), max(-left, 0)
    after = height - before[0] - inside.shape[0], width - before[1] - inside.shape[1]
    return cv2.copyMakeBorder(inside, before[0], after[0], before[1], after[1], cv2.BORDER_CONSTANT, value=0)
