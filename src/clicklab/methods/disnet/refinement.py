"""The refinement network R: two blocks that correct a proposal by the clicks (paper, section 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.methods.disnet.click_attention import MaskedClickAttention, PlainAttention
from clicklab.methods.disnet.evidence import Evidence
from clicklab.methods.disnet.guidance import FirstClickGuidance, SamGuidance
from clicklab.nn.linear import PixelLinear
from clicklab.nn.mask_decoder import mlp
from clicklab.records import Clicks

WIDENING = 2  # of the convolutions that follow the guidance (A-20 of docs/methods/disnet.md)

TokenAttention = Literal["masked_click", "sam"]
FeatureGuidance = Literal["first_click", "sam"]


class ConvFFN(nn.Module):
    """1 x 1 to twice the width, depth-wise 3 x 3, GELU, 1 x 1 back; (B, D, h, w) to the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = WIDENING * dim
        self.widen = PixelLinear(dim, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.narrow = PixelLinear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.depthwise(self.widen(x))))


class MapNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, D, h, w)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MaskCorrection(nn.Module):
    """Dual-attentional mask correction: the token learns from the features, then the features from the clicks.

    Args: as `Refinement`.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        heads: int,
        token_attention: TokenAttention,
        feature_guidance: FeatureGuidance,
        augmented_clicks: bool,
        conv_ffn: bool,
    ) -> None:
        super().__init__()
        attention = MaskedClickAttention if token_attention == "masked_click" else PlainAttention
        self.click_attention = attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.guidance = (
            FirstClickGuidance(dim, heads, augmented_clicks)
            if feature_guidance == "first_click"
            else SamGuidance(dim, heads)
        )
        self.norm3 = MapNorm(dim)
        self.conv_ffn = nn.Sequential(ConvFFN(dim), MapNorm(dim)) if conv_ffn else None

    def forward(self, token: Tensor, features: Tensor, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """Corrected token (B, D) and features (B, D, h, w)."""
        token = self.norm1(token + self.click_attention(token, features, evidence))
        token = self.norm2(token + self.fc2(F.relu(self.fc1(token))))
        features = self.norm3(features + self.guidance(token, features, evidence))
        if self.conv_ffn is not None:
            convolve, norm = self.conv_ffn
            features = norm(features + convolve(features))
        return token, features


class Refinement(nn.Module):
    """Corrects a proposal by all clicks. The answer depends on the set of clicks alone, not on masks shown before.

    Args:
        dim: width D of token and features.
        hidden: width inside the token's two linear layers.
        heads: attention heads.
        blocks: number of correction blocks (paper: 2).
        radii: reach of the first click and of all others in masked click attention, in cells of the features.
        token_attention: `masked_click` (paper), or `sam`: the ablation without it.
        feature_guidance: `first_click` (paper), or `sam`: the ablation without it.
        augmented_clicks: guidance sees clicks as image feature and click code; False: the ablation without AC.
        conv_ffn: convolutions after the guidance; False: the ablation without.
        dense_clicks: also adds a convolution of the decay maps to the features. Not in the paper: there clicks reach
            the features by channel gates alone, which cannot tell one place from another (docs/methods/disnet.md).
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        heads: int = 8,
        blocks: int = 2,
        radii: tuple[float, float] = (15.0, 5.0),
        token_attention: TokenAttention = "masked_click",
        feature_guidance: FeatureGuidance = "first_click",
        augmented_clicks: bool = True,
        conv_ffn: bool = True,
        dense_clicks: bool = False,
    ) -> None:
        super().__init__()
        self.radii = radii
        self.dense = nn.Conv2d(2, dim, 3, padding=1) if dense_clicks else None
        self.blocks = nn.ModuleList(
            MaskCorrection(dim, hidden, heads, token_attention, feature_guidance, augmented_clicks, conv_ffn)
            for _ in range(blocks)
        )
        self.mask_embed = mlp(dim, dim)

    def forward(self, token: Tensor, features: Tensor, prior: Tensor, clicks: Clicks, size: tuple[int, int]) -> Tensor:
        """The corrected mask.

        Args:
            token: (B, D) of the chosen proposal.
            features: (B, D, h, w).
            prior: (B, h, w) logits of the chosen proposal; a constant, no gradient flows into it.
            clicks: of B samples in pixels of the image, the first click in slot 0.
            size: (H, W) of the image.

        Returns:
            (B, 1, h, w) logits.
        """
        evidence = Evidence.of(clicks, size, prior.detach(), self.radii)
        if self.dense is not None:
            features = features + self.dense(evidence.near.to(features))
        for block in self.blocks:
            token, features = block(token, features, evidence)
        return torch.einsum("bd,bdhw->bhw", self.mask_embed(token), features)[:, None]
