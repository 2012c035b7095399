"""Plain vision transformer with windowed and global blocks, the image branch of SimpleClick and PiClick.

Source: Li et al., "Exploring plain vision transformer backbones for object detection" (2022), as SimpleClick uses it:
non-overlapping windows, four groups of blocks (two at depth 12), the last block of each group global, no class token,
no final norm.
Parameter names are those of MAE and timm, so that pre-trained weights need no renaming.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clicklab.nn.linear import TokenLinear

PRETRAINING_SIDE = 224  # a window covers what the MAE pre-training saw as a whole image


class PatchEmbed(nn.Module):
    """Cuts (B, C, H, W) into `patch_size` squares and embeds each linearly: (B, H/p, W/p, D)."""

    def __init__(self, patch_size: int, in_channels: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dim, patch_size, patch_size)

    def forward(self, image: Tensor) -> Tensor:
        if image.device.type == "cuda":
            return self.as_product(image)
        return self.proj(image).permute(0, 2, 3, 1)

    def as_product(self, image: Tensor) -> Tensor:
        """The same as a matrix product of all squares: cuDNN has no fast kernel for so large a one without overlap."""
        side = self.proj.kernel_size[0]
        squares = image.unflatten(3, (-1, side)).unflatten(2, (-1, side)).permute(0, 2, 4, 1, 3, 5)
        return F.linear(squares.flatten(3), self.proj.weight.flatten(1), self.proj.bias)


class Attention(nn.Module):
    """Multi-head self-attention over (B, N, D)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = TokenLinear(dim, 3 * dim)
        self.proj = TokenLinear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(query, key, value)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, dim))


class MLP(nn.Module):
    """Two linear layers with exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = TokenLinear(dim, hidden)
        self.fc2 = TokenLinear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block over (B, N, D)."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Image to feature map, in two parts so that the first can be kept between clicks.

    Args:
        image_size: side in pixels that the position embedding is stored for; other input sizes resample it.
        patch_size: side of a patch in pixels.
        embed_dim: width D, a multiple of `num_heads`.
        depth: number of blocks, a multiple of 4.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP over D.
        checkpoint_blocks: recompute the blocks in the backward pass; slower, but fits ViT-H into less memory.
        group: every so many blocks one is global; None: SimpleClick's rule, 6 at depth 12, else a quarter of the depth.

    Raises:
        ValueError: on sizes that do not divide.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        checkpoint_blocks: bool = False,
        group: int | None = None,
    ) -> None:
        super().__init__()
        if min(image_size, patch_size, embed_dim, depth, num_heads) < 1:
            raise ValueError("image_size, patch_size, embed_dim, depth and num_heads must be positive")
        if patch_size > PRETRAINING_SIDE:
            raise ValueError(f"patch_size must be at most {PRETRAINING_SIDE}, got {patch_size}")
        if depth % 4:
            raise ValueError(f"depth must be a multiple of 4 (four groups of blocks), got {depth}")
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} must be a multiple of num_heads {num_heads}")
        self.patch_size = patch_size
        self.group = group or (6 if depth == 12 else depth // 4)
        self.checkpoint_blocks = checkpoint_blocks
        self.patch_embed = PatchEmbed(patch_size, 3, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, *self.grid((image_size, image_size)), embed_dim))
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, mlp_ratio) for _ in range(depth))
        self._positions: dict[tuple[object, ...], Tensor] = {}
        self._initialise()

    def _initialise(self) -> None:
        """As MAE: Xavier for all matrices (the patch embedding counts as one), small normal positions."""
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.data.flatten(1))
        nn.init.normal_(self.pos_embed, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Tokens per axis of an image of `size` (H, W).

        Raises:
            ValueError: if patches or windows do not tile the image; the message names sizes that work.
        """
        for side in size:
            if not self._tiles(side):
                below = next((s for s in range(side - 1, 0, -1) if self._tiles(s)), None)
                above = next(s for s in range(side + 1, 4 * (side + self.patch_size)) if self._tiles(s))
                nearest = " or ".join(str(s) for s in (below, above) if s)
                raise ValueError(
                    f"input size {size[0]}x{size[1]}: patches of {self.patch_size} pixels and equal attention windows "
                    f"do not tile a side of {side}; the nearest that works is {nearest}"
                )
        return size[0] // self.patch_size, size[1] // self.patch_size

    def _tiles(self, side: int) -> bool:
        tokens, rest = divmod(side, self.patch_size)
        return tokens > 0 and rest == 0 and tokens % self._windows(tokens) == 0

    def _windows(self, tokens: int) -> int:
        """Windows along an axis; the official code divides by zero where less than one fits, here it is one."""
        return max(1, tokens // (PRETRAINING_SIDE // self.patch_size))

    def embed(self, image: Tensor) -> Tensor:
        """Tokens of a normalised image (B, 3, H, W), positions added: (B, H/p, W/p, D)."""
        grid = self.grid((image.shape[-2], image.shape[-1]))
        return self.patch_embed(image) + self.position(grid)

    def position(self, grid: tuple[int, int]) -> Tensor:
        """The position embedding (1, *grid, D); without gradient, resampled ones are kept until the weights change."""
        stored = self.pos_embed
        if grid == tuple(stored.shape[1:3]):
            return stored
        if (torch.is_grad_enabled() and stored.requires_grad) or stored.is_inference():  # the latter have no version
            return resample_positions(stored, grid)
        key = (grid, stored.device, stored.dtype, stored.data_ptr(), stored._version)
        if key not in self._positions:
            self._positions = {k: v for k, v in self._positions.items() if k[1:] == key[1:]}
            self._positions[key] = resample_positions(stored, grid).detach()
        return self._positions[key]

    def forward(self, tokens: Tensor) -> Tensor:
        """Runs all blocks over tokens (B, h, w, D): feature map (B, D, h, w)."""
        return self.run(self.blocks, tokens).permute(0, 3, 1, 2)

    def run(self, blocks: Iterable[nn.Module], tokens: Tensor, guide: Tensor | None = None) -> Tensor:
        """Runs some blocks, which see windows only, but for the last of each full group, which sees everything.

        Args:
            blocks: the first one begins a group; the last group may be broken off.
            tokens: (B, h, w, D).
            guide: (B, h, w, D) tokens that every block is given as well, cut into the same windows.

        Returns:
            (B, h, w, D) tokens.
        """
        batch, height, width, dim = tokens.shape
        tiled, whole = (self._windows(height), self._windows(width)), (1, 1)
        x, windows = tokens.reshape(batch, height * width, dim), whole
        for position, block in enumerate(blocks, start=1):
            wanted = tiled if position % self.group else whole
            if wanted != windows:
                x = join_windows(x, windows, (height, width)).view(tokens.shape)
                x, windows = split_windows(x, wanted), wanted
            x = self._run(block, x) if guide is None else self._run(block, x, split_windows(guide, windows))
        return join_windows(x, windows, (height, width)).view(tokens.shape)

    def _run(self, block: nn.Module, *tokens: Tensor) -> Tensor:
        if self.checkpoint_blocks and torch.is_grad_enabled():
            return checkpoint(block, *tokens, use_reentrant=False)
        return block(*tokens)


def resample_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bicubic resampling of (1, h, w, D) to (1, *grid, D), without antialias as the official code."""
    planes = F.interpolate(positions.permute(0, 3, 1, 2), size=grid, mode="bicubic", align_corners=False)
    return planes.permute(0, 2, 3, 1)


def split_windows(x: Tensor, windows: tuple[int, int]) -> Tensor:
    """(B, h, w, D) into rows x columns `windows`: (B * rows * columns, tokens of a window, D)."""
    batch, height, width, dim = x.shape
    rows, columns = windows
    x = x.view(batch, rows, height // rows, columns, width // columns, dim)
    return x.transpose(2, 3).reshape(batch * rows * columns, -1, dim)


def join_windows(x: Tensor, windows: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Undoes `split_windows`: (B, h * w, D)."""
    rows, columns = windows
    height, width = grid
    x = x.view(-1, rows, columns, height // rows, width // columns, x.shape[-1])
    return x.transpose(2, 3).reshape(x.shape[0], height * width, x.shape[-1])
