"""PiClick: picking the desired mask in click-based interactive segmentation (Yan et al., Neurocomputing 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from clicklab.clicks.maps import dialogue_maps, sine_encoding
from clicklab.nn.click_vit import ClickViT
from clicklab.nn.mask_decoder import MaskDecoder, mlp
from clicklab.nn.normalise import Normalise
from clicklab.nn.pixel_decoder import PixelDecoder
from clicklab.nn.resize import resize
from clicklab.nn.simple_fpn import SimpleFPN
from clicklab.nn.vit import PatchEmbed, VisionTransformer
from clicklab.records import EMPTY, Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn

# base, large and huge as released (docs/methods/piclick.md#sizes); tiny learns Shapes on a CPU, mini is for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {
        "embed_dim": 768, "depth": 12, "num_heads": 12, "neck_dims": (256, 256, 256, 256),
        "decoder_dim": 256, "pixel_hidden": 1024, "decoder_hidden": 2048,
    },
    "large": {
        "embed_dim": 1024, "depth": 24, "num_heads": 16, "neck_dims": (192, 384, 768, 1536),
        "decoder_dim": 512, "pixel_hidden": 2048, "decoder_hidden": 2048,
    },
    "huge": {
        "patch_size": 14, "embed_dim": 1280, "depth": 32, "num_heads": 16, "neck_dims": (240, 480, 960, 1920),
        "decoder_dim": 512, "pixel_hidden": 2048, "decoder_hidden": 2048,
    },
    "tiny": {
        "image_size": 128, "patch_size": 8, "embed_dim": 144, "depth": 8, "num_heads": 4, "neck_dims": (32, 64, 64, 64),
        "decoder_dim": 64, "pixel_hidden": 128, "decoder_hidden": 256, "pixel_layers": 2, "decoder_layers": 6,
    },
    "mini": {
        "embed_dim": 96, "depth": 8, "num_heads": 3, "neck_dims": (32, 32, 32, 32),
        "decoder_dim": 32, "pixel_hidden": 48, "decoder_hidden": 48, "pixel_layers": 1, "decoder_layers": 3,
    },
}  # fmt: skip

ClickEncoding = Literal["both", "maps", "tokens"]
ScoreRule = Literal["product", "released", "metric", "confidence", "iou"]
# How the Target Reasoning Module ranks candidates, from (confidence, iou, onehot), all in [0, 1]
# (docs/methods/piclick.md#decoder-and-scores).
SCORE_RULES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "product": lambda confidence, iou, onehot: confidence * iou,  # the paper's rule, nowhere in the code
    "released": lambda confidence, iou, onehot: (6 * iou + onehot) / 7,  # `evaluate_model.py --max_score`
    "metric": lambda confidence, iou, onehot: (confidence + 0.8 * iou) / 1.8,  # the code's training metric
    "confidence": lambda confidence, iou, onehot: confidence,  # paper, Table 5
    "iou": lambda confidence, iou, onehot: iou,  # paper, Table 5
}


class PiClickNet(ClickViT):
    """Plain ViT, deformable pixel decoder, and mask queries that also look at the clicks: several masks with scores.

    Args:
        image_size: side in pixels of training crops and of the evaluation view; other input sizes work too.
        patch_size: side of a patch in pixels.
        embed_dim: width of the ViT.
        depth: blocks of the ViT.
        num_heads: attention heads of the ViT.
        neck_dims: channels of the four pyramid maps, finest first.
        decoder_dim: width of pixel decoder, click tokens and mask queries, a multiple of 32.
        pixel_hidden: width inside the layers of the pixel decoder.
        decoder_hidden: width inside the layers of the mask decoder.
        pixel_layers: layers of the pixel decoder.
        decoder_layers: layers of the mask decoder.
        num_queries: candidates per answer.
        click_encoding: `maps` draws clicks as disks beside the image, `tokens` shows them to the queries, or `both`.
        click_radius: radius of the click disks in pixels.
        score_rule: how candidates are ranked, see `SCORE_RULES`; weights do not depend on it.
        confidence_layers: of the head that tells possible targets from nothing: 1 (code) or 3 (paper).
        checkpoint_blocks: recompute the ViT's blocks in the backward pass, for large variants in little memory.

    Raises:
        ValueError: on sizes that do not divide, or an unknown encoding or rule.
    """

    exact_clicks = True
    predictor = "clicklab.methods.piclick.predictor.PiClickPredictor"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = VARIANTS

    def __init__(
        self,
        image_size: int = 448,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        neck_dims: Sequence[int] = (256, 256, 256, 256),
        decoder_dim: int = 256,
        pixel_hidden: int = 1024,
        decoder_hidden: int = 2048,
        pixel_layers: int = 6,
        decoder_layers: int = 9,
        num_queries: int = 7,
        click_encoding: ClickEncoding = "both",
        click_radius: float = 5.0,
        score_rule: ScoreRule = "product",
        confidence_layers: Literal[1, 3] = 1,
        checkpoint_blocks: bool = False,
    ) -> None:
        super().__init__()
        if num_queries < 1:
            raise ValueError(f"num_queries must be 1 or more, got {num_queries}")
        choices = {"click_encoding": get_args(ClickEncoding), "score_rule": SCORE_RULES, "confidence_layers": (1, 3)}
        for name, allowed in choices.items():
            if self.arguments[name] not in allowed:
                raise ValueError(f"{name} is {self.arguments[name]!r}, expected one of: {', '.join(map(str, allowed))}")
        self.click_radius, self.score_rule, self.num_candidates = click_radius, score_rule, num_queries
        self.draws_clicks, self.shows_clicks = click_encoding != "tokens", click_encoding != "maps"
        self.zoom_in = ZoomIn(target_size=(image_size, image_size), skip_clicks=-1)
        self.normalise = Normalise()
        self.backbone = VisionTransformer(
            image_size, patch_size, embed_dim, depth, num_heads, checkpoint_blocks=checkpoint_blocks
        )
        self.patch_embed_coords = PatchEmbed(patch_size, 3 if self.draws_clicks else 1, embed_dim)
        self.neck = SimpleFPN(embed_dim, neck_dims)
        self.pixel_decoder = PixelDecoder(neck_dims, decoder_dim, pixel_hidden, pixel_layers)
        self.mask_decoder = MaskDecoder(decoder_dim, decoder_hidden, num_queries, decoder_layers)
        if self.shows_clicks:
            self.click_embed = nn.Parameter(torch.randn(2, decoder_dim))  # of negative and of positive clicks
        # the query shows a possible target, or none
        self.class_head = nn.Linear(decoder_dim, 2) if confidence_layers == 1 else mlp(decoder_dim, 2)
        self.iou_head = mlp(decoder_dim, 1)  # IoU with the target meant
        self.onehot_head = mlp(decoder_dim, 1)  # best of all queries; in the released code, not in the paper

    def step(self, state: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """Candidates for some clicks.

        Args:
            state: what `start` gave.
            clicks: B samples, pixels of the image.
            prev_mask: (B, 1, H, W) probability of the mask shown last, zeros at the start.

        Returns:
            logits (B, Q, H, W) and score (B, Q) of the last of P = decoder_layers + 1 predictions. Extras:

            * `confidence`, `iou`, `onehot` (B, Q) in [0, 1],
            * in training mode of all predictions, first to last: `masks`, P times logits (B, Q, h, w) before the
              upsampling, `class_logits` (P, B, Q, 2), `iou_logits` and `onehot_logits` (P, B, Q).
        """
        size = (prev_mask.shape[-2], prev_mask.shape[-1])
        coords = self.patch_embed_coords(self._drawn(clicks, prev_mask))
        feature, memories = self.pixel_decoder(self.neck(self.backbone(state + coords)))
        states, masks = self.mask_decoder(feature, memories, *self._click_tokens(clicks, size, feature))
        seen = torch.stack(states if self.training else states[-1:])
        class_logits = self.class_head(seen)
        iou_logits, onehot_logits = self.iou_head(seen)[..., 0], self.onehot_head(seen)[..., 0]
        extras: dict[str, Any] = {
            "confidence": class_logits[-1].float().softmax(-1)[..., 0],
            "iou": iou_logits[-1].float().sigmoid(),
            "onehot": onehot_logits[-1].float().sigmoid(),
        }
        score = SCORE_RULES[self.score_rule](extras["confidence"], extras["iou"], extras["onehot"])
        if self.training:
            extras |= {
                "masks": masks,
                "class_logits": class_logits,
                "iou_logits": iou_logits,
                "onehot_logits": onehot_logits,
            }
        return Prediction(resize(masks[-1], size), score, state, extras)

    def _drawn(self, clicks: Clicks, prev_mask: Tensor) -> Tensor:
        """What the patch embedding of the dialogue reads: (B, 3, H, W), or only the mask where clicks are tokens."""
        if not self.draws_clicks:
            return prev_mask
        return dialogue_maps(clicks, prev_mask, self.click_radius)

    def _click_tokens(self, clicks: Clicks, size: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, D) of the clicks and where they are to be hidden, (B, N) bool: empty slots, clicks outside."""
        if not self.shows_clicks:
            nothing = like.new_zeros(len(clicks), 0, like.shape[1])
            return nothing, nothing[..., 0].bool()
        place = clicks.yx.trunc()  # toward zero, as officially: -0.4 counts as inside
        limits = torch.tensor(size, device=place.device)
        hidden = (clicks.label == EMPTY) | (place < 0).any(-1) | (place >= limits).any(-1)
        tokens = sine_encoding(place, size, like.shape[1]).to(like) + self.click_embed[clicks.label.clamp_min(0).long()]
        return tokens.masked_fill(hidden[..., None], 0.0), hidden
