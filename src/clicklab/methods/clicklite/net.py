"""ClickLite: a small network for clicks on a laptop's processor. What depends on the image alone is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.clicks.maps import disk_maps
from clicklab.evaluation.transforms import ZoomIn
from clicklab.methods.clicklite.encoder import encoder_stages, imagenet_weights, load_imagenet
from clicklab.nn.variants import Variants
from clicklab.records import Clicks, Prediction

VARIANTS: dict[str, dict[str, Any]] = {
    "lite0": {},
    "mini": {"encoder": "mini", "widths": (8, 8, 8, 8, 8), "guide_widths": (8, 8, 8, 8, 8), "keys": 8, "zoom_size": 64},
}


class DepthwiseBlock(nn.Module):
    """A kernel per channel, then a 1 x 1 convolution, added to what came in."""

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pointwise(F.relu(self.depthwise(x)))


class GuideStep(nn.Module):
    """Half the size: a kernel of stride 2 per channel, then a 1 x 1 convolution and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, 2, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.pointwise(self.depthwise(F.pad(x, (0, 1, 0, 1)))))


class ClickLiteNet(Variants, nn.Module):
    """An ImageNet encoder whose first stages see the image alone; clicks and the last mask join before the rest."""

    exact_clicks: ClassVar[bool] = False
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = VARIANTS
    mask_threshold: ClassVar[float] = 0.5

    def __init__(
        self,
        encoder: str = "lite0",
        fusion: int = 4,
        widths: tuple[int, ...] = (16, 48, 64, 64, 64),
        guide_widths: tuple[int, ...] = (16, 32, 64, 64, 64),
        keys: int = 32,
        click_radius: float = 4.0,
        zoom_size: int = 256,
        flip: bool = False,
    ) -> None:
        super().__init__()
        self.arguments = {
            "encoder": encoder,
            "fusion": fusion,
            "widths": list(widths),
            "guide_widths": list(guide_widths),
            "keys": keys,
            "click_radius": click_radius,
            "zoom_size": zoom_size,
            "flip": flip,
        }
        self.fusion, self.click_radius, self.flip = fusion, click_radius, flip
        self.zoom_in = ZoomIn(zoom_size, skip_clicks=-1)
        self.stages, channels = encoder_stages(encoder)
        # stride 2, 4, 8, 16, 32
        self.guide_stem = nn.Conv2d(4 * 16, guide_widths[1], 1)
        self.guide_steps = nn.ModuleList(
            GuideStep(a, b) for a, b in zip(guide_widths[1:-1], guide_widths[2:], strict=True)
        )
        self.similar = keys > 0 and fusion >= 4
        extra = 5 if self.similar else 0
        if self.similar:
            self.key8 = nn.Conv2d(channels[2], keys, 1)
            self.key16 = nn.Conv2d(channels[3], keys, 1)
        self.inject = nn.Conv2d(guide_widths[fusion - 1] + (extra if fusion == 4 else 0), channels[fusion - 1], 1)
        nn.init.zeros_(self.inject.weight)
        nn.init.zeros_(self.inject.bias)
        self.laterals = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(channels, widths, strict=True))
        self.guides = nn.ModuleList(
            nn.Conv2d(g + (extra if level in (2, 3) else 0), w, 1)
            for level, (g, w) in enumerate(zip(guide_widths, widths, strict=True))
            if level
        )
        self.tops = nn.ModuleList(nn.Conv2d(widths[i + 1], widths[i], 1) for i in range(4))
        kernels = (3, 3, 5, 5, 5)
        counts = (0, 1, 2, 2, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(DepthwiseBlock(w, k) for _ in range(n)))
            for w, k, n in zip(widths, kernels, counts, strict=True)
        )
        with torch.no_grad():
            for layer, spread in zip(self.laterals, (10.5, 11.0, 7.0, 4.0, 1.75), strict=True):
                layer.weight.div_(spread if encoder == "lite0" else 1.0)
            if self.similar:
                self.key8.weight.div_(7.0)
                self.key16.weight.div_(4.0)
        self.context = nn.Linear(widths[4], widths[4])
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)

    def load_pretrained(self, source: str | Path) -> None:
        load_imagenet(self.stages, imagenet_weights(source))

    def start(self, image: Tensor) -> dict[str, Tensor]:
        x = _padded(image * 2 - 1)
        state: dict[str, Tensor] = {}
        for level in range(self.fusion):
            x = self.stages[level](x)
            state[f"lateral{level}"] = self.laterals[level](x)
            if self.similar and level == 2:
                key8 = self.key8(x)
            if self.similar and level == 3:
                key8 = key8 + _larger(self.key16(x))
        if self.similar and self.fusion > 2:
            state["keys"] = F.normalize(key8, dim=1)
        state["deep"] = x
        return state

    def step(self, state: dict[str, Tensor], clicks: Clicks, prev_mask: Tensor) -> Prediction:
        height, width = prev_mask.shape[-2:]
        logits = self.decode(state, self.maps(clicks, prev_mask))
        return Prediction(logits[..., :height, :width], state=state)

    def maps(self, clicks: Clicks, prev_mask: Tensor) -> Tensor:
        """(B, 4, H, W), padded: disks of both signs, the mask shown last, and 1 everywhere where there was one."""
        size = (prev_mask.shape[-2], prev_mask.shape[-1])
        disks = disk_maps(clicks, size, self.click_radius).to(prev_mask)
        has_mask = (prev_mask.amax(dim=(1, 2, 3), keepdim=True) > 0.5).to(prev_mask).expand_as(prev_mask)
        return _padded(torch.cat([disks, prev_mask, has_mask], dim=1))

    def decode(self, state: dict[str, Tensor], g: Tensor) -> Tensor:
        fine = F.pixel_unshuffle(g, 4).contiguous(memory_format=torch.channels_last)
        guides = [g, F.relu(self.guide_stem(fine))]
        for one in self.guide_steps:
            guides.append(one(guides[-1]))
        if "keys" in state:
            similar = self.similarity(state["keys"], g)
            guides[2] = torch.cat([guides[2], similar], 1)
            guides[3] = torch.cat([guides[3], F.avg_pool2d(similar, 2)], 1)
        x = state["deep"] + self.inject(guides[self.fusion - 1])
        laterals = {level: state[f"lateral{level}"] for level in range(self.fusion)}
        for level in range(self.fusion, 5):
            x = self.stages[level](x)
            laterals[level] = self.laterals[level](x)
        d = laterals[4] + self.guides[3](guides[4])
        d = d + self.context(d.mean(dim=(2, 3)))[:, :, None, None]
        d = self.blocks[4](d)
        for level in (3, 2, 1, 0):
            d = _larger(self.tops[level](d)) + laterals[level]
            if level:
                d = d + self.guides[level - 1](guides[level])
            d = self.blocks[level](F.relu(d))
        return _larger(self.head(d).float())

    def similarity(self, keys: Tensor, g: Tensor) -> Tensor:
        """(B, 5, h, w): how alike each place is to what was clicked: nearest and mean of both signs, and the mask."""
        cells = F.avg_pool2d(g[:, :3], 8)  # shares of click pixels and of the mask, (B, 3, h, w)
        b, _, h, w = cells.shape
        flat = keys.flatten(2)  # (B, C, P)
        weight = cells.flatten(2)
        mean = torch.einsum("bcp,bkp->bkc", flat, weight / weight.sum(-1, keepdim=True).clamp_min(1e-4))
        mean = F.normalize(mean, dim=-1)
        alike = torch.einsum("bcp,bkc->bkp", flat, mean)  # (B, 3, P)
        present = (weight.amax(-1, keepdim=True) > 0).to(alike)
        alike = alike * present
        contrast = alike[:, :1] - alike[:, 1:2]
        masked = alike[:, 2:3] - alike[:, 1:2]
        return torch.cat([alike, contrast, masked], 1).view(b, 5, h, w)

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """`start` and `step` together."""
        return self.step(self.start(image), clicks, prev_mask)


def _padded(maps: Tensor) -> Tensor:
    bottom, right = (-side % 32 for side in maps.shape[-2:])
    return F.pad(maps, (0, right, 0, bottom)) if bottom or right else maps


def _larger(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)
