"""The released files of SimpleClick (`{sbd,cocolvis}_vit_{xtiny,base,large,huge}.pth`): keys, sizes, weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from clicklab.foreign import KeyTable, fill, rename_keys
from clicklab.methods.simpleclick.net import VARIANTS, SimpleClickNet

_END = r"(weight|bias)"
KEYS: KeyTable = [
    (r"backbone\.(cls_token|(fc_norm|head)\..*)", None),  # image classification, never run
    (r"head\.up_conv[12]\..*", None),  # upsampling that no released model uses
    (r"backbone\.pos_embed", r"backbone.pos_embed"),  # its class token is cut off below
    (rf"(backbone\.patch_embed|patch_embed_coords)\.proj\.{_END}", r"\1.proj.\2"),
    (rf"backbone\.blocks\.(\d+)\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.{_END}", r"backbone.blocks.\1.\2.\3"),
    (rf"neck\.down_4\.(\d)\.{_END}", r"neck.levels.0.\1.\2"),
    (rf"neck\.down_8\.(\d)\.{_END}", r"neck.levels.1.\1.\2"),
    (rf"neck\.down_16\.(\d)\.{_END}", r"neck.levels.2.\1.\2"),
    (rf"neck\.down_32\.(\d)\.{_END}", r"neck.levels.3.\1.\2"),
    (rf"head\.convs\.(\d)\.conv\.{_END}", r"head.convs.\1.\2"),
    (rf"head\.fusion_conv\.conv\.{_END}", r"head.fusion_conv.\1"),
    (rf"head\.conv_seg\.{_END}", r"head.conv_seg.\1"),
]
_NECK_OUTPUTS = ("neck.levels.0.5.weight", "neck.levels.1.2.weight", "neck.levels.2.0.weight", "neck.levels.3.2.weight")


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of SimpleClick's `PlainVitModel`."""
    return "patch_embed_coords.proj.weight" in weights and any(key.startswith("head.convs.") for key in weights)


def build(hyper_parameters: Mapping[str, Any]) -> SimpleClickNet:
    """The network from `variant` (None: the options are complete) and `network_options`; the rest is ignored."""
    variant = hyper_parameters.get("variant")
    options = dict(hyper_parameters.get("network_options") or {})
    return SimpleClickNet(**options) if variant is None else SimpleClickNet.from_variant(variant, **options)


def from_official(checkpoint: Mapping[str, Any]) -> SimpleClickNet:
    """The network of an official file, weights loaded strictly.

    Raises:
        ValueError: unknown or missing keys, or settings that no released model has.
    """
    weights = rename_keys(checkpoint["state_dict"], KEYS)
    network = SimpleClickNet(**infer_arguments(weights, _settings(checkpoint)))
    grid = network.backbone.pos_embed.shape
    weights["backbone.pos_embed"] = weights["backbone.pos_embed"][:, 1:].reshape(grid)
    fill(network, weights)
    return network


def infer_arguments(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `SimpleClickNet` from shapes (our key names) and, where those do not tell, the file's settings."""
    needed = ("backbone.patch_embed.proj.weight", "backbone.pos_embed", "head.conv_seg.weight", *_NECK_OUTPUTS)
    missing = [key for key in needed if key not in weights]
    if missing:
        raise ValueError(f"{len(missing)} keys missing (our names): {', '.join(missing)}")
    embed_dim, _, patch_size, _ = weights["backbone.patch_embed.proj.weight"].shape
    tokens = weights["backbone.pos_embed"].shape[1] - 1
    if isqrt(tokens) ** 2 != tokens:
        raise ValueError(f"backbone.pos_embed has {tokens} positions, which is no square grid")
    depth = 1 + max((int(key.split(".")[2]) for key in weights if key.startswith("backbone.blocks.")), default=-1)
    return {
        "image_size": isqrt(tokens) * patch_size,
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depth": depth,
        "num_heads": _heads(settings, patch_size, embed_dim, depth),
        "neck_dims": [weights[key].shape[0] for key in _NECK_OUTPUTS],
        "head_channels": weights["head.conv_seg.weight"].shape[1],
        "click_radius": settings.get("norm_radius", 5),
    }


def _settings(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments of the official model that the file records; {} where it records none."""
    params = (checkpoint.get("config") or {}).get("params") or {}
    settings = {name: entry["value"] for name, entry in params.items()}
    released = {"use_disks": True, "with_prev_mask": True, "random_split": False, "use_rgb_conv": False}
    for name, value in released.items():
        if settings.get(name, value) != value:
            raise ValueError(
                f"made with {name}={settings[name]}, which no released SimpleClick has and ClickLab cannot run"
            )
    return settings


def _heads(settings: Mapping[str, Any], patch_size: int, embed_dim: int, depth: int) -> int:
    recorded = (settings.get("backbone_params") or {}).get("num_heads")
    if recorded:
        return int(recorded)
    for variant in VARIANTS.values():
        if (variant.get("patch_size", 16), variant["embed_dim"], variant["depth"]) == (patch_size, embed_dim, depth):
            return variant["num_heads"]
    raise ValueError(
        f"a ViT of patch {patch_size}, width {embed_dim}, depth {depth} is no released one, and the file does "
        "not record its number of attention heads (config.params.backbone_params.value.num_heads)"
    )
