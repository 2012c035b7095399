"""SimpleClick: interactive image segmentation with simple vision transformers (Liu et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from clicklab.clicks.maps import dialogue_maps
from clicklab.nn.click_vit import ClickViT
from clicklab.nn.mlp_head import MLPHead
from clicklab.nn.normalise import Normalise
from clicklab.nn.resize import resize
from clicklab.nn.simple_fpn import SimpleFPN
from clicklab.nn.vit import PatchEmbed, VisionTransformer
from clicklab.records import Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn

# xtiny, base, large and huge as released (docs/models.md#plain-vit); small is for minutes on a GPU, tiny
# learns Shapes on a CPU, mini is for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "xtiny": {"embed_dim": 160, "depth": 8, "num_heads": 4, "neck_dims": (96, 192, 288, 384), "head_channels": 128},
    "base": {"embed_dim": 768, "depth": 12, "num_heads": 12, "neck_dims": (128, 256, 512, 1024), "head_channels": 256},
    "large": {
        "embed_dim": 1024, "depth": 24, "num_heads": 16,
        "neck_dims": (192, 384, 768, 1536), "head_channels": 256,
    },
    "huge": {
        "patch_size": 14, "embed_dim": 1280, "depth": 32, "num_heads": 16,
        "neck_dims": (240, 480, 960, 1920), "head_channels": 256,
    },
    "small": {
        "image_size": 128, "patch_size": 8, "embed_dim": 192, "depth": 4, "num_heads": 6,
        "neck_dims": (48, 96, 96, 96), "head_channels": 96, "click_radius": 3.0,
    },
    "tiny": {
        "image_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4,
        "neck_dims": (32, 64, 64, 64), "head_channels": 32,
    },
    "mini": {"embed_dim": 96, "depth": 8, "num_heads": 3, "neck_dims": (16, 32, 64, 128), "head_channels": 32},
}  # fmt: skip


class SimpleClickNet(ClickViT):
    """Plain ViT whose patch tokens are the sum of image patches and click-map patches; one mask per image.

    Args:
        image_size: side in pixels of training crops and of the evaluation view; other input sizes work too.
        patch_size: side of a patch in pixels.
        embed_dim: width of the ViT.
        depth: blocks of the ViT.
        num_heads: attention heads of the ViT.
        neck_dims: channels of the four pyramid maps, finest first.
        head_channels: width of the segmentation head.
        click_radius: radius of the click disks in pixels.
        dropout: channel dropout before the last layer of the head.
        checkpoint_blocks: recompute the ViT's blocks in the backward pass, for large variants in little memory.
    """

    exact_clicks = True
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = VARIANTS

    def __init__(
        self,
        image_size: int = 448,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        neck_dims: Sequence[int] = (128, 256, 512, 1024),
        head_channels: int = 256,
        click_radius: float = 5.0,
        dropout: float = 0.1,
        checkpoint_blocks: bool = False,
    ) -> None:
        super().__init__()
        self.click_radius = click_radius
        self.zoom_in = ZoomIn((image_size, image_size), skip_clicks=-1)
        self.normalise = Normalise()
        self.backbone = VisionTransformer(
            image_size, patch_size, embed_dim, depth, num_heads, checkpoint_blocks=checkpoint_blocks
        )
        self.patch_embed_coords = PatchEmbed(patch_size, 3, embed_dim)
        self.neck = SimpleFPN(embed_dim, neck_dims)
        self.head = MLPHead(neck_dims, head_channels, dropout)

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
        coords = self.patch_embed_coords(dialogue_maps(clicks, prev_mask, self.click_radius))  # (B, H/p, W/p, D)
        features = self.backbone(state + coords)  # (B, D, H/p, W/p)
        logits = self.head(self.neck(features))  # (B, 1, H/4, W/4) with patches of 16 pixels
        return Prediction(resize(logits, size), state=state)
