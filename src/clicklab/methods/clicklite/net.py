"""ClickLite: a small network for clicks on a laptop's processor. What depends on the image alone is computed once.

Ours, from no paper. Which of its parts were tried against what stands in experiments/clicklite/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.clicks.maps import disk_maps
from clicklab.external_checkpoint import PREFIX, fill, plain_weights
from clicklab.methods.clicklite.decoder import SIMILARITIES, DepthwiseBlock, GuideStep, larger, similarity_maps
from clicklab.methods.clicklite.encoder import SPREAD, encoder_stages, imagenet_weights, load_imagenet
from clicklab.nn.network import ClickNetwork
from clicklab.nn.variants import Variants
from clicklab.records import Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn

# lite0 is the one that ships; mini is for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "lite0": {},
    "mini": {"encoder": "mini", "widths": (8, 8, 8, 8, 8), "guide_widths": (8, 8, 8, 8), "keys": 8, "zoom_size": 64},
}
STRIDE = 32  # of the encoder: views are filled up to a multiple of it
LEVELS = 5  # stages of the encoder, strides 2 to 32
OBEYED = 1.5  # pixels of the view: all neighbours from which a bilinear resize makes the clicked pixel of the photo
CERTAIN = 2.0  # logit, a probability of 0.88
KEY_LEVELS = (2, 3)  # strides 8 and 16: keys are made of these, similarity maps join the guidance there
BLOCKS = ((), (3,), (5, 5), (5, 5), (5,))  # kernels of the decoder's blocks, by level


class ClickLiteNet(Variants, ClickNetwork):
    """An ImageNet encoder whose first stages see the image alone; clicks and the last mask join before the rest.

    Args:
        encoder: `lite0` (EfficientNet-Lite0), or `mini` for tests.
        fusion: how many of the five stages see the image alone and run once per view: 2 is early fusion, with clicks
            joining at stride 4; 5 is late fusion, where a click runs the decoder only.
        widths: channels of the decoder at strides 2, 4, 8, 16, 32.
        guide_widths: channels of clicks and mask at strides 4, 8, 16, 32.
        keys: length of the keys by which places are compared with what was clicked (`similarity_maps`); 0: no such
            maps. They want a fusion of 4 or more.
        click_radius: radius of the click disks in pixels of the view.
        zoom_size: longer side of the view in pixels.
        first_size: the same as long as no object is found; None: `zoom_size`.
        flip: whether evaluation averages the view and its mirror.
    """

    mask_threshold = 0.5
    side_multiple = STRIDE
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = VARIANTS

    def __init__(
        self,
        encoder: str = "lite0",
        fusion: int = 4,
        widths: Sequence[int] = (16, 48, 64, 64, 64),
        guide_widths: Sequence[int] = (32, 64, 64, 64),
        keys: int = 32,
        click_radius: float = 4.0,
        zoom_size: int = 256,
        first_size: int | None = None,
        flip: bool = False,
    ) -> None:
        super().__init__()
        if not 2 <= fusion <= LEVELS:
            raise ValueError(f"fusion is {fusion}: 2 (early) to {LEVELS} (late) stages see the image alone")
        self.fusion, self.click_radius, self.flip = fusion, click_radius, flip
        self.zoom_in = ZoomIn(zoom_size, first_size=first_size)
        self.stages, channels = encoder_stages(encoder)
        self.compares = keys > 0 and fusion > max(KEY_LEVELS)
        if self.compares:
            self.key8, self.key16 = (nn.Conv2d(channels[level], keys, 1) for level in KEY_LEVELS)
        self._add_guidance(guide_widths, channels)
        self._add_decoder(widths, guide_widths, channels)
        self._even_out(encoder)

    def _add_guidance(self, guide_widths: Sequence[int], channels: Sequence[int]) -> None:
        # 4 maps in full detail: 4 x 4 pixels become one place with all their values (see `_fine_guide`)
        self.guide_stem = nn.Conv2d(4 * 16, guide_widths[0], 1)
        self.guide_steps = nn.ModuleList(GuideStep(before, after) for before, after in pairwise(guide_widths))
        joins = self.fusion - 1  # the last level that sees the image alone; clicks are added behind it
        self.inject = nn.Conv2d(self._guide_width(joins, guide_widths), channels[joins], 1)
        nn.init.zeros_(self.inject.weight)  # so that training begins with the encoder as ImageNet left it
        nn.init.zeros_(self.inject.bias)  # ty: ignore[invalid-argument-type]

    def _guide_width(self, level: int, guide_widths: Sequence[int]) -> int:
        return guide_widths[level - 1] + (SIMILARITIES if self.compares and level in KEY_LEVELS else 0)

    def _add_decoder(self, widths: Sequence[int], guide_widths: Sequence[int], channels: Sequence[int]) -> None:
        self.laterals = nn.ModuleList(
            nn.Conv2d(inside, width, 1) for inside, width in zip(channels, widths, strict=True)
        )
        self.guides = nn.ModuleList(
            nn.Conv2d(self._guide_width(level, guide_widths), widths[level], 1) for level in range(1, LEVELS)
        )
        self.tops = nn.ModuleList(nn.Conv2d(widths[level + 1], widths[level], 1) for level in range(LEVELS - 1))
        self.blocks = nn.ModuleList(
            nn.Sequential(*(DepthwiseBlock(width, kernel) for kernel in kernels))
            for width, kernels in zip(widths, BLOCKS, strict=True)
        )
        self.context = nn.Linear(widths[-1], widths[-1])
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)

    @torch.no_grad()
    def _even_out(self, encoder: str) -> None:
        """Brings what the decoder reads from the encoder to about the same spread at every stride."""
        for lateral, spread in zip(self.laterals, SPREAD[encoder], strict=True):
            lateral.weight.div_(spread)  # ty: ignore[not-callable]
        if self.compares:
            for key, level in ((self.key8, KEY_LEVELS[0]), (self.key16, KEY_LEVELS[1])):
                key.weight.div_(SPREAD[encoder][level])

    def load_pretrained(self, source: str | Path) -> None:
        """Fills the encoder from ImageNet, or the whole network from a checkpoint of ours.

        Args:
            source: `imagenet` (a package, or timm's download), the path of such a file, or that of a ClickLite
                checkpoint, to go on from its weights with a new optimiser.

        Raises:
            FileNotFoundError, ValueError: no such file, or one of another network.
        """
        weights = imagenet_weights(source)
        if "clicklab_method" not in weights:
            load_imagenet(self.stages, weights)
            return
        state = plain_weights(weights["state_dict"])
        fill(self, {key.removeprefix(PREFIX): value for key, value in state.items()})

    def start(self, image: Tensor) -> dict[str, Tensor]:
        """The stages that see the image alone.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].

        Returns:
            The state of `step`: `deep`, the last of these stages' features; `lateral0`, ..., what the decoder reads
            from each; `keys`, (B, keys, H / 8, W / 8) of length 1. H and W are filled up to multiples of 32.
        """
        x = _filled(image * 2 - 1)
        state: dict[str, Tensor] = {}
        features = []
        for level in range(self.fusion):
            x = self.stages[level](x)
            features.append(x)
            state[f"lateral{level}"] = self.laterals[level](x)
        if self.compares:
            keys = self.key8(features[KEY_LEVELS[0]]) + larger(self.key16(features[KEY_LEVELS[1]]))
            state["keys"] = F.normalize(keys, dim=1)
        state["deep"] = x
        return state

    def step(self, state: dict[str, Tensor], clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """The mask after some clicks.

        Args:
            state: what `start` gave.
            clicks: B samples, pixels of the image.
            prev_mask: (B, 1, H, W) probability of the mask shown last, zeros at the start.

        Returns:
            logits (B, 1, H, W); `state` unchanged.
        """
        height, width = prev_mask.shape[-2:]
        logits = self._decode(state, self._guidance(state, self._maps(clicks, prev_mask)))
        return Prediction(obeyed(logits[..., :height, :width], clicks), state=state)

    def _maps(self, clicks: Clicks, prev_mask: Tensor) -> Tensor:
        """(B, 4, H, W): disks of both signs, the mask shown last, and 1 everywhere where there was one."""
        filled = _filled(prev_mask)  # first: where a graph runs outside of torch, whoever runs it has filled the view
        size = (filled.shape[-2], filled.shape[-1])
        disks = disk_maps(clicks, size, self.click_radius).to(filled)
        has_mask = (filled.amax(dim=(1, 2, 3), keepdim=True) > 0.5).to(filled).expand_as(filled)
        return torch.cat([disks, filled, has_mask], dim=1)

    def _fine_guide(self, maps: Tensor) -> Tensor:
        """(B, C, H / 4, W / 4): `guide_stem` of all values of 4 x 4 pixels, as one convolution with a stride.

        It equals `guide_stem(F.pixel_unshuffle(maps, 4))` without its copy, which onnxruntime makes slowly.
        """
        weight = self.guide_stem.weight.view(-1, maps.shape[1], 4, 4)
        return F.conv2d(maps, weight, self.guide_stem.bias, stride=4)

    def _guidance(self, state: dict[str, Tensor], maps: Tensor) -> list[Tensor]:
        """Clicks and mask by level from stride 4 on, with the similarities where they join."""
        guides = [F.relu(self._fine_guide(maps))]
        for step in self.guide_steps:
            guides.append(step(guides[-1]))
        if self.compares:
            similar = similarity_maps(state["keys"], maps)
            for level in KEY_LEVELS:
                guides[level - 1] = torch.cat([guides[level - 1], similar], dim=1)
                similar = F.avg_pool2d(similar, 2)
        return guides

    def _decode(self, state: dict[str, Tensor], guides: list[Tensor]) -> Tensor:
        """(B, 1, H, W) logits from the rest of the encoder and the way back up."""
        laterals = [state[f"lateral{level}"] for level in range(self.fusion)]
        x = state["deep"] + self.inject(guides[self.fusion - 2])
        for level in range(self.fusion, LEVELS):
            x = self.stages[level](x)
            laterals.append(self.laterals[level](x))
        x = laterals[-1] + self.guides[-1](guides[-1])
        x = self.blocks[-1](x + self.context(x.mean(dim=(2, 3)))[:, :, None, None])
        for level in range(LEVELS - 2, -1, -1):
            x = larger(self.tops[level](x)) + laterals[level]
            if level:
                x = x + self.guides[level - 1](guides[level - 1])
            x = self.blocks[level](F.relu(x))
        return larger(self.head(x).float())


def obeyed(logits: Tensor, clicks: Clicks) -> Tensor:
    """Logits (B, 1, H, W) that agree with every click's sign at its own place: a person has said what is there."""
    disks = disk_maps(clicks, (logits.shape[-2], logits.shape[-1]), OBEYED)
    inside, outside = disks[:, :1] > 0, disks[:, 1:] > 0
    logits = torch.where(inside, logits.clamp_min(CERTAIN), logits)
    return torch.where(outside, logits.clamp_max(-CERTAIN), logits)


def _filled(maps: Tensor) -> Tensor:
    """Zeros at bottom and right, up to sides that the encoder's stride divides."""
    bottom, right = (-side % STRIDE for side in maps.shape[-2:])
    return F.pad(maps, (0, right, 0, bottom)) if bottom or right else maps
