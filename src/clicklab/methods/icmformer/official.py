"""Files in the format of iCMFormer's trainer: keys, sizes, weights.

No file has been released (docs/methods/icmformer.md#files).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from clicklab.external_checkpoint import KeyTable, count_layers, fill, recorded_settings, rename_keys
from clicklab.methods.icmformer.net import VARIANTS as VIT_VARIANTS
from clicklab.methods.icmformer.net import ICMFormerViT
from clicklab.methods.icmformer.swin_net import ICMFormerSwin
from clicklab.nn.click_vit_keys import (
    END,
    VIT_KEYS,
    infer_vit_arguments,
    without_class_token,
)

CROSS = "backbone.blocks2."
_SHARED: KeyTable = [
    (
        rf"backbone\.blocks2\.(\d+)\.(norm[123]|attn[12]\.qkv|attn[12]\.proj|mlp\.fc[12])\.{END}",
        r"cross_blocks.\1.\2.\3",
    ),
    (r"head\.up_conv[12]\..*", None),  # upsampling that is in every file and never run
    (rf"head\.convs\.(\d)\.conv\.{END}", r"head.convs.\1.\2"),
    (rf"head\.fusion_conv\.conv\.{END}", r"head.fusion_conv.\1"),
    (rf"head\.conv_seg\.{END}", r"head.conv_seg.\1"),
]
KEYS: KeyTable = [*_SHARED, *VIT_KEYS]
SWIN_KEYS: KeyTable = [
    *_SHARED,
    (r"backbone\.patch_embed_coords\..*", None),  # never called: clicks go through the image's embedding
    (r"backbone\..*\.relative_position_index", None),  # follows from the window
    (rf"backbone\.patch_embed\.(proj|norm)\.{END}", r"backbone.patch_embed.\1.\2"),
    (
        rf"backbone\.layers\.(\d)\.blocks\.(\d+)\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.{END}",
        r"backbone.layers.\1.blocks.\2.\3.\4",
    ),
    (
        r"backbone\.layers\.(\d)\.blocks\.(\d+)\.attn\.relative_position_bias_table",
        r"backbone.layers.\1.blocks.\2.attn.relative_position_bias_table",
    ),
    (rf"backbone\.layers\.(\d)\.downsample\.(reduction|norm)\.{END}", r"backbone.layers.\1.downsample.\2.\3"),
    (rf"backbone\.norm(\d)\.{END}", r"backbone.norms.\1.\2"),
]
RELEASED = {"use_disks": True, "with_prev_mask": True, "random_split": False, "use_rgb_conv": False}


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of iCMFormer's `PlainVitModel` or `SwinformerModel`."""
    return any(key.startswith(CROSS) for key in weights) and any(key.startswith("head.convs.") for key in weights)


def from_official(checkpoint: Mapping[str, Any]) -> ICMFormerViT | ICMFormerSwin:
    """The network of an official file, weights loaded strictly.

    Raises:
        ValueError: unknown or missing keys, or settings that no official model has.
    """
    settings = recorded_settings(checkpoint, "iCMFormer", RELEASED)
    if any(key.startswith("backbone.layers.") for key in checkpoint["state_dict"]):
        weights = rename_keys(checkpoint["state_dict"], SWIN_KEYS)
        network = ICMFormerSwin(**infer_swin_arguments(weights, settings))
    else:
        weights = rename_keys(checkpoint["state_dict"], KEYS)
        network = ICMFormerViT(**infer_arguments(weights, settings))
        weights["backbone.pos_embed"] = without_class_token(weights["backbone.pos_embed"])
    fill(network, weights)
    return network


def infer_arguments(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `ICMFormerViT` from shapes (our key names) and, where those do not tell, the file's settings."""
    sizes = infer_vit_arguments(weights, settings, VIT_VARIANTS, ("head.conv_seg.weight",))
    return sizes | {
        "cross_blocks": count_layers(weights, "cross_blocks."),
        "head_channels": weights["head.conv_seg.weight"].shape[1],
    }


def infer_swin_arguments(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `ICMFormerSwin` from shapes (our key names); the bias tables tell heads and window.

    Raises:
        ValueError: missing keys (listed), or a bias table of no square window.
    """
    tables = [f"backbone.layers.{stage}.blocks.0.attn.relative_position_bias_table" for stage in range(4)]
    missing = [
        key for key in ("backbone.patch_embed.proj.weight", "head.conv_seg.weight", *tables) if key not in weights
    ]
    if missing:
        raise ValueError(f"{len(missing)} keys missing (our names): {', '.join(missing)}")
    rows = weights[tables[0]].shape[0]
    window = (isqrt(rows) + 1) // 2
    if (2 * window - 1) ** 2 != rows:
        raise ValueError(f"a position-bias table of {rows} rows is of no square window")
    return {
        "embed_dim": weights["backbone.patch_embed.proj.weight"].shape[0],
        "depths": [count_layers(weights, f"backbone.layers.{stage}.blocks.") for stage in range(4)],
        "num_heads": [weights[key].shape[1] for key in tables],
        "window_size": window,
        "cross_blocks": count_layers(weights, "cross_blocks."),
        "head_channels": weights["head.conv_seg.weight"].shape[1],
        "click_radius": settings.get("norm_radius", 5),
    }
