"""OpenCV's GrabCut (Rother et al., SIGGRAPH 2004), seeded by clicks."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from clicklab.nn.network import ClickNetwork
from clicklab.nn.network_state import PerSample
from clicklab.peers.seeds import BACKGROUND, CERTAIN, OBJECT, rgb8, seed_map
from clicklab.records import Clicks, Prediction

Begin = Literal["clicks", "previous"]
MIXTURE = (1, 65)  # OpenCV's array for a mixture of five Gaussians


class GrabCut(ClickNetwork):
    """GrabCut over the whole image; the pixels round the clicks are certain, all others open.

    Args:
        begin: `clicks`: every answer is made anew from all clicks. `previous`: from the mask shown last, so that
            earlier corrections of a person or another method count as well.
        iterations: rounds of colour models and cut.
        radius: of the certain disks round the clicks, in pixels.
        spread: with `clicks`, and for the first click of `previous`: open pixels nearer to a positive click than this
            share of the image's shorter side, and nearer to it than to any negative click, begin as probable object.
    """

    zoom_in = None
    flip = False
    mask_threshold = 0.5

    def __init__(self, begin: Begin = "clicks", iterations: int = 5, radius: float = 5.0, spread: float = 0.25) -> None:
        super().__init__()
        if begin not in ("clicks", "previous"):
            raise ValueError(f"begin is {begin!r}, expected clicks or previous")
        if iterations < 1 or radius < 0 or spread <= 0:
            raise ValueError(
                f"iterations={iterations}, radius={radius}, spread={spread}: expected at least one iteration, a radius "
                "of 0 or more and a positive spread"
            )
        self.begin, self.iterations, self.radius, self.spread = begin, iterations, radius, spread

    def start(self, image: Tensor) -> PerSample:
        """The images as (H, W, 3) uint8, as OpenCV wants them; of the colours it asks only how far apart they are."""
        return PerSample([rgb8(one) for one in image])

    def step(self, state: PerSample, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """See `ClickNetwork.step`. The logits say yes or no: GrabCut gives no probabilities."""
        masks = [
            self._segment(image, clicks, sample, prev_mask[sample, 0].cpu().numpy() > self.mask_threshold)
            for sample, image in enumerate(state)
        ]
        inside = torch.from_numpy(np.stack(masks))[:, None].to(prev_mask.device)
        return Prediction(torch.where(inside, CERTAIN, -CERTAIN).to(prev_mask.dtype), state=state)

    def _segment(self, image: np.ndarray, clicks: Clicks, sample: int, previous: np.ndarray) -> np.ndarray:
        """(H, W) bool mask of one image."""
        size = (image.shape[0], image.shape[1])
        seeds = seed_map(clicks, sample, size, self.radius)
        probable = previous
        if self.begin == "clicks" or not previous.any():
            probable = self._near_positive(seeds)
        trimap = np.where(probable, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        trimap[seeds == OBJECT] = cv2.GC_FGD
        trimap[seeds == BACKGROUND] = cv2.GC_BGD
        inside = _inside(trimap)
        if inside.all() or not inside.any():  # one of the two colour models would have no pixel to learn from
            return inside
        cv2.setRNGSeed(0)  # k-means of the colours draws its first centres: the same answer to the same clicks
        no_box = (0, 0, 0, 0)
        models = np.zeros(MIXTURE), np.zeros(MIXTURE)
        cv2.grabCut(image, trimap, no_box, *models, self.iterations, cv2.GC_INIT_WITH_MASK)
        return _inside(trimap)

    def _near_positive(self, seeds: np.ndarray) -> np.ndarray:
        """(H, W) bool: where the object is looked for before anything is known of its colours."""
        to_object, to_background = (
            cv2.distanceTransform((seeds != kind).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            for kind in (OBJECT, BACKGROUND)
        )
        return (to_object <= self.spread * min(seeds.shape)) & (to_object < to_background)


def _inside(trimap: np.ndarray) -> np.ndarray:
    """(H, W) bool: certain and probable object."""
    return (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
