"""What official checkpoints of SimpleClick and PiClick share: keys and sizes of ViT and pyramid."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from clicklab.external_checkpoint import KeyTable, count_layers

END = r"(weight|bias)"
VIT_KEYS: KeyTable = [
    (r"backbone\.(cls_token|(fc_norm|head)\..*)", None),  # image classification, never run
    (r"backbone\.pos_embed", r"backbone.pos_embed"),  # its class token is cut off by `without_class_token`
    (rf"(backbone\.patch_embed|patch_embed_coords)\.proj\.{END}", r"\1.proj.\2"),
    (rf"backbone\.blocks\.(\d+)\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.{END}", r"backbone.blocks.\1.\2.\3"),
    (rf"neck\.down_4\.(\d)\.{END}", r"neck.levels.0.\1.\2"),
    (rf"neck\.down_8\.(\d)\.{END}", r"neck.levels.1.\1.\2"),
    (rf"neck\.down_16\.(\d)\.{END}", r"neck.levels.2.\1.\2"),
    (rf"neck\.down_32\.(\d)\.{END}", r"neck.levels.3.\1.\2"),
]
_NECK_OUTPUTS = ("neck.levels.0.5.weight", "neck.levels.1.2.weight", "neck.levels.2.0.weight", "neck.levels.3.2.weight")
_VIT = ("backbone.patch_embed.proj.weight", "backbone.pos_embed", "backbone.blocks.0.norm1.weight")


def infer_vit_arguments(
    weights: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    variants: Mapping[str, Mapping[str, Any]],
    also_needed: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Sizes of ViT and pyramid from shapes (our key names) and, where those do not tell, the file's settings.

    Args:
        weights: renamed weights, the class token's position still in front.
        settings: what `recorded_settings` gave.
        variants: the method's table, for the number of heads where the file does not record it.
        also_needed: keys that the caller is going to look at.

    Raises:
        ValueError: missing keys (listed), positions of no square grid, or an unknown number of heads.
    """
    missing = [key for key in (*_VIT, *also_needed, *_NECK_OUTPUTS) if key not in weights]
    if missing:
        raise ValueError(f"{len(missing)} keys missing (our names): {', '.join(missing)}")
    embed_dim, _, patch_size, _ = weights[_VIT[0]].shape
    tokens = weights["backbone.pos_embed"].shape[1] - 1
    if isqrt(tokens) ** 2 != tokens:
        raise ValueError(f"backbone.pos_embed has {tokens} positions, which is no square grid")
    depth = count_layers(weights, "backbone.blocks.")
    return {
        "image_size": isqrt(tokens) * patch_size,
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depth": depth,
        "num_heads": _heads(settings, variants, patch_size, embed_dim, depth),
        "neck_dims": [weights[key].shape[0] for key in _NECK_OUTPUTS],
        "click_radius": settings.get("norm_radius", 5),
    }


def without_class_token(positions: Tensor) -> Tensor:
    """(1, 1 + n * n, D) position embedding of an official file to (1, n, n, D)."""
    side = isqrt(positions.shape[1] - 1)
    return positions[:, 1:].unflatten(1, (side, side))


def _heads(
    settings: Mapping[str, Any],
    variants: Mapping[str, Mapping[str, Any]],
    patch_size: int,
    embed_dim: int,
    depth: int,
) -> int:
    recorded = (settings.get("backbone_params") or {}).get("num_heads")
    if recorded:
        return int(recorded)
    for variant in variants.values():
        if (variant.get("patch_size", 16), variant["embed_dim"], variant["depth"]) == (patch_size, embed_dim, depth):
            return variant["num_heads"]
    raise ValueError(
        f"a ViT of patch {patch_size}, width {embed_dim}, depth {depth} is no released one, and the file does "
        "not record its number of attention heads (config.params.backbone_params.value.num_heads)"
    )
