"""A made-up network of two passes (masks from colour and distance to the clicks), and masks to correct."""

import numpy as np
import torch
from torchvision.ops import roi_align
from toys import analytic

from clicklab.nn.two_pass import Refinement, TwoPassNetwork
from clicklab.records import EMPTY, Clicks, Prediction
from clicklab.views.zoom_in import target_crop


class TwoPass(TwoPassNetwork):
    """Coarse masks by `toys.analytic`; the refiner sharpens them and adds brightness. Notes the batch sizes."""

    def __init__(self, kind="colour", image_size=256):
        super().__init__()
        self.kind, self.image_size = kind, image_size
        self.zoom_in = target_crop(image_size)
        self.coarse_calls, self.fine_calls = [], []

    def start(self, image):
        return image

    def step(self, state, clicks, prev_mask):
        self.coarse_calls.append(len(state))
        # official code leaves out clicks with two negative coordinates
        clicks = Clicks(clicks.yx.float(), clicks.label.where(clicks.yx.amax(dim=2) >= 0, EMPTY))
        return Prediction(analytic(self.kind, state, clicks, prev_mask), state=state)

    def refine(self, image, clicks, coarse, boxes):
        self.fine_calls.append(len(image))
        rows = torch.arange(len(boxes), dtype=torch.float32)[:, None]
        return Refinement(*refined(image, coarse.logits, torch.cat([rows, boxes], dim=1)))


def refined(image, logits, regions):
    """Refined, edge and coarse logits; `regions` with their batch index."""
    crop = roi_align(logits, regions, image.shape[-2:], 1.0, aligned=True)
    return 1.1 * crop + 3 * (image.mean(dim=1, keepdim=True) - 0.5), crop, crop


def spoilt(target, seed):
    """A mask (H, W) bool with some rectangles too many and some missing."""
    rng = np.random.default_rng(seed)
    mask = target == 1
    for much in (True, False, True, False, False):
        places = np.argwhere(mask)
        y, x = rng.integers(mask.shape) if much else places[rng.integers(len(places))]
        side = int(rng.integers(6, 25))
        mask[max(0, y - side) : y + side, max(0, x - side) : x + side] = much
    return mask
