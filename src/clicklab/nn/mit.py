"""Mix Transformer, SegFormer's hierarchical encoder (Xie et al., "SegFormer", NeurIPS 2021), written from the paper.

Sizes: paper, table 6; epsilons of the norms and the place of the click maps: docs/methods/focalclick.md#coarse-network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from clicklab.external_checkpoint import KeyTable, fill, read_backbone, rename_keys
from clicklab.nn.linear import TokenLinear

BLOCK_EPSILON = 1e-6  # of the norms in blocks and behind stages; the others have PyTorch's 1e-5
_END = r"(weight|bias)"
_PARTS = r"norm[12]|attn\.(?:q|kv|proj|sr|norm)|mlp\.fc[12]"
# parameter names of the authors' files, which count stages from 1
MIT_KEYS: KeyTable = [
    *((rf"patch_embed{i + 1}\.(proj|norm)\.{_END}", rf"stages.{i}.embed.\1.\2") for i in range(4)),
    *((rf"block{i + 1}\.(\d+)\.({_PARTS})\.{_END}", rf"stages.{i}.blocks.\1.\2.\3") for i in range(4)),
    *((rf"block{i + 1}\.(\d+)\.mlp\.dwconv\.dwconv\.{_END}", rf"stages.{i}.blocks.\1.mlp.mix.\2") for i in range(4)),
    *((rf"norm{i + 1}\.{_END}", rf"stages.{i}.norm.\1") for i in range(4)),
]


class OverlapPatchEmbed(nn.Module):
    """Overlapping patches by a strided convolution: (B, C, H, W) -> (B, D, ceil(H/stride), ceil(W/stride))."""

    def __init__(self, in_channels: int, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return _over_channels(self.norm, self.proj(x))


class EfficientAttention(nn.Module):
    """Self-attention whose keys and values come from a map shrunk by `reduction` (paper, eq. 2)."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.q = TokenLinear(dim, dim)
        self.kv = TokenLinear(dim, 2 * dim)
        self.proj = TokenLinear(dim, dim)
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, reduction, reduction)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens (B, H * W, D) of a map of `size` (H, W)."""
        source = x
        if self.reduction > 1:
            source = self.norm(_tokens(self.sr(_as_map(x, size))))
        query = self._split(self.q(x))
        key, value = (self._split(part) for part in self.kv(source).chunk(2, dim=-1))
        out = F.scaled_dot_product_attention(query, key, value)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class MixFFN(nn.Module):
    """Two linear layers with a depthwise 3 x 3 convolution between them, which tells positions (paper, eq. 3)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = TokenLinear(dim, hidden)
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = TokenLinear(hidden, dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens (B, H * W, D) of a map of `size` (H, W)."""
        return self.fc2(F.gelu(_tokens(self.mix(_as_map(self.fc1(x), size)))))


class Block(nn.Module):
    """Attention and MixFFN, each behind a norm and beside a shortcut that may be all that is left (drop path)."""

    def __init__(self, dim: int, heads: int, reduction: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=BLOCK_EPSILON)
        self.attn = EfficientAttention(dim, heads, reduction)
        self.norm2 = nn.LayerNorm(dim, eps=BLOCK_EPSILON)
        self.mlp = MixFFN(dim, mlp_ratio * dim)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.mlp(self.norm2(x), size))


class Stage(nn.Module):
    """Patches, blocks and a norm: (B, C, H, W) -> (B, D, H/stride, W/stride)."""

    def __init__(self, embed: OverlapPatchEmbed, blocks: Sequence[Block], dim: int) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, eps=BLOCK_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        size = (x.shape[-2], x.shape[-1])
        tokens = _tokens(x)
        for block in self.blocks:
            tokens = block(tokens, size)
        return _as_map(self.norm(tokens), size)


class MixTransformer(nn.Module):
    """Four stages at strides 4, 8, 16 and 32. B0 is `dims=(32, 64, 160, 256), depths=(2, 2, 2, 2)`.

    Args:
        dims: channels of the stages.
        depths: blocks of the stages.
        heads: attention heads of the stages.
        reductions: by how much keys and values are shrunk in each stage.
        mlp_ratio: hidden width of the MixFFN over its width.
        drop_path: probability of leaving out the last block's branches; it grows linearly from 0 at the first block.
        in_channels: of the image.
    """

    def __init__(
        self,
        dims: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 5, 8),
        reductions: Sequence[int] = (8, 4, 2, 1),
        mlp_ratio: int = 4,
        drop_path: float = 0.1,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        last = max(sum(depths) - 1, 1)
        drops = (drop_path * i / last for i in range(sum(depths)))
        stages, channels = [], in_channels
        for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            embed = OverlapPatchEmbed(channels, dim, *((7, 4) if i == 0 else (3, 2)))
            blocks = [Block(dim, heads[i], reductions[i], mlp_ratio, next(drops)) for _ in range(depth)]
            stages.append(Stage(embed, blocks, dim))
            channels = dim
        self.stages = nn.ModuleList(stages)
        self.apply(initialise)

    def first_stage(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, dims[0], H/4, W/4)."""
        return self.stages[0](image)

    def later_stages(self, x: Tensor) -> list[Tensor]:
        """The maps of stages 2 to 4 from what stands behind stage 1; more may have been added to that."""
        maps = []
        for stage in self.stages[1:]:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, image: Tensor) -> list[Tensor]:
        """The maps of all four stages, finest first."""
        first = self.first_stage(image)
        return [first, *self.later_stages(first)]


def initialise(module: nn.Module) -> None:
    """Linear layers: normal with deviation 0.02, cut off; convolutions: He's rule by fan-out; biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def load_mit(backbone: MixTransformer, source: str | Path) -> None:
    """Fills the encoder from an ImageNet file of the authors (`mit_b0.pth`, non-commercial licence).

    Raises:
        FileNotFoundError: no file there.
        ValueError: not such a file, or one of another size.
    """
    weights = read_backbone(source)
    try:
        fill(backbone, rename_keys(weights, [*MIT_KEYS, (r"head\..*", None)]))
    except ValueError as error:
        raise ValueError(f"{source}: is this the ImageNet file of another Mix Transformer? {error}") from error


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, size)


def _over_channels(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
