"""DISNet: interactive segmentation by considering first-click intentional ambiguity (ACM Multimedia 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from clicklab.clicks.maps import disk_maps, sine_encoding
from clicklab.methods.disnet.refinement import FeatureGuidance, Refinement, TokenAttention
from clicklab.methods.disnet.state import Chosen, Proposals
from clicklab.methods.disnet.steps import ProposeAndRefine
from clicklab.methods.disnet.warm_start import piclick_weights, start_from
from clicklab.nn.click_vit import ClickViT
from clicklab.nn.mask_decoder import MaskDecoder
from clicklab.nn.normalise import Normalise
from clicklab.nn.pixel_decoder import PixelDecoder
from clicklab.nn.resize import resize
from clicklab.nn.simple_fpn import SimpleFPN
from clicklab.nn.vit import PatchEmbed, VisionTransformer
from clicklab.records import EMPTY, Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn

# base is the paper's; small (ViT and clicks of SimpleClick's small) is for minutes on a GPU, tiny learns on a CPU, both
# with radii nearly in proportion to their smaller maps; mini is for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {
        "embed_dim": 768, "depth": 12, "num_heads": 12, "neck_dims": (256, 256, 256, 256),
        "decoder_dim": 256, "pixel_hidden": 1024, "decoder_hidden": 2048,
    },
    "small": {
        "image_size": 128, "patch_size": 8, "embed_dim": 192, "depth": 4, "num_heads": 6,
        "neck_dims": (48, 96, 96, 96), "decoder_dim": 96, "pixel_hidden": 192, "decoder_hidden": 384, "pixel_layers": 1,
        "click_radius": 3.0, "first_radius": 9.0, "other_radius": 3.0,
    },
    "tiny": {
        "image_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4, "neck_dims": (32, 64, 64, 64),
        "decoder_dim": 64, "pixel_hidden": 128, "decoder_hidden": 256, "pixel_layers": 1,
        "first_radius": 5.0, "other_radius": 2.0,
    },
    "mini": {
        "image_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, "neck_dims": (32, 32, 32, 32),
        "decoder_dim": 32, "pixel_hidden": 48, "decoder_hidden": 48, "pixel_layers": 1,
    },
}  # fmt: skip

FirstClick = Literal["encoder", "decoder"]
FRAME = 448  # side of the view
WHOLE = 1_000_000  # pixels: a zoom-in that never looks at less sees the whole image


class DISNetNet(ProposeAndRefine, ClickViT):
    """The first click makes proposals by a whole network (P), later clicks correct the chosen one by a small one (R).

    Args:
        image_size: side in pixels of training crops and of the evaluation view; other input sizes work too.
        patch_size: side of a patch in pixels.
        embed_dim: width of the ViT.
        depth: blocks of the ViT.
        num_heads: attention heads of the ViT.
        neck_dims: channels of the four pyramid maps, finest first.
        decoder_dim: width of pixel decoder, mask queries and R, a multiple of 32.
        pixel_hidden: width inside the layers of the pixel decoder.
        decoder_hidden: width inside the layers of the mask decoder, and of R's token layers.
        pixel_layers: layers of the pixel decoder.
        decoder_layers: layers of the mask decoder (paper: 3; PiClick has 9).
        num_queries: proposals N (not in the paper; PiClick's 7). 1 is the ablation without multiple outputs (MO).
        first_click: `encoder` draws it beside the image (paper); `decoder` shows it to the queries only, as SAM would:
            the ablation without FC.
        click_radius: radius in pixels of the disk of the first click.
        refine_blocks: correction blocks of R.
        first_radius, other_radius: reach of clicks in masked click attention, in cells of the 1/4 map.
        token_attention, feature_guidance, augmented_clicks, conv_ffn, dense_clicks: see `Refinement`.
        refine_first: R answers the first click, too, from every proposal. The paper's answer to it are the proposals
            themselves, and it says that R there costs about 0.3 clicks. No weight depends on it.
        checkpoint_blocks: recompute the ViT's blocks in the backward pass, for little memory.

    Raises:
        ValueError: on sizes that do not divide, radii that are not positive, or an unknown choice.
    """

    reads_prev_mask = False
    second_stage = True
    predictor = "clicklab.methods.disnet.predictor.DISNetPredictor"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = VARIANTS

    def __init__(
        self,
        image_size: int = FRAME,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        neck_dims: Sequence[int] = (256, 256, 256, 256),
        decoder_dim: int = 256,
        pixel_hidden: int = 1024,
        decoder_hidden: int = 2048,
        pixel_layers: int = 6,
        decoder_layers: int = 3,
        num_queries: int = 7,
        first_click: FirstClick = "encoder",
        click_radius: float = 5.0,
        refine_blocks: int = 2,
        first_radius: float = 15.0,
        other_radius: float = 5.0,
        token_attention: TokenAttention = "masked_click",
        feature_guidance: FeatureGuidance = "first_click",
        augmented_clicks: bool = True,
        conv_ffn: bool = True,
        dense_clicks: bool = False,
        refine_first: bool = False,
        checkpoint_blocks: bool = False,
    ) -> None:
        super().__init__()
        _check(self.arguments)
        self.refine_first = refine_first
        self.click_radius, self.num_candidates, self.first_click = click_radius, num_queries, first_click
        self.zoom_in = ZoomIn((image_size, image_size), skip_clicks=-1, min_crop_size=WHOLE)
        self.normalise = Normalise()
        self.backbone = VisionTransformer(
            image_size, patch_size, embed_dim, depth, num_heads, checkpoint_blocks=checkpoint_blocks
        )
        if first_click == "encoder":
            self.patch_embed_coords = PatchEmbed(patch_size, 1, embed_dim)
        else:
            self.click_embed = nn.Parameter(torch.randn(decoder_dim))
        self.neck = SimpleFPN(embed_dim, neck_dims)
        self.pixel_decoder = PixelDecoder(neck_dims, decoder_dim, pixel_hidden, pixel_layers)
        self.mask_decoder = MaskDecoder(decoder_dim, decoder_hidden, num_queries, decoder_layers)
        self.class_head = nn.Linear(decoder_dim, 2)  # the query shows an object that may be meant, or none
        self.refinement = Refinement(
            decoder_dim, decoder_hidden, 8, refine_blocks, (first_radius, other_radius), token_attention,
            feature_guidance, augmented_clicks, conv_ffn, dense_clicks,
        )  # fmt: skip

    def load_pretrained(self, source: str | Path) -> None:
        """`mae` or the path of an official MAE file fill the ViT; a PiClick checkpoint of ours fills all of P."""
        weights = piclick_weights(source)
        if weights is None:
            super().load_pretrained(source)
        else:
            start_from(self, weights)

    def propose(self, tokens: Tensor, clicks: Clicks, size: tuple[int, int]) -> Prediction:
        """The proposal network P (paper, section 3.2).

        Args:
            tokens: what `start` gave.
            clicks: only the first slot is read; it should be positive: a negative click is drawn nowhere.
            size: (H, W) of the image.

        Returns:
            logits (B, Q, H, W), score (B, Q) in 0..1 and a state. Extras in training mode, of all predictions, first to
            last: `masks`, P times logits (B, Q, h, w), and `class_logits` (P, B, Q, 2).
        """
        first = Clicks(clicks.yx[:, :1], clicks.label[:, :1])
        if self.first_click == "encoder":
            disk = disk_maps(first, size, self.click_radius)[:, :1]
            tokens = tokens + self.patch_embed_coords(disk.to(tokens.dtype))
        features, memories = self.pixel_decoder(self.neck(self.backbone(tokens)))
        states, masks = self.mask_decoder(features, memories, *self._click_tokens(first, size, features))
        class_logits = self.class_head(torch.stack(states if self.training else states[-1:]))
        score = class_logits[-1].float().softmax(-1)[..., 0]
        extras = {"masks": masks, "class_logits": class_logits} if self.training else {}
        state = Proposals(features, states[-1], masks[-1], score)
        return Prediction(resize(masks[-1], size), score, state, extras)

    def refine(self, chosen: Chosen, clicks: Clicks, size: tuple[int, int]) -> Tensor:
        """The refinement network R (paper, section 3.3): logits (B, 1, H, W) from what was chosen and all clicks."""
        return resize(self.refinement(chosen.query, chosen.features, chosen.prior, clicks, size), size)

    def _click_tokens(self, first: Clicks, size: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, n, D) that the queries look at, and which are hidden: none, or the first click (ablation)."""
        if self.first_click == "encoder":
            nothing = like.new_zeros(len(first), 0, like.shape[1])
            return nothing, nothing[..., 0].bool()
        return sine_encoding(first.yx, size, like.shape[1]).to(like) + self.click_embed, first.label == EMPTY


def _check(arguments: Mapping[str, Any]) -> None:
    """Raises ValueError naming the argument."""
    choices = {"first_click": FirstClick, "token_attention": TokenAttention, "feature_guidance": FeatureGuidance}
    for name, allowed in choices.items():
        if arguments[name] not in get_args(allowed):
            raise ValueError(f"{name} is {arguments[name]!r}, expected one of: {', '.join(get_args(allowed))}")
    for name in ("num_queries", "refine_blocks"):
        if arguments[name] < 1:
            raise ValueError(f"{name} must be 1 or more, got {arguments[name]}")
    for name in ("first_radius", "other_radius"):
        if arguments[name] <= 0:
            raise ValueError(f"{name} must be positive, got {arguments[name]}")
