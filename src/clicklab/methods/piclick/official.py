"""The released files of PiClick (`piclick_{base,large,huge}448.pth`): keys, sizes, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clicklab.external_checkpoint import KeyTable, count_layers, fill, recorded_settings, rename_keys
from clicklab.methods.piclick.net import VARIANTS, PiClickNet
from clicklab.nn.click_vit_keys import (
    END,
    VIT_KEYS,
    infer_vit_arguments,
    without_class_token,
)

_PIXEL, _LAYER = r"head\.pixel_decoder", r"head\.transformer_decoder\.layers\.(\d+)"
_ENCODER = _PIXEL + r"\.encoder\.layers\.(\d+)"
KEYS: KeyTable = [
    *VIT_KEYS,
    (rf"{_PIXEL}\.input_convs\.(\d)\.conv\.{END}", r"pixel_decoder.input_convs.\1.0.\2"),
    (rf"{_PIXEL}\.input_convs\.(\d)\.gn\.{END}", r"pixel_decoder.input_convs.\1.1.\2"),
    (rf"{_ENCODER}\.attentions\.0\.(\w+)\.{END}", r"pixel_decoder.layers.\1.attn.\2.\3"),
    (rf"{_ENCODER}\.ffns\.0\.layers\.0\.0\.{END}", r"pixel_decoder.layers.\1.fc1.\2"),
    (rf"{_ENCODER}\.ffns\.0\.layers\.1\.{END}", r"pixel_decoder.layers.\1.fc2.\2"),
    (rf"{_ENCODER}\.norms\.0\.{END}", r"pixel_decoder.layers.\1.norm1.\2"),
    (rf"{_ENCODER}\.norms\.1\.{END}", r"pixel_decoder.layers.\1.norm2.\2"),
    (rf"{_PIXEL}\.level_encoding\.weight", r"pixel_decoder.level_encoding"),
    (rf"{_PIXEL}\.lateral_convs\.0\.conv\.weight", r"pixel_decoder.lateral.0.weight"),
    (rf"{_PIXEL}\.lateral_convs\.0\.gn\.{END}", r"pixel_decoder.lateral.1.\1"),
    (rf"{_PIXEL}\.output_convs\.0\.conv\.weight", r"pixel_decoder.output.0.weight"),
    (rf"{_PIXEL}\.output_convs\.0\.gn\.{END}", r"pixel_decoder.output.1.\1"),
    (rf"{_PIXEL}\.mask_feature\.{END}", r"pixel_decoder.mask_feature.\1"),
    (rf"{_LAYER}\.attentions\.0\.attn\.(.+)", r"mask_decoder.layers.\1.cross.\2"),
    (rf"{_LAYER}\.attentions\.1\.attn\.(.+)", r"mask_decoder.layers.\1.itself.\2"),
    (rf"{_LAYER}\.ffns\.0\.layers\.0\.0\.{END}", r"mask_decoder.layers.\1.fc1.\2"),
    (rf"{_LAYER}\.ffns\.0\.layers\.1\.{END}", r"mask_decoder.layers.\1.fc2.\2"),
    (rf"{_LAYER}\.norms\.0\.{END}", r"mask_decoder.layers.\1.norm1.\2"),
    (rf"{_LAYER}\.norms\.1\.{END}", r"mask_decoder.layers.\1.norm2.\2"),
    (rf"{_LAYER}\.norms\.2\.{END}", r"mask_decoder.layers.\1.norm3.\2"),
    (rf"head\.transformer_decoder\.post_norm\.{END}", r"mask_decoder.post_norm.\1"),
    (r"head\.(query_embed|query_feat|level_embed)\.weight", r"mask_decoder.\1"),
    (rf"head\.mask_embed\.(\d)\.{END}", r"mask_decoder.mask_embed.\1.\2"),
    (rf"head\.cls_embed\.{END}", r"class_head.\1"),
    (rf"head\.(iou|onehot)_embed\.(\d)\.{END}", r"\1_head.\2.\3"),
    (r"(positive|negative)_positional_embed\.weight", r"\1"),  # become the rows of click_embed below
]
RELEASED = {"num_classes": 1, "use_disks": True, "with_prev_mask": True, "random_split": False}


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of `PiClickModel` or of its two click-encoding ablations."""
    return "patch_embed_coords.proj.weight" in weights and "head.query_feat.weight" in weights


def build(hyper_parameters: Mapping[str, Any]) -> PiClickNet:
    """The network from the plain values of a checkpoint."""
    return PiClickNet.from_hyper_parameters(hyper_parameters)


def from_official(checkpoint: Mapping[str, Any]) -> PiClickNet:
    """The network of an official file, weights loaded strictly.

    Raises:
        ValueError: unknown or missing keys, or settings that no released model has.
    """
    weights = rename_keys(checkpoint["state_dict"], KEYS)
    network = PiClickNet(**infer_arguments(weights, recorded_settings(checkpoint, "PiClick", RELEASED)))
    weights["backbone.pos_embed"] = without_class_token(weights["backbone.pos_embed"])
    if network.shows_clicks:
        weights["click_embed"] = torch.cat([weights.pop("negative"), weights.pop("positive")])
    fill(network, weights)
    return network


def infer_arguments(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `PiClickNet` from shapes (our key names) and, where those do not tell, the file's settings."""
    hidden = ("pixel_decoder.layers.0.fc1.weight", "mask_decoder.layers.0.fc1.weight")
    if ("positive" in weights) != ("negative" in weights):
        raise ValueError("1 keys missing (our names): positive or negative click embedding")
    sizes = infer_vit_arguments(weights, settings, VARIANTS, ("mask_decoder.query_feat", *hidden))
    draws = weights["patch_embed_coords.proj.weight"].shape[1] == 3
    return sizes | {
        "decoder_dim": weights["mask_decoder.query_feat"].shape[1],
        "pixel_hidden": weights[hidden[0]].shape[0],
        "decoder_hidden": weights[hidden[1]].shape[0],
        "pixel_layers": count_layers(weights, "pixel_decoder.layers."),
        "decoder_layers": count_layers(weights, "mask_decoder.layers."),
        "num_queries": weights["mask_decoder.query_feat"].shape[0],
        "click_encoding": "maps" if "positive" not in weights else "both" if draws else "tokens",
    }
