"""The released files of SimpleClick (`{sbd,cocolvis}_vit_{xtiny,base,large,huge}.pth`): keys, sizes, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clicklab.external_checkpoint import KeyTable, fill, recorded_settings, rename_keys
from clicklab.methods.simpleclick.net import VARIANTS, SimpleClickNet
from clicklab.nn.click_vit_keys import END, VIT_KEYS, infer_vit_arguments, without_class_token

KEYS: KeyTable = [
    *VIT_KEYS,
    (r"head\.up_conv[12]\..*", None),  # upsampling that no released model uses
    (rf"head\.convs\.(\d)\.conv\.{END}", r"head.convs.\1.\2"),
    (rf"head\.fusion_conv\.conv\.{END}", r"head.fusion_conv.\1"),
    (rf"head\.conv_seg\.{END}", r"head.conv_seg.\1"),
]
RELEASED = {"use_disks": True, "with_prev_mask": True, "random_split": False, "use_rgb_conv": False}


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of SimpleClick's `PlainVitModel`."""
    return (
        "patch_embed_coords.proj.weight" in weights
        and any(key.startswith("head.convs.") for key in weights)
        and not any(key.startswith("backbone.blocks2.") for key in weights)  # iCMFormer has these beside the same keys
    )


def build(hyper_parameters: Mapping[str, Any]) -> SimpleClickNet:
    """The network from the plain values of a checkpoint."""
    return SimpleClickNet.from_hyper_parameters(hyper_parameters)


def from_official(checkpoint: Mapping[str, Any]) -> SimpleClickNet:
    """The network of an official file, weights loaded strictly.

    Raises:
        ValueError: unknown or missing keys, or settings that no released model has.
    """
    weights = rename_keys(checkpoint["state_dict"], KEYS)
    settings = recorded_settings(checkpoint, "SimpleClick", RELEASED)
    network = SimpleClickNet(**infer_arguments(weights, settings))
    weights["backbone.pos_embed"] = without_class_token(weights["backbone.pos_embed"])
    fill(network, weights)
    return network


def infer_arguments(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `SimpleClickNet` from shapes (our key names) and, where those do not tell, the file's settings."""
    sizes = infer_vit_arguments(weights, settings, VARIANTS, ("head.conv_seg.weight",))
    return sizes | {"head_channels": weights["head.conv_seg.weight"].shape[1]}
