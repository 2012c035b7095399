"""Swin transformer stages (Liu et al., ICCV 2021) for feature maps of any size.

As in Swin's segmentation and detection code, which differs from its classification code where the windows do not tile
the map: the map is padded with zeros after the norm, padding takes part in the attention, and the shift is kept even
where one window covers everything. Maps are (B, h, w, C) throughout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.nn.linear import TokenLinear
from clicklab.nn.vit import MLP

OTHER_REGION = -100.0  # added to the logits of pairs that are neighbours only because of the cyclic shift


class DropPath(nn.Module):
    """Drops whole samples of a residual branch while training (stochastic depth); the others grow to keep the mean."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.keep = 1.0 - probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.keep == 1.0:
            return x
        kept = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(self.keep)
        return x * (kept / self.keep)


class WindowAttention(nn.Module):
    """Self-attention inside windows with a learnt bias per head and relative position.

    Args:
        dim: channels C, a multiple of `num_heads`.
        window: side of a window in tokens.
        num_heads: attention heads.
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, window: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        self.register_buffer("relative_position_index", relative_positions(window), persistent=False)
        self.qkv = TokenLinear(dim, 3 * dim)
        self.proj = TokenLinear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (B * W, N, C) with the W windows of a map next to each other, mask (W, N, N) or None: (B * W, N, C)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(len(x) // len(mask), 1, 1, 1)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        return self.proj(out.transpose(1, 2).flatten(2))


class SwinBlock(nn.Module):
    """Pre-norm block over (B, h, w, C) whose windows are shifted by `shift` tokens to the right and down."""

    def __init__(self, dim: int, num_heads: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask (W, N, N) as `shift_mask` gives it; used where the windows are shifted."""
        x = x + self.drop_path(self._attend(self.norm1(x), mask if self.shift else None))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, height, width, dim = x.shape
        side, shift = self.window, self.shift
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        padded = x.shape
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
        x = self.attn(to_windows(x, side), mask)
        x = x.view(batch, padded[1] // side, padded[2] // side, side, side, dim).transpose(2, 3).reshape(padded)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))
        return x[:, :height, :width]


class PatchMerging(nn.Module):
    """(B, h, w, C) to (B, h/2, w/2, 2C), odd sides padded with one row or column of zeros."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = TokenLinear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, h/2, row parity, w/2, column parity, C)
        return self.reduction(self.norm(x.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class SwinStage(nn.Module):
    """Blocks at one scale, every second one shifted by half a window; `downsample` leads to the next scale.

    Args:
        dim: channels C.
        num_heads: attention heads.
        window: side of a window in tokens.
        drop_path: probability of every block.
        downsample: whether there is a next scale; `downsample` changes nothing where there is none.
    """

    def __init__(self, dim: int, num_heads: int, window: int, drop_path: Sequence[float], downsample: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            SwinBlock(dim, num_heads, window, window // 2 if position % 2 else 0, probability)
            for position, probability in enumerate(drop_path)
        )
        self.downsample = PatchMerging(dim) if downsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The blocks over (B, h, w, C), without `downsample`."""
        mask = shift_mask((x.shape[1], x.shape[2]), self.window, x.device)
        for block in self.blocks:
            x = block(x, mask)
        return x


class SwinPatchEmbed(nn.Module):
    """(B, 3, H, W) to normalised (B, ceil(H/4), ceil(W/4), C), padded right and below with zeros."""

    patch_size = 4

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, self.patch_size, self.patch_size)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = F.pad(image, (0, -width % self.patch_size, 0, -height % self.patch_size))
        return self.norm(self.proj(image).permute(0, 2, 3, 1))


class SwinTransformer(nn.Module):
    """The parts of a Swin backbone; in which order they run is the business of the network that owns it.

    Args:
        embed_dim: channels C of the first stage; each further one has twice as many.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        window_size: side of a window in tokens.
        drop_path: of the last block; it grows linearly from 0 at the first one.

    Raises:
        ValueError: on sizes that do not fit together.
    """

    def __init__(
        self, embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], window_size: int, drop_path: float
    ) -> None:
        super().__init__()
        if len(depths) != len(num_heads) or not depths:
            raise ValueError(f"depths {list(depths)} and num_heads {list(num_heads)} want one number per stage each")
        if window_size < 2 or min(depths) < 1 or not 0 <= drop_path < 1:
            raise ValueError("window_size wants 2 or more, depths 1 or more, and drop_path lies in 0..1 without 1")
        self.window_size = window_size
        self.patch_embed = SwinPatchEmbed(embed_dim)
        self.widths = [embed_dim * 2**stage for stage in range(len(depths))]
        for dim, heads in zip(self.widths, num_heads, strict=True):
            if dim % heads:
                raise ValueError(f"a stage of {dim} channels wants a number of heads that divides them, got {heads}")
        chances = iter(drop_path * i / max(sum(depths) - 1, 1) for i in range(sum(depths)))
        self.layers = nn.ModuleList(
            SwinStage(dim, heads, window_size, [next(chances) for _ in range(depth)], stage < len(depths) - 1)
            for stage, (dim, depth, heads) in enumerate(zip(self.widths, depths, num_heads, strict=True))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in self.widths)
        init_swin(self)

    @property
    def stages(self) -> list[SwinStage]:
        """The stages, finest first."""
        return [stage for stage in self.layers if isinstance(stage, SwinStage)]


def init_swin(module: nn.Module) -> None:
    """Linear layers from a normal distribution of 0.02 with zero bias, as the official code starts."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def to_windows(x: Tensor, side: int) -> Tensor:
    """(B, h, w, C) to (B * h/side * w/side, side * side, C), windows and tokens in reading order."""
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def relative_positions(window: int) -> Tensor:
    """(N, N) row of the bias table for each pair of the N = window^2 tokens (docs/methods/icmformer.md#swin)."""
    row, column = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    row, column = row.flatten(), column.flatten()
    down, right = row[:, None] - row + window - 1, column[:, None] - column + window - 1
    return down * (2 * window - 1) + right


def shift_mask(size: tuple[int, int], window: int, device: torch.device) -> Tensor:
    """(W, N, N) what is added to the attention logits of shifted windows: 0 inside a region, `OTHER_REGION` across.

    Regions are cut in the shifted map where the last window begins and where the part that wrapped round begins.
    """
    bands = []
    for length in size:
        padded = length + -length % window
        place = torch.arange(padded, device=device)
        bands.append((place >= padded - window).long() + (place >= padded - window // 2).long())
    region = (3 * bands[0][:, None] + bands[1])[None, :, :, None]
    inside = to_windows(region, window)
    return torch.where(inside == inside.transpose(1, 2), 0.0, OTHER_REGION)
