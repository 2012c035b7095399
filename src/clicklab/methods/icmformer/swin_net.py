"""iCMFormer with a Swin transformer: two streams meet at 1/16, a third one brings the fine maps.

Source: docs/methods/icmformer.md#swin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from clicklab.clicks.maps import dialogue_maps
from clicklab.methods.icmformer.swin_weights import load_swin
from clicklab.nn.cross_attention import CrossBlock
from clicklab.nn.mlp_head import MLPHead
from clicklab.nn.network import ClickNetwork
from clicklab.nn.normalise import Normalise
from clicklab.nn.resize import resize
from clicklab.nn.swin import SwinTransformer, init_swin
from clicklab.nn.variants import Variants
from clicklab.records import Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn

# Cross blocks: the paper says 4 for Swin-B and Table 3 fits that, the released code has 8. Table 3 fits 8 blocks and
# window 7 for Swin-S, seen at 384 (it prints 224). swin_mini is for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "swin_base": {
        "embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32), "window_size": 12,
        "cross_blocks": 4, "head_channels": 256,
    },
    "swin_small": {
        "embed_dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24), "window_size": 7,
        "cross_blocks": 8, "head_channels": 192,
    },
    "swin_mini": {
        "image_size": 64, "embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4), "window_size": 4,
        "cross_blocks": 2, "head_channels": 16,
    },
}  # fmt: skip
CROSS_HEADS = 8  # in every official Swin model


class ICMFormerSwin(Variants, ClickNetwork):
    """Swin stages 1 and 2 over image and clicks apart, cross blocks over the whole map, stages 3 and 4 over their sum.

    The maps at 1/4 and 1/8 come from a third stream, image plus clicks right after the embedding, which goes through
    the same stages 1 and 2. Image and clicks share one embedding.

    Args:
        image_size: side in pixels of the evaluation view; inputs may have any size.
        embed_dim: channels of the first stage.
        depths: blocks of the four stages.
        num_heads: attention heads of the four stages.
        window_size: side of an attention window in tokens.
        cross_blocks: cross-modality blocks; 0 is "hierarchy without cross-modality" in the paper's Table 4.
        head_channels: width of the segmentation head.
        click_radius: radius of the click disks in pixels.
        dropout: channel dropout before the last layer of the head.
        drop_path: stochastic depth of the last block, growing linearly from 0.

    Raises:
        ValueError: on sizes that do not fit together.
    """

    exact_clicks = True
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = VARIANTS

    def __init__(
        self,
        image_size: int = 384,
        embed_dim: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (4, 8, 16, 32),
        window_size: int = 12,
        cross_blocks: int = 4,
        head_channels: int = 256,
        click_radius: float = 5.0,
        dropout: float = 0.1,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        if len(depths) != 4:
            raise ValueError(f"depths wants four stages, got {list(depths)}")
        if cross_blocks < 0:
            raise ValueError(f"cross_blocks is {cross_blocks}: expected 0 or more")
        self.click_radius = click_radius
        self.zoom_in = ZoomIn((image_size, image_size), skip_clicks=-1)
        self.normalise = Normalise()
        self.backbone = SwinTransformer(embed_dim, depths, num_heads, window_size, drop_path)
        widths = self.backbone.widths
        self.cross_blocks = nn.ModuleList(CrossBlock(widths[2], CROSS_HEADS, eps=1e-5) for _ in range(cross_blocks))
        init_swin(self.cross_blocks)
        self.head = MLPHead(widths, head_channels, dropout)

    def load_pretrained(self, source: str | Path) -> None:
        """Fills the stages from ImageNet-22k training: `swin` (through timm) or the path of an official Swin file."""
        load_swin(self.backbone, source)

    def start(self, image: Tensor) -> dict[str, Tensor]:
        """The image's own stream up to the cross blocks.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].

        Returns:
            `embedded` (B, H/4, W/4, C) for the third stream, and `tokens` (B, H/16, W/16, 4C); sizes rounded up.
        """
        embedded = self.backbone.patch_embed(self.normalise(image))
        return {"embedded": embedded, "tokens": self._first_stages(embedded)}

    def step(self, state: dict[str, Tensor], clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """The mask after some clicks.

        Args:
            state: what `start` gave.
            clicks: B samples, pixels of the image.
            prev_mask: (B, 1, H, W) probability of the mask shown last, zeros at the start.

        Returns:
            logits (B, 1, H, W); `state` goes through unchanged.
        """
        size = (prev_mask.shape[-2], prev_mask.shape[-1])
        clicked = self.backbone.patch_embed(dialogue_maps(clicks, prev_mask, self.click_radius))  # (B, H/4, W/4, C)

        # the third stream: image plus clicks, for the maps at 1/4 and 1/8
        quarter, eighth = self._fine_maps(state["embedded"] + clicked)

        # the clicks ask the image at 1/16, (B, H/16, W/16, 4C); their sum goes through the deep stages
        asked = self._ask(self._first_stages(clicked), state["tokens"])
        third, fourth = self.backbone.stages[2:]
        third_norm, fourth_norm = self.backbone.norms[2:]
        sixteenth = third(state["tokens"] + asked)
        thirtysecond = fourth(third.downsample(sixteenth))

        maps = (quarter, eighth, third_norm(sixteenth), fourth_norm(thirtysecond))
        logits = self.head([one.permute(0, 3, 1, 2) for one in maps])  # (B, 1, H/4, W/4)
        return Prediction(resize(logits, size), state=state)

    def _first_stages(self, x: Tensor) -> Tensor:
        """Stages 1 and 2 with the mergings after them: (B, h, w, C) to (B, h/4, w/4, 4C)."""
        for stage in self.backbone.stages[:2]:
            x = stage.downsample(stage(x))
        return x

    def _fine_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of the third stream at 1/4 and 1/8, normalised; in training it draws its own dropped paths."""
        first, second = self.backbone.stages[:2]
        first_norm, second_norm = self.backbone.norms[:2]
        quarter = first(x)
        eighth = second(first.downsample(quarter))
        return first_norm(quarter), second_norm(eighth)

    def _ask(self, clicked: Tensor, image: Tensor) -> Tensor:
        """Clicks guided by the image, each token seeing all of the map (B, h, w, D)."""
        shape, clicked, image = clicked.shape, clicked.flatten(1, 2), image.flatten(1, 2)
        for block in self.cross_blocks:
            clicked = block(clicked, image)
        return clicked.view(shape)
