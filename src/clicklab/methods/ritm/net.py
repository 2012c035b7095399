"""RITM: reviving iterative training with mask guidance (Sofiiuk, Petrov, Konushin, ICIP 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from clicklab.clicks.maps import dialogue_maps, disk_maps
from clicklab.nn.click_hrnet import ClickHRNet
from clicklab.nn.hrnet import load_imagenet
from clicklab.nn.network import ClickNetwork
from clicklab.nn.normalise import Normalise
from clicklab.nn.resize import resize
from clicklab.nn.variants import Variants
from clicklab.records import Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn

# hrnet18s, hrnet18, hrnet32 as released (docs/models.md#hrnet-with-ocr); mini is for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "hrnet18s": {"width": 18, "ocr_width": 48, "blocks": 2, "modules": (1, 3, 2)},
    "hrnet18": {"width": 18, "ocr_width": 64},
    "hrnet32": {"width": 32, "ocr_width": 128},
    "mini": {"width": 4, "ocr_width": 8, "blocks": 1, "modules": (1, 1, 1), "stem_channels": 8, "zoom_size": 64},
}


class RITMNet(Variants, ClickNetwork):
    """HRNet with OCR head that reads clicks and the previous mask; one mask per image, of any size.

    Args:
        width: of the HRNet.
        ocr_width: of the OCR head.
        blocks: residual blocks per branch of the HRNet.
        modules: exchange modules of the HRNet's three stages.
        stem_channels: channels of the HRNet's first layers.
        reads_prev_mask: False: the published baseline, which sees the clicks alone.
        click_radius: radius of the click disks in pixels.
        zoom_size: longer side in pixels of what evaluation zooms in to; training crops do not depend on it.
    """

    exact_clicks = True
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = VARIANTS

    def __init__(
        self,
        width: int = 18,
        ocr_width: int = 64,
        blocks: int = 4,
        modules: Sequence[int] = (1, 4, 3),
        stem_channels: int = 64,
        reads_prev_mask: bool = True,
        click_radius: float = 5.0,
        zoom_size: int = 400,
    ) -> None:
        super().__init__()
        self.reads_prev_mask = reads_prev_mask
        self.click_radius = click_radius
        self.zoom_in = ZoomIn(zoom_size, skip_clicks=1)
        self.normalise = Normalise()
        maps = 3 if reads_prev_mask else 2
        self.segmentor = ClickHRNet(maps, width, ocr_width, blocks, modules, stem_channels)

    def load_pretrained(self, source: str | Path) -> None:
        """Fills the HRNet from ImageNet: `imagenet` (through timm) or the path of an official HRNet file."""
        load_imagenet(self.segmentor.backbone, source)

    def start(self, image: Tensor) -> Tensor:
        """The first layer of the HRNet; clicks join right behind it.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].

        Returns:
            (B, stem_channels, ceil(H / 2), ceil(W / 2)), the state of `step`.
        """
        return self.segmentor.stem(self.normalise(image))

    def step(self, state: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """The mask after some clicks.

        Args:
            state: what `start` gave.
            clicks: B samples, pixels of the image.
            prev_mask: (B, 1, H, W) probability of the mask shown last, zeros at the start.

        Returns:
            logits (B, 1, H, W); extras `aux`: (B, 1, H, W) logits of the OCR head's first guess; `state` unchanged.
        """
        size = (prev_mask.shape[-2], prev_mask.shape[-1])
        if self.reads_prev_mask:
            maps = dialogue_maps(clicks, prev_mask, self.click_radius)  # (B, 3, H, W)
        else:
            maps = disk_maps(clicks, size, self.click_radius).to(prev_mask)  # (B, 2, H, W)
        found = self.segmentor(state, maps)  # logits (B, 1, H/4, W/4), sides rounded up
        return Prediction(resize(found.logits, size), state=state, extras={"aux": resize(found.aux, size)})
