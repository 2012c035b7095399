"""Cross-modality block: one stream of tokens asks another (iCMFormer, section 3.2 and Fig. 3b)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.nn.linear import TokenLinear, token_linear
from clicklab.nn.vit import MLP, Attention


class CrossAttention(nn.Module):
    """Multi-head attention from (B, N, D) to (B, M, D).

    Query, key and value layers are one matrix, as in self-attention and in the official code.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = TokenLinear(dim, 3 * dim)
        self.proj = TokenLinear(dim, dim)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        dim = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        query = token_linear(x, weight[:dim], bias[:dim])
        key, value = token_linear(guide, weight[dim:], bias[dim:]).chunk(2, dim=-1)
        query, key, value = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (query, key, value))
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class CrossBlock(nn.Module):
    """Self-attention, attention to a guide, MLP, each normalised first and added.

    Source: docs/methods/icmformer.md#plain-vit. The paper's text has ReLU and dropout and reads as if the
    self-attention worked on the guide; the released code, followed here, has GELU, no dropout, and self-attention on
    `x`.

    Args:
        dim: width D of both streams.
        num_heads: attention heads, a divisor of D.
        mlp_ratio: hidden width of the MLP over D.
        eps: of the layer norms; the plain ViT has 1e-6, Swin 1e-5.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn1 = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.attn2 = CrossAttention(dim, num_heads)
        self.norm3 = nn.LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x (B, N, D) after having seen `guide` (B, M, D); both share one norm on the way."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), self.norm2(guide))
        return x + self.mlp(self.norm3(x))
