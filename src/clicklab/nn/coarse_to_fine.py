"""FocalClick's network (Chen et al., CVPR 2022): a coarse segmentor of a small view, a refiner of what changed.

VTMR trains and asks the same network in another way. Source: docs/methods/focalclick.md#coarse-network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision.ops import roi_align

from clicklab.clicks.maps import dialogue_maps, disk_maps
from clicklab.nn.click_hrnet import ClickHRNet, draw_as_officially
from clicklab.nn.click_mit import ClickMiT
from clicklab.nn.hrnet import load_imagenet
from clicklab.nn.mit import load_mit
from clicklab.nn.normalise import Normalise
from clicklab.nn.refiner import LocalRefiner
from clicklab.nn.resize import resize
from clicklab.nn.two_pass import Refinement, TwoPassNetwork
from clicklab.nn.variants import Variants
from clicklab.records import Clicks, Prediction
from clicklab.views.zoom_in import target_crop

MAPS = 3  # previous mask, positive clicks, negative clicks
REFINER_RADIUS = 5.0  # of click discs in the focus view, whatever the coarse view's
# b0, b3, hrnet18s, hrnet32 as released (docs/methods/focalclick.md#files); tiny learns Shapes on a CPU, mini is for
# tests
MIT: dict[str, dict[str, Any]] = {
    "b0": {"dims": (32, 64, 160, 256), "depths": (2, 2, 2, 2), "heads": (1, 2, 5, 8), "channels": 256},
    "b3": {"dims": (64, 128, 320, 512), "depths": (3, 4, 18, 3), "heads": (1, 2, 5, 8), "channels": 512},
    "tiny": {"dims": (32, 64, 96, 128), "depths": (1, 1, 1, 1), "heads": (1, 2, 3, 4), "channels": 64},
    "mini": {"dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1), "heads": (1, 2, 3, 4), "channels": 16},
}
HRNET: dict[str, dict[str, Any]] = {
    "hrnet18s": {"width": 18, "ocr_width": 48, "blocks": 2, "modules": (1, 3, 2)},
    "hrnet32": {"width": 32, "ocr_width": 128, "blocks": 4, "modules": (1, 4, 3)},
}
VARIANTS: dict[str, dict[str, Any]] = {name: {"backbone": name} for name in (*MIT, *HRNET)}
VARIANTS["tiny"]["image_size"] = VARIANTS["mini"]["image_size"] = 64


class CoarseToFine(Variants, TwoPassNetwork):
    """Coarse segmentor (`start`, `step`) and local refiner (`refine`).

    Args:
        backbone: name in `MIT` or `HRNET`.
        image_size: side in pixels of training crops, and of the coarse and the focus view in evaluation.
        halve: the segmentor sees the view at half its size (the paper's S1); the refiner does not.
        click_radius: of the discs in the coarse view before it is halved; official: 5, for S1 3 with SegFormer and
            2 with HRNet.
    """

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = VARIANTS

    def __init__(
        self, backbone: str = "b0", image_size: int = 256, halve: bool = False, click_radius: float = 5.0
    ) -> None:
        super().__init__()
        self.image_size, self.halve, self.click_radius = image_size, halve, click_radius
        self.zoom_in = target_crop(image_size)
        self.normalise = Normalise()
        self.segmentor = build_segmentor(backbone)
        self.refiner = LocalRefiner(feature_channels(backbone))
        if backbone in HRNET:  # official runs with a SegFormer leave it to PyTorch
            draw_as_officially(self.refiner)

    def load_pretrained(self, source: str | Path) -> None:
        """Fills the backbone from image classification.

        Args:
            source: path of an official `mit_b*.pth` or HRNet file; for HRNet also `imagenet`, through timm.
        """
        if isinstance(self.segmentor, ClickMiT):
            load_mit(self.segmentor.backbone, source)
        else:
            load_imagenet(self.segmentor.backbone, source)

    @property
    def extractor(self) -> tuple[str, ...]:
        """The parts with a learning rate of their own: SegFormer's encoder and click maps, or all of HRNet and OCR."""
        return "segmentor.backbone", "segmentor.clicks" if isinstance(self.segmentor, ClickMiT) else "segmentor.ocr"

    def start(self, image: Tensor) -> Tensor:
        """The first layers, which see the image alone.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].
        """
        return self.segmentor.stem(self._small(self.normalise(image)))

    def step(self, state: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """The coarse mask after some clicks.

        Args:
            state: what `start` gave.
            clicks: B samples, pixels of the image.
            prev_mask: (B, 1, H, W) probability of the mask shown last, zeros at the start.

        Returns:
            logits (B, 1, H, W); `state` goes through unchanged; extras `features` (B, C, h, w) for `refine`, and with
            HRNet `aux`, logits (B, 1, H, W) of the first guess.
        """
        size = (prev_mask.shape[-2], prev_mask.shape[-1])
        maps = dialogue_maps(clicks, prev_mask, self.click_radius)  # (B, 3, H, W)
        found = self.segmentor(state, self._small(maps))
        extras = {"features": found.features}
        if found.aux is not None:
            extras["aux"] = resize(found.aux, size)
        return Prediction(resize(found.logits, size), state=state, extras=extras)

    def refine(self, image: Tensor, clicks: Clicks, coarse: Prediction, boxes: Tensor) -> Refinement:
        """The mask anew inside one box of each coarse view.

        Args:
            image: (B, 3, h, w) RGB in [0, 1], the focus views: the boxes cut out of the full images.
            clicks: B samples, pixels of the focus views.
            coarse: what `step` gave for B views.
            boxes: (B, 4) float32 x0, y0, x1, y1 in pixels of the coarse view, ends outside.
        """
        size = (image.shape[-2], image.shape[-1])
        features, logits = coarse.extras["features"].float(), coarse.logits.float()  # half precision would move boxes
        rows = torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype)
        regions = torch.cat([rows[:, None], boxes], dim=1)
        shrink = features.shape[-1] / logits.shape[-1]
        features = roi_align(features, regions, features.shape[-2:], shrink, aligned=True).to(image)
        logits = roi_align(logits, regions, size, 1.0, aligned=True).to(image)
        view = torch.cat([image, disk_maps(clicks, size, REFINER_RADIUS).to(image)], dim=1)
        return Refinement(*self.refiner(view, features, logits), logits)

    def _small(self, maps: Tensor) -> Tensor:
        return resize(maps, (maps.shape[-2] // 2, maps.shape[-1] // 2)) if self.halve else maps


def build_segmentor(backbone: str) -> ClickMiT | ClickHRNet:
    """The coarse segmentor of a name in `MIT` or `HRNET`.

    Raises:
        ValueError: another name; the message lists the known ones.
    """
    if backbone in MIT:
        return ClickMiT(MAPS, **MIT[backbone])
    if backbone in HRNET:
        return ClickHRNet(MAPS, **HRNET[backbone])
    raise ValueError(f"unknown backbone {backbone!r}; known: {', '.join((*MIT, *HRNET))}")


def feature_channels(backbone: str) -> int:
    """Channels of the segmentor's features."""
    return MIT[backbone]["channels"] if backbone in MIT else 2 * HRNET[backbone]["ocr_width"]
