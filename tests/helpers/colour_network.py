"""A network without weights for the tests of the page: a pixel belongs to the click whose colour is nearest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clicklab import Clicks, Prediction

REACH = 0.12  # distance of colours at which the probability is one half while there is no negative click
STEEP = 40.0
TIE = 0.01  # of two signs at one colour the negative one wins


class ColourNetwork(nn.Module):
    """Colours like those at positive clicks, but for those that are nearer to a negative one.

    Args:
        reaches: a candidate for each: how far a colour may be. One reach: no candidates.
    """

    def __init__(self, *reaches: float) -> None:
        super().__init__()
        self.reaches = reaches or (REACH,)
        self.candidates = len(self.reaches)

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """As the contract of networks says."""
        logits = torch.stack([self.one(*sample) for sample in zip(image, clicks.yx, clicks.label, strict=True)])
        if len(self.reaches) == 1:
            return Prediction(logits)
        score = torch.linspace(0.9, 0.4, len(self.reaches)).repeat(len(image), 1)
        return Prediction(logits, score)

    def one(self, image: Tensor, yx: Tensor, label: Tensor) -> Tensor:
        """(K, H, W) logits."""
        height, width = image.shape[-2:]
        nearest = {}
        for sign in (0, 1):
            places = yx[label == sign].round().long()
            rows, columns = places[:, 0].clamp(0, height - 1), places[:, 1].clamp(0, width - 1)
            colours = image[:, rows, columns].T  # (N, 3)
            apart = [(image - colour[:, None, None]).norm(dim=0) for colour in colours]
            nearest[sign] = torch.stack(apart).amin(dim=0) if apart else torch.full((height, width), 9.0)
        return torch.stack(
            [STEEP * (torch.minimum(nearest[0], torch.tensor(reach)) - nearest[1] - TIE) for reach in self.reaches]
        )
