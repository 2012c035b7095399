"""HRNet and OCR head that read clicks: the network of RITM, and of what was built on it. Its official key table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.external_checkpoint import KeyTable, count_layers
from clicklab.nn.hrnet import HRNet
from clicklab.nn.ocr import OCRHead, OCROutput

# official `HRNetModel` -> a network that calls its ClickHRNet `segmentor` (docs/models.md#hrnet-with-ocr)
_CONTEXT = r"feature_extractor\.ocr_distri_head\.object_context_block"
CLICK_HRNET_KEYS: KeyTable = [
    (r"maps_transform\.0\.(weight|bias)", r"segmentor.clicks.first.\1"),
    (r"maps_transform\.2\.(weight|bias)", r"segmentor.clicks.second.\1"),
    (r"maps_transform\.3\.scale", r"segmentor.clicks.scale"),
    (r"feature_extractor\.((conv|bn)[12]\..*|(layer|transition|stage)\d\..*)", r"segmentor.backbone.\1"),
    (r"feature_extractor\.aux_head\.(.*)", r"segmentor.ocr.aux.\1"),
    (r"feature_extractor\.conv3x3_ocr\.(.*)", r"segmentor.ocr.pixels.\1"),
    (rf"{_CONTEXT}\.f_(pixel|object)\..*", None),  # attention to a single object, without influence
    (rf"{_CONTEXT}\.f_(down|up)\.(0|1)(?:\.0)?\.(\w+)", r"segmentor.ocr.\1.\2.\3"),
    (r"feature_extractor\.ocr_distri_head\.conv_bn_dropout\.(0|1)(?:\.0)?\.(\w+)", r"segmentor.ocr.fuse.\1.\2"),
    (r"feature_extractor\.cls_head\.(weight|bias)", r"segmentor.ocr.mask.\1"),
]


class ClickStem(nn.Module):
    """Click and mask maps as features that are added to those of the image, officially `maps_transform`.

    Args:
        maps: number of maps.
        channels: of the image's features.
    """

    def __init__(self, maps: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(maps, 16, 1)
        self.second = nn.Conv2d(16, channels, 3, stride=2, padding=1)
        self.scale = nn.Parameter(torch.tensor([0.05]))  # small at first: the image's features are pretrained

    def forward(self, maps: Tensor) -> Tensor:
        """(B, maps, H, W) to (B, channels, ceil(H / 2), ceil(W / 2))."""
        maps = maps.contiguous(memory_format=torch.channels_last)  # as the image's features that they are added to
        return self.second(F.leaky_relu(self.first(maps), 0.2)) * self.scale.abs()


class ClickHRNet(nn.Module):
    """HRNet with OCR head; click and mask maps join behind the first layer of the image. Any input size works.

    Args:
        maps: number of click and mask maps: 3 (previous mask, positive, negative), or 2 without previous mask.
        width: of the HRNet: 18 or 32.
        ocr_width: of the OCR head.
        blocks: see `HRNet`.
        modules: see `HRNet`.
        stem_channels: see `HRNet`.
    """

    def __init__(
        self,
        maps: int,
        width: int,
        ocr_width: int,
        blocks: int = 4,
        modules: Sequence[int] = (1, 4, 3),
        stem_channels: int = 64,
    ) -> None:
        super().__init__()
        self.clicks = ClickStem(maps, stem_channels)
        self.backbone = HRNet(width, blocks, modules, stem_channels)
        self.ocr = OCRHead(self.backbone.channels, ocr_width)
        draw_as_officially(self)  # the backbone's are then replaced by ImageNet's

    def stem(self, image: Tensor) -> Tensor:
        """What depends on the image alone: (B, 3, H, W), normalised, to features at half the size."""
        return self.backbone.stem(image)

    def forward(self, stem: Tensor, maps: Tensor) -> OCROutput:
        """The answer at a quarter of the size.

        Args:
            stem: what `stem` gave.
            maps: (B, maps, H, W), previous mask first.
        """
        return self.ocr(self.backbone(stem + self.clicks(maps)))


def draw_as_officially(module: nn.Module) -> None:
    """Convolutions as all official runs with an HRNet begin (their `XavierGluon`): Gaussian, biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_normal_(layer.weight, gain=2**0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def infer_click_hrnet_arguments(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `ClickHRNet` from the shapes of renamed weights.

    Raises:
        ValueError: keys that are looked at are missing; the message lists them.
    """
    prefix = "segmentor.backbone."
    branch = f"{prefix}stage2.0.branches.0.0.conv1.weight"
    looked_at = ["segmentor.clicks.first.weight", f"{prefix}conv1.weight", branch, "segmentor.ocr.down.0.weight"]
    looked_at += [f"{prefix}{part}.0." for part in ("layer1", "stage2", "stage3", "stage4")]
    missing = [start for start in looked_at if not any(key.startswith(start) for key in weights)]
    if missing:
        raise ValueError(f"{len(missing)} keys missing (our names): {', '.join(missing)}")
    return {
        "maps": weights["segmentor.clicks.first.weight"].shape[1],
        "width": weights[branch].shape[0],
        "ocr_width": weights["segmentor.ocr.down.0.weight"].shape[0],
        "blocks": count_layers(weights, f"{prefix}layer1."),
        "modules": [count_layers(weights, f"{prefix}stage{stage}.") for stage in (2, 3, 4)],
        "stem_channels": weights[f"{prefix}conv1.weight"].shape[0],
    }
