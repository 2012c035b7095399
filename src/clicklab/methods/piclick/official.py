"""The released files of PiClick (`piclick_{base,large,huge}448.pth`): keys, sizes, weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from clicklab.foreign import KeyTable, fill, rename_keys
from clicklab.methods.piclick.net import VARIANTS, PiClickNet

_END = r"(weight|bias)"
_PIXEL, _LAYER = r"head\.pixel_decoder", r"head\.transformer_decoder\.layers\.(\d+)"
_ENCODER = _PIXEL + r"\.encoder\.layers\.(\d+)"
KEYS: KeyTable = [
    (r"backbone\.(cls_token|(fc_norm|head)\..*)", None),  # image classification, never run
    (r"backbone\.pos_embed", r"backbone.pos_embed"),  # its class token is cut off below
    (rf"(backbone\.patch_embed|patch_embed_coords)\.proj\.{_END}", r"\1.proj.\2"),
    (rf"backbone\.blocks\.(\d+)\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.{_END}", r"backbone.blocks.\1.\2.\3"),
    (rf"neck\.down_4\.(\d)\.{_END}", r"neck.levels.0.\1.\2"),
    (rf"neck\.down_8\.(\d)\.{_END}", r"neck.levels.1.\1.\2"),
    (rf"neck\.down_16\.(\d)\.{_END}", r"neck.levels.2.\1.\2"),
    (rf"neck\.down_32\.(\d)\.{_END}", r"neck.levels.3.\1.\2"),
    (rf"{_PIXEL}\.input_convs\.(\d)\.conv\.{_END}", r"pixel_decoder.input_convs.\1.0.\2"),
    (rf"{_PIXEL}\.input_convs\.(\d)\.gn\.{_END}", r"pixel_decoder.input_convs.\1.1.\2"),
    (rf"{_ENCODER}\.attentions\.0\.(\w+)\.{_END}", r"pixel_decoder.layers.\1.attn.\2.\3"),
    (rf"{_ENCODER}\.ffns\.0\.layers\.0\.0\.{_END}", r"pixel_decoder.layers.\1.fc1.\2"),
    (rf"{_ENCODER}\.ffns\.0\.layers\.1\.{_END}", r"pixel_decoder.layers.\1.fc2.\2"),
    (rf"{_ENCODER}\.norms\.0\.{_END}", r"pixel_decoder.layers.\1.norm1.\2"),
    (rf"{_ENCODER}\.norms\.1\.{_END}", r"pixel_decoder.layers.\1.norm2.\2"),
    (rf"{_PIXEL}\.level_encoding\.weight", r"pixel_decoder.level_encoding"),
    (rf"{_PIXEL}\.lateral_convs\.0\.conv\.weight", r"pixel_decoder.lateral.0.weight"),
    (rf"{_PIXEL}\.lateral_convs\.0\.gn\.{_END}", r"pixel_decoder.lateral.1.\1"),
    (rf"{_PIXEL}\.output_convs\.0\.conv\.weight", r"pixel_decoder.output.0.weight"),
    (rf"{_PIXEL}\.output_convs\.0\.gn\.{_END}", r"pixel_decoder.output.1.\1"),
    (rf"{_PIXEL}\.mask_feature\.{_END}", r"pixel_decoder.mask_feature.\1"),
    (rf"{_LAYER}\.attentions\.0\.attn\.(.+)", r"mask_decoder.layers.\1.cross.\2"),
    (rf"{_LAYER}\.attentions\.1\.attn\.(.+)", r"mask_decoder.layers.\1.itself.\2"),
    (rf"{_LAYER}\.ffns\.0\.layers\.0\.0\.{_END}", r"mask_decoder.layers.\1.fc1.\2"),
    (rf"{_LAYER}\.ffns\.0\.layers\.1\.{_END}", r"mask_decoder.layers.\1.fc2.\2"),
    (rf"{_LAYER}\.norms\.0\.{_END}", r"mask_decoder.layers.\1.norm1.\2"),
    (rf"{_LAYER}\.norms\.1\.{_END}", r"mask_decoder.layers.\1.norm2.\2"),
    (rf"{_LAYER}\.norms\.2\.{_END}", r"mask_decoder.layers.\1.norm3.\2"),
    (rf"head\.transformer_decoder\.post_norm\.{_END}", r"mask_decoder.post_norm.\1"),
    (r"head\.(query_embed|query_feat|level_embed)\.weight", r"mask_decoder.\1"),
    (rf"head\.mask_embed\.(\d)\.{_END}", r"mask_decoder.mask_embed.\1.\2"),
    (rf"head\.cls_embed\.{_END}", r"class_head.\1"),
    (rf"head\.(iou|onehot)_embed\.(\d)\.{_END}", r"\1_head.\2.\3"),
    (r"(positive|negative)_positional_embed\.weight", r"\1"),  # become the rows of click_embed below
]
_NECK_OUTPUTS = ("neck.levels.0.5.weight", "neck.levels.1.2.weight", "neck.levels.2.0.weight", "neck.levels.3.2.weight")


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of `PiClickModel` or of its two click-encoding ablations."""
    return "patch_embed_coords.proj.weight" in weights and "head.query_feat.weight" in weights


def build(hyper_parameters: Mapping[str, Any]) -> PiClickNet:
    """The network from `variant` (None: the options are complete) and `network_options`; the rest is ignored."""
    variant = hyper_parameters.get("variant")
    options = dict(hyper_parameters.get("network_options") or {})
    return PiClickNet(**options) if variant is None else PiClickNet.from_variant(variant, **options)


def from_official(checkpoint: Mapping[str, Any]) -> PiClickNet:
    """The network of an official file, weights loaded strictly.

    Raises:
        ValueError: unknown or missing keys, or settings that no released model has.
    """
    weights = rename_keys(checkpoint["state_dict"], KEYS)
    network = PiClickNet(**infer_arguments(weights, _settings(checkpoint)))
    weights["backbone.pos_embed"] = weights["backbone.pos_embed"][:, 1:].reshape(network.backbone.pos_embed.shape)
    if network.shows_clicks:
        weights["click_embed"] = torch.cat([weights.pop("negative"), weights.pop("positive")])
    fill(network, weights)
    return network


def infer_arguments(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `PiClickNet` from shapes (our key names) and, where those do not tell, the file's settings."""
    hidden = ("pixel_decoder.layers.0.fc1.weight", "mask_decoder.layers.0.fc1.weight")
    vit = ("backbone.patch_embed.proj.weight", "backbone.pos_embed", "backbone.blocks.0.norm1.weight")
    needed = (*vit, "mask_decoder.query_feat", *hidden, *_NECK_OUTPUTS)
    missing = [key for key in needed if key not in weights]
    if missing or ("positive" in weights) != ("negative" in weights):
        missing = missing or ["positive or negative click embedding"]
        raise ValueError(f"{len(missing)} keys missing (our names): {', '.join(missing)}")
    embed_dim, _, patch_size, _ = weights["backbone.patch_embed.proj.weight"].shape
    tokens = weights["backbone.pos_embed"].shape[1] - 1
    if isqrt(tokens) ** 2 != tokens:
        raise ValueError(f"backbone.pos_embed has {tokens} positions, which is no square grid")
    depth = _count(weights, "backbone.blocks.")
    draws = weights["patch_embed_coords.proj.weight"].shape[1] == 3
    return {
        "image_size": isqrt(tokens) * patch_size,
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depth": depth,
        "num_heads": _heads(settings, patch_size, embed_dim, depth),
        "neck_dims": [weights[key].shape[0] for key in _NECK_OUTPUTS],
        "decoder_dim": weights["mask_decoder.query_feat"].shape[1],
        "pixel_hidden": weights[hidden[0]].shape[0],
        "decoder_hidden": weights[hidden[1]].shape[0],
        "pixel_layers": _count(weights, "pixel_decoder.layers."),
        "decoder_layers": _count(weights, "mask_decoder.layers."),
        "num_queries": weights["mask_decoder.query_feat"].shape[0],
        "click_encoding": "maps" if "positive" not in weights else "both" if draws else "tokens",
        "click_radius": settings.get("norm_radius", 5),
    }


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Number of the layers whose keys begin with `prefix`."""
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in weights if key.startswith(prefix))


def _settings(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments of the official model that the file records; {} where it records none."""
    params = (checkpoint.get("config") or {}).get("params") or {}
    settings = {name: entry["value"] for name, entry in params.items()}
    released = {"num_classes": 1, "use_disks": True, "with_prev_mask": True, "random_split": False}
    for name, value in released.items():
        if settings.get(name, value) != value:
            raise ValueError(
                f"made with {name}={settings[name]}, which no released PiClick has and ClickLab cannot run"
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
