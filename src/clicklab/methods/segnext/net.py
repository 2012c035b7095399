"""SegNext: interactive segmentation with low latency, high quality and diverse prompts (Liu et al., CVPR 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.clicks.maps import disk_maps
from clicklab.nn.mae import load_mae
from clicklab.nn.mlp_head import MLPHead
from clicklab.nn.network import ClickNetwork
from clicklab.nn.normalise import Normalise
from clicklab.nn.resize import resize
from clicklab.nn.simple_fpn import SimpleFPN
from clicklab.nn.variants import Variants
from clicklab.nn.vit import Block, PatchEmbed, VisionTransformer
from clicklab.records import Clicks, Prediction

# base and base_sax1 as released (docs/methods/segnext.md); tiny learns Shapes on a CPU, mini is for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "base_sax1": {"fusion_depth": 1},
    "tiny": {
        "image_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4,
        "neck_dims": (32, 64, 64, 64), "head_channels": 32, "fusion_depth": 2,
    },
    "mini": {
        "image_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3,
        "neck_dims": (16, 32, 32, 32), "head_channels": 16, "fusion_depth": 1,
    },
}  # fmt: skip
FUSION_EPS = 1e-5  # of the norms in the fusion blocks; the ViT's have 1e-6 (official code)


class SegNextNet(Variants, ClickNetwork):
    """A ViT reads the image alone, once; click maps and previous mask join its tokens in a few self-attention blocks.

    The image is squeezed to a square of `image_size`, whatever its own sides are; there is no zoom-in.

    Args:
        image_size: side in pixels of the square that the network sees.
        patch_size: side of a patch in pixels.
        embed_dim: width of the ViT and of the fusion.
        depth: blocks of the ViT; the last of each quarter is global, the others see windows.
        num_heads: attention heads of all blocks.
        fusion_depth: self-attention blocks after the clicks have joined (SAx1, SAx2).
        neck_dims: channels of the four pyramid maps, finest first.
        head_channels: width of the segmentation head.
        click_radius: radius of the click disks in pixels of the square.
        dropout: channel dropout before the last layer of the head.
        checkpoint_blocks: recompute the ViT's blocks in the backward pass.
    """

    zoom_in = None
    flip = False
    exact_clicks = True
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = VARIANTS

    def __init__(
        self,
        image_size: int = 1024,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        fusion_depth: int = 2,
        neck_dims: Sequence[int] = (128, 256, 512, 1024),
        head_channels: int = 256,
        click_radius: float = 5.0,
        dropout: float = 0.1,
        checkpoint_blocks: bool = False,
    ) -> None:
        super().__init__()
        self.image_size, self.click_radius = image_size, click_radius
        self.normalise = Normalise()
        self.backbone = VisionTransformer(
            image_size, patch_size, embed_dim, depth, num_heads, checkpoint_blocks=checkpoint_blocks, group=depth // 4
        )
        self.prompt_embed = PatchEmbed(patch_size, 3, embed_dim)
        self.fusion = nn.ModuleList(Block(embed_dim, num_heads, 4.0, FUSION_EPS) for _ in range(fusion_depth))
        self.neck = SimpleFPN(embed_dim, neck_dims)
        self.head = MLPHead(neck_dims, head_channels, dropout)

    def load_pretrained(self, source: str | Path) -> None:
        """Fills the ViT from MAE pre-training: `mae` (through timm) or the path of an official MAE file."""
        load_mae(self.backbone, source)

    def start(self, image: Tensor) -> Tensor:
        """The whole ViT, which sees the image alone.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].

        Returns:
            (B, S/p, S/p, D) tokens, the state of `step`.
        """
        tokens = self.backbone.embed(self._squeezed(self.normalise(image)))
        return self.backbone.run(self.backbone.blocks, tokens)

    def step(self, state: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """The mask after some clicks.

        Args:
            state: what `start` gave.
            clicks: B samples, pixels of the image.
            prev_mask: (B, 1, H, W) probability of the mask shown last, zeros at the start.

        Returns:
            logits (B, 1, H, W); `state` goes through unchanged.
        """
        size = (prev_mask.shape[-2], prev_mask.shape[-1])
        square = (self.image_size, self.image_size)
        disks = disk_maps(self._squeezed_clicks(clicks, size), square, self.click_radius).to(prev_mask)
        fused = state + self.prompt_embed(torch.cat([self._squeezed(prev_mask), disks], dim=1))
        tokens = fused.flatten(1, 2)
        for block in self.fusion:
            tokens = block(tokens)
        features = tokens.view(fused.shape).permute(0, 3, 1, 2)
        logits = self.head(self.neck(features))
        logits = resize(logits, square)
        if size != square:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return Prediction(logits, state=state)

    def _squeezed(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, S, S)."""
        square = (self.image_size, self.image_size)
        if maps.shape[-2:] == square:
            return maps
        return F.interpolate(maps, square, mode="bilinear", align_corners=False)

    def _squeezed_clicks(self, clicks: Clicks, size: tuple[int, int]) -> Clicks:
        """Clicks on an image of `size` in pixels of the square, rounded to whole ones as officially."""
        factor = torch.tensor([self.image_size / side for side in size], dtype=clicks.yx.dtype, device=clicks.yx.device)
        moved = torch.floor(clicks.yx * factor + 0.5)
        return Clicks(torch.where(clicks.valid[..., None], moved, clicks.yx), clicks.label)
