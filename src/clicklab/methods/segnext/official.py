"""The released files of SegNext (`vitb_sa{1,2}_cocolvis*.pth`, also fine-tuned on HQSeg-44K): keys, sizes, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clicklab.external_checkpoint import KeyTable, count_layers, fill, recorded_settings, rename_keys
from clicklab.methods.segnext.net import VARIANTS, SegNextNet
from clicklab.nn.click_vit_keys import END, VIT_KEYS, infer_vit_arguments, without_class_token

KEYS: KeyTable = [
    *VIT_KEYS,
    (rf"visual_prompts_encoder\.proj\.{END}", r"prompt_embed.proj.\1"),
    (rf"fusion_blocks\.(\d+)\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.{END}", r"fusion.\1.\2.\3"),
    (rf"head\.convs\.(\d)\.conv\.{END}", r"head.convs.\1.\2"),
    (rf"head\.fusion_conv\.conv\.{END}", r"head.fusion_conv.\1"),
    (rf"head\.seg_conv\.{END}", r"head.conv_seg.\1"),
]
RELEASED = {"use_disks": True}


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of SegNext's `PlainVitModel`."""
    return "visual_prompts_encoder.proj.weight" in weights and "head.seg_conv.weight" in weights


def build(hyper_parameters: Mapping[str, Any]) -> SegNextNet:
    """The network from the plain values of a checkpoint."""
    return SegNextNet.from_hyper_parameters(hyper_parameters)


def from_official(checkpoint: Mapping[str, Any]) -> SegNextNet:
    """The network of an official file, weights loaded strictly.

    Raises:
        ValueError: unknown or missing keys, or settings that no released model has.
    """
    settings = recorded_settings(checkpoint, "SegNext", RELEASED)
    fusion = (settings.get("fusion_params") or {}).get("type", "self_attention")
    if fusion not in ("self_attention", "naive"):
        raise ValueError(f"made with fusion {fusion}, which no released SegNext has and ClickLab cannot run")
    weights = rename_keys(checkpoint["state_dict"], KEYS)
    sizes = infer_vit_arguments(weights, settings, VIT_SIZES, ("head.conv_seg.weight",))
    depth = count_layers(weights, "fusion.") if any(key.startswith("fusion.") for key in weights) else 0
    width = weights["head.conv_seg.weight"].shape[1]
    network = SegNextNet(**sizes, fusion_depth=depth, head_channels=width)
    weights["backbone.pos_embed"] = without_class_token(weights["backbone.pos_embed"])
    fill(network, weights)
    return network


# what tells the number of heads where a file does not record it
VIT_SIZES = {
    name: {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12} | arguments
    for name, arguments in VARIANTS.items()
}
