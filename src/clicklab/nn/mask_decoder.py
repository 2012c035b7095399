"""Mask-query decoder of Mask2Former (Cheng et al., CVPR 2022): queries look where their own last mask is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.nn.linear import token_linear
from clicklab.nn.sine_maps import SineMaps


def mlp(dim: int, outputs: int) -> nn.Sequential:
    """Three linear layers with ReLU between them."""
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, outputs))


class DecoderLayer(nn.Module):
    """Post-norm layer over queries (B, Q, D): masked cross-attention, self-attention, two linear layers with ReLU."""

    def __init__(self, dim: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm1 = nn.LayerNorm(dim)
        self.itself = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
        """`position` (Q, D) of the queries; `hidden` (B, Q, M) bool: True where a query must not look."""
        x = self.norm1(x + attend(self.cross, x + position, key, value, hidden))
        placed = x + position
        x = self.norm2(x + attend(self.itself, placed, placed, x))
        return self.norm3(x + self.fc2(F.relu(self.fc1(x))))


def attend(
    layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None = None
) -> Tensor:
    """What an attention layer without dropout answers to queries (B, Q, D).

    Its own forward turns keys and values to (M, B, D), for which PyTorch multiplies every token by weights of its own.

    Args:
        layer: holds the parameters; keys and values of the queries' width.
        query: (B, Q, D).
        key, value: (B, M, D).
        hidden: (B, Q, M) bool, True where a query must not look; no row all True. None: nowhere.
    """
    given = zip((query, key, value), layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3), strict=True)
    parts = [token_linear(*each).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2) for each in given]
    seen = None if hidden is None else ~hidden[:, None]
    answer = F.scaled_dot_product_attention(*parts, attn_mask=seen)
    return layer.out_proj(answer.transpose(1, 2).flatten(2))


class MaskDecoder(nn.Module):
    """Learnt queries to masks. Layer l looks at memory l % number of memories, through the mask predicted before it.

    Args:
        dim: width D.
        hidden: width inside the layers.
        queries: number of masks Q.
        layers: number of layers; there is one prediction more, of the untouched queries.
        heads: attention heads.
        levels: number of memories.
    """

    def __init__(self, dim: int, hidden: int, queries: int, layers: int = 9, heads: int = 8, levels: int = 3) -> None:
        super().__init__()
        self.sine = SineMaps(dim)
        self.query_feat = nn.Parameter(torch.randn(queries, dim))
        self.query_embed = nn.Parameter(torch.randn(queries, dim))
        self.level_embed = nn.Parameter(torch.randn(levels, dim))
        self.layers = nn.ModuleList(DecoderLayer(dim, hidden, heads) for _ in range(layers))
        self.post_norm = nn.LayerNorm(dim)
        self.mask_embed = mlp(dim, dim)
        for parameter in self.layers.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_normal_(parameter)

    def forward(
        self, feature: Tensor, memories: Sequence[Tensor], tokens: Tensor, hidden: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """All predictions, the last one being the answer.

        Args:
            feature: (B, D, h, w) mask features.
            memories: maps (B, D, ., .), coarsest first.
            tokens: (B, N, D) further tokens (clicks) that every query may look at in every layer.
            hidden: (B, N) bool, True for tokens that do not exist.

        Returns:
            the states (B, Q, D) and the mask logits (B, Q, h, w) before the first layer and after every layer.
        """
        sizes = [(memory.shape[-2], memory.shape[-1]) for memory in memories]
        values = [memory.flatten(2).transpose(1, 2) for memory in memories]
        values = [value + code for value, code in zip(values, self.level_embed, strict=True)]
        keys = [torch.cat([v + self.sine(size, v), tokens], dim=1) for v, size in zip(values, sizes, strict=True)]
        values = [torch.cat([value, tokens], dim=1) for value in values]
        hidden = hidden[:, None].expand(-1, len(self.query_feat), -1)
        x = self.query_feat.expand(len(feature), -1, -1)
        states, masks = [], []
        for number in range(len(self.layers) + 1):
            states.append(self.post_norm(x))
            masks.append(torch.einsum("bqc,bchw->bqhw", self.mask_embed(states[-1]), feature))
            if number < len(self.layers):
                level = number % len(memories)
                unseen = torch.cat([_background(masks[-1], sizes[level]), hidden], dim=2)
                x = self.layers[number](x, self.query_embed, keys[level], values[level], unseen)
        return states, masks


@torch.no_grad()
def _background(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, Q, h * w) bool: outside of the mask; a query whose mask is empty may look everywhere."""
    small = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    outside = small.sigmoid().flatten(2) < 0.5
    return outside & ~outside.all(dim=2, keepdim=True)
