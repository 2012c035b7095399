"""scikit-image's random walker (Grady, PAMI 2006), seeded by clicks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clicklab.nn.network import ClickNetwork
from clicklab.nn.network_state import PerSample
from clicklab.peers.seeds import BACKGROUND, OBJECT, UNKNOWN, rgb8, seed_map
from clicklab.records import Clicks, Prediction

EDGE = 1e-4  # probabilities are kept this far from 0 and 1, so that their logits are numbers


class RandomWalker(ClickNetwork):
    """A walker from each pixel: how likely it comes to a positive click before a negative one, along like colours.

    While there is no negative click, the image's rim counts as background, as both kinds of seeds are needed.

    Args:
        beta: how much a step across an edge costs; larger: the walker keeps more strictly to like colours.
        radius: of the disks of seeds round the clicks, in pixels.
        rim: width in pixels of the background at the image's rim while there is no negative click.

    Raises:
        ValueError: scikit-image is not installed, or a setting is impossible.
    """

    zoom_in = None
    flip = False
    mask_threshold = 0.5
    reads_prev_mask = False

    def __init__(self, beta: float = 130.0, radius: float = 5.0, rim: int = 1) -> None:
        super().__init__()
        try:
            from skimage.segmentation import random_walker
        except ImportError as error:
            raise ValueError(
                "random-walker needs scikit-image, which is not installed: pip install 'clicklab[peers]'"
            ) from error
        if beta <= 0 or radius < 0 or rim < 1:
            raise ValueError(f"beta={beta}, radius={radius}, rim={rim}: expected above 0, 0 or more, 1 or more")
        self._walk = random_walker
        self.beta, self.radius, self.rim = beta, radius, rim

    def start(self, image: Tensor) -> PerSample:
        """The images as (H, W, 3) float64 in [0, 1]."""
        return PerSample([rgb8(one) / 255 for one in image])

    def step(self, state: PerSample, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """See `ClickNetwork.step`; probabilities are the walker's own."""
        maps = [self._segment(image, clicks, sample) for sample, image in enumerate(state)]
        probability = torch.from_numpy(np.stack(maps))[:, None].to(prev_mask)
        return Prediction(probability.logit(), state=state)

    def _segment(self, image: np.ndarray, clicks: Clicks, sample: int) -> np.ndarray:
        """(H, W) float64 probability of one image."""
        size = (image.shape[0], image.shape[1])
        seeds = seed_map(clicks, sample, size, self.radius)
        if not (seeds == BACKGROUND).any():
            outside = np.ones(size, dtype=bool)
            outside[self.rim : -self.rim, self.rim : -self.rim] = False
            seeds[outside & (seeds == UNKNOWN)] = BACKGROUND
        if not (seeds == OBJECT).any() or not (seeds == BACKGROUND).any():
            return np.where(seeds == OBJECT, 1 - EDGE, EDGE)
        if not (seeds == UNKNOWN).any():
            return np.where(seeds == OBJECT, 1 - EDGE, EDGE)
        walked = self._walk(image, seeds, self.beta, mode="cg_j", tol=1e-4, return_full_prob=True, channel_axis=-1)
        return np.clip(walked[OBJECT - 1], EDGE, 1 - EDGE)
