"""iCMFormer with a plain ViT: image and clicks are two streams, one guides the other (Li et al., ICCVW 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from clicklab.clicks.maps import dialogue_maps
from clicklab.nn.click_vit import ClickViT
from clicklab.nn.cross_attention import CrossBlock
from clicklab.nn.mlp_head import MLPHead
from clicklab.nn.normalise import Normalise
from clicklab.nn.resize import resize
from clicklab.nn.simple_fpn import SimpleFPN
from clicklab.nn.vit import PatchEmbed, VisionTransformer
from clicklab.records import Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn

# base, large and huge as the official code has them (docs/methods/icmformer.md; the paper measures base only);
# tiny learns Shapes on a CPU, mini is for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {
        "embed_dim": 768, "depth": 12, "num_heads": 12, "cross_blocks": 3,
        "neck_dims": (128, 256, 512, 1024), "head_channels": 256,
    },
    "large": {
        "embed_dim": 1024, "depth": 24, "num_heads": 16, "cross_blocks": 5,
        "neck_dims": (192, 384, 768, 1536), "head_channels": 256,
    },
    "huge": {
        "patch_size": 14, "embed_dim": 1280, "depth": 32, "num_heads": 16, "cross_blocks": 6,
        "neck_dims": (240, 480, 960, 1920), "head_channels": 256,
    },
    "tiny": {
        "image_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4, "cross_blocks": 1,
        "neck_dims": (32, 64, 64, 64), "head_channels": 32,
    },
    "mini": {
        "image_size": 64, "patch_size": 8, "embed_dim": 24, "depth": 8, "num_heads": 3, "cross_blocks": 2,
        "neck_dims": (8, 16, 16, 16), "head_channels": 16,
    },
}  # fmt: skip


class ICMFormerViT(ClickViT):
    """First half of a ViT over image and clicks apart, cross blocks, second half over their sum; one mask per image.

    What depends on the image alone is in the state: its tokens after the first half. Keys and values of the cross
    blocks would be the next thing to keep; they are not, because they multiply the memory of a state by seven.

    Args:
        image_size: side in pixels of training crops and of the evaluation view; other input sizes work too.
        patch_size: side of a patch in pixels.
        embed_dim: width of the ViT.
        depth: blocks of the ViT, both halves together.
        num_heads: attention heads of the ViT and of the cross blocks.
        cross_blocks: cross-modality blocks between the halves; 0 is the base model of the paper's Table 4.
        guide: which stream the other one asks: the image guides the clicks (the paper's model) or the other way round.
        clicks_attend: whether clicks go through the first half too, or only through their patch embedding (Table 5).
        neck_dims: channels of the four pyramid maps, finest first.
        head_channels: width of the segmentation head.
        click_radius: radius of the click disks in pixels.
        dropout: channel dropout before the last layer of the head.
        checkpoint_blocks: recompute the blocks in the backward pass, for large variants in little memory.

    Raises:
        ValueError: on a guide that does not exist, or sizes that do not fit.
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
        cross_blocks: int = 3,
        guide: Literal["image", "clicks"] = "image",
        clicks_attend: bool = True,
        neck_dims: Sequence[int] = (128, 256, 512, 1024),
        head_channels: int = 256,
        click_radius: float = 5.0,
        dropout: float = 0.1,
        checkpoint_blocks: bool = False,
    ) -> None:
        super().__init__()
        if guide not in ("image", "clicks"):
            raise ValueError(f"guide is {guide!r}: expected image or clicks")
        if cross_blocks < 0:
            raise ValueError(f"cross_blocks is {cross_blocks}: expected 0 or more")
        self.guide, self.clicks_attend, self.click_radius = guide, clicks_attend, click_radius
        self.zoom_in = ZoomIn((image_size, image_size), skip_clicks=-1)
        self.normalise = Normalise()
        self.backbone = VisionTransformer(
            image_size, patch_size, embed_dim, depth, num_heads, checkpoint_blocks=checkpoint_blocks
        )
        self.patch_embed_coords = PatchEmbed(patch_size, 3, embed_dim)
        self.cross_blocks = nn.ModuleList(CrossBlock(embed_dim, num_heads) for _ in range(cross_blocks))
        for layer in self.cross_blocks.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.neck = SimpleFPN(embed_dim, neck_dims)
        self.head = MLPHead(neck_dims, head_channels, dropout)

    def start(self, image: Tensor) -> Tensor:
        """The image's tokens after the first half of the ViT.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].

        Returns:
            (B, H/p, W/p, D), the state of `step`.

        Raises:
            ValueError: if patches and attention windows do not tile the image.
        """
        return self.backbone.run(self._halves[0], super().start(image))

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
        first, second = self._halves

        # tokens of the clicks, (B, H/p, W/p, D) as those of the image in `state`
        clicked = self.patch_embed_coords(dialogue_maps(clicks, prev_mask, self.click_radius))
        clicked = clicked + self.backbone.position((clicked.shape[1], clicked.shape[2]))
        if self.clicks_attend:
            clicked = self.backbone.run(first, clicked)

        # one of the two streams asks the other
        seen = state
        if self.guide == "image":
            clicked = self.backbone.run(self.cross_blocks, clicked, guide=seen)
        else:
            seen = self.backbone.run(self.cross_blocks, seen, guide=clicked)

        # both together: features (B, D, H/p, W/p), logits (B, 1, H/4, W/4) with patches of 16 pixels
        features = self.backbone.run(second, seen + clicked).permute(0, 3, 1, 2)
        logits = self.head(self.neck(features))
        return Prediction(resize(logits, size), state=state)

    @property
    def _halves(self) -> tuple[nn.ModuleList, nn.ModuleList]:
        blocks, half = self.backbone.blocks, len(self.backbone.blocks) // 2
        return blocks[:half], blocks[half:]
