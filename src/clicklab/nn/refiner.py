"""FocalClick's local refiner: a light network that sharpens a coarse mask in a small crop (CVPR 2022, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clicklab.external_checkpoint import KeyTable
from clicklab.nn.fold_norms import NormedSequence
from clicklab.nn.resize import resize

# official `RefineLayer` -> a network that calls its LocalRefiner `refiner` (docs/methods/focalclick.md#refiner)
_BLOCKS = {
    "image_conv1": ("image.0", {"conv": "0", "norm": "1"}),
    "image_conv2": ("image.1", {"conv3x3": "0", "conv1x1": "1", "norm": "2"}),
    "image_conv3": ("image.2", {"conv3x3": "0", "conv1x1": "1", "norm": "2"}),
    "refine_fusion": ("features", {"conv": "0", "norm": "1"}),
    "refine_fusion2": ("joined.0", {"conv3x3": "0", "conv1x1": "1", "norm": "2"}),
    "refine_fusion3": ("joined.1", {"conv3x3": "0", "conv1x1": "1", "norm": "2"}),
}
REFINER_KEYS: KeyTable = [
    *(
        (rf"refiner\.{block}\.{part}\.(\w+)", rf"refiner.{ours}.{number}.\1")
        for block, (ours, parts) in _BLOCKS.items()
        for part, number in parts.items()
    ),
    (r"refiner\.refine_pred\.(\w+)", r"refiner.mask.\1"),
    (r"refiner\.refine_trimap\.(\w+)", r"refiner.edge.\1"),
    (r"refiner\.feature_gate\..*", None),  # never run
]


class LocalRefiner(nn.Module):
    """Sees the crop in full detail beside the coarse network's features of it; decides anew near edges.

    Args:
        feature_channels: of the coarse network's features.
        width: channels inside.
    """

    def __init__(self, feature_channels: int, width: int = 32) -> None:
        super().__init__()
        self.image = nn.Sequential(_conv(6, width, 3, 2), _separable(width), _separable(width))
        self.features = _conv(feature_channels, width, 1, 1)
        self.joined = nn.Sequential(_separable(width), _separable(width))
        self.mask = nn.Conv2d(width, 1, 3, padding=1)
        self.edge = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, view: Tensor, features: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """The sharpened mask.

        Args:
            view: (B, 5, H, W) crop of the image in [0, 1], not normalised (as officially), and two click maps.
            features: (B, C, h, w) coarse features of the crop.
            coarse: (B, 1, H, W) coarse logits of the crop.

        Returns:
            refined logits and edge logits, both (B, 1, H, W). Where the edge is unlikely the coarse logits stay.
        """
        size = (view.shape[-2], view.shape[-1])
        detail = self.image(torch.cat([view, coarse.sigmoid()], dim=1))  # (B, width, H/2, W/2)
        half = (detail.shape[-2], detail.shape[-1])
        joined = self.joined(resize(self.features(features), half) + detail)  # (B, width, H/2, W/2)

        # the new mask counts by as much as an edge is likely
        edge = resize(self.edge(joined), size)
        refined = resize(self.mask(joined), size)
        share = edge.sigmoid()
        return refined * share + coarse * (1 - share), edge


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> NormedSequence:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    return NormedSequence(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _separable(width: int) -> NormedSequence:
    depthwise, pointwise = nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1)
    return NormedSequence(depthwise, pointwise, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
