"""Random masks with parts and holes."""

import numpy as np
import torch
from torch import nn


def blobs(seed, size=(90, 120), level=0.5):
    """A smooth random mask (H, W) bool."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 1, 7, 9)))
    smooth = nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=True)[0, 0]
    return (smooth + 0.15 * torch.from_numpy(rng.random(size))).numpy() > level + 0.075
