"""A batch of bright rectangles on grey, each with one click in its middle."""

from __future__ import annotations

import numpy as np
import torch

from clicklab.records import Batch, Clicks


def squares(count=4, side=64):
    rng = np.random.default_rng(0)
    image, target = torch.zeros(count, 3, side, side), torch.zeros(count, 1, side, side)
    for row in range(count):
        y, x = rng.integers(4, 24, 2)
        target[row, :, y : y + 30, x : x + 25] = 1
        image[row] = 0.2 + 0.6 * target[row] + 0.05 * torch.from_numpy(rng.standard_normal((3, side, side))).float()
    clicks = Clicks.from_list([[(float(y), float(x), 1)] for _, y, x in _centres(target)])
    return Batch(image, target, clicks, torch.zeros(count, 1, side, side))


def _centres(target):
    for row, mask in enumerate(target[:, 0]):
        yield row, *mask.nonzero().float().mean(dim=0).round().tolist()
