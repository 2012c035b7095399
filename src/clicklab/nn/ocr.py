"""Object-contextual representations (Yuan et al., ECCV 2020) for one object class, the head of RITM's HRNets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from clicklab.nn.fold_norms import NormedSequence


class OCROutput(NamedTuple):
    """What the head says of a feature map of (h, w).

    Attributes:
        logits: (B, 1, h, w) the mask.
        aux: (B, 1, h, w) logits of a first guess, which weighs the pixels of the object; it has a loss of its own.
        features: (B, 2 * width, h, w) what the mask is read from.
    """

    logits: Tensor
    aux: Tensor
    features: Tensor


class OCRHead(nn.Module):
    """A first guess of the mask gathers one vector of the object, which every pixel is then told.

    The original lets pixels choose between the vectors of many classes by attention. With one class that attention is
    1 everywhere, so that its layers (`f_pixel`, `f_object` in official files) never have any influence: they are left
    out here.

    Args:
        in_channels: of the feature map.
        width: channels of the object's vector; features have twice as many.
        dropout: probability of dropping a channel of the features; 0.05 officially.
    """

    def __init__(self, in_channels: int, width: int, dropout: float = 0.05) -> None:
        super().__init__()
        wide = 2 * width
        self.aux = NormedSequence(
            nn.Conv2d(in_channels, in_channels, 1),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, 1, 1),
        )
        self.pixels = NormedSequence(
            nn.Conv2d(in_channels, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)
        )
        self.down = _conv1x1(wide, width)
        self.up = _conv1x1(width, wide)
        self.fuse = _conv1x1(2 * wide, wide)
        self.dropout = nn.Dropout2d(dropout)
        self.mask = nn.Conv2d(wide, 1, 1)

    def forward(self, maps: Tensor) -> OCROutput:
        """Mask, first guess and features of (B, in_channels, h, w)."""
        aux = self.aux(maps)
        pixels = self.pixels(maps)
        context = self._context(pixels, aux).expand_as(pixels)
        features = self.dropout(self.fuse(torch.cat([context, pixels], dim=1)))
        return OCROutput(self.mask(features), aux, features)

    def _context(self, pixels: Tensor, aux: Tensor) -> Tensor:
        """The object's vector: (B, C, 1, 1), in training repeated to (B, C, h, w)."""
        weight = aux.flatten(2).softmax(dim=2).to(pixels.dtype)
        context = self.down((pixels.flatten(2) @ weight.transpose(1, 2)).unsqueeze(3))
        if self.training:  # BatchNorm's running variance depends on how many values it is given, as officially h * w
            context = context.expand(-1, -1, *pixels.shape[-2:])
        return self.up(context)


def _conv1x1(inputs: int, outputs: int) -> NormedSequence:
    return NormedSequence(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
