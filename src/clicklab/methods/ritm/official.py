"""The released files of RITM (`sbd_h18_itermask.pth`, `coco_lvis_*.pth`): keys, sizes, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clicklab.external_checkpoint import fill, recorded_settings, rename_keys
from clicklab.methods.ritm.net import RITMNet
from clicklab.nn.click_hrnet import CLICK_HRNET_KEYS, infer_click_hrnet_arguments

RELEASED = {
    "with_aux_output": True,
    "use_disks": True,
    "use_leaky_relu": True,
    "use_rgb_conv": False,
    "conv_extend": False,
    "binary_prev_mask": False,
    "clicks_groups": None,
}


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of RITM's `HRNetModel`; networks built on it have a refiner beside it."""
    keys = ("maps_transform.3.scale", "feature_extractor.ocr_distri_head.conv_bn_dropout.0.weight")
    return all(key in weights for key in keys) and not any(key.startswith("refiner.") for key in weights)


def build(hyper_parameters: Mapping[str, Any]) -> RITMNet:
    """The network from the plain values of a checkpoint."""
    return RITMNet.from_hyper_parameters(hyper_parameters)


def from_official(checkpoint: Mapping[str, Any]) -> RITMNet:
    """The network of an official file, weights loaded strictly.

    Raises:
        ValueError: unknown or missing keys, or settings that no released model has.
    """
    weights = rename_keys(checkpoint["state_dict"], CLICK_HRNET_KEYS)
    settings = recorded_settings(checkpoint, "RITM", RELEASED)
    sizes = infer_click_hrnet_arguments(weights)
    reads_prev_mask = sizes.pop("maps") == 3
    network = RITMNet(**sizes, reads_prev_mask=reads_prev_mask, click_radius=settings.get("norm_radius", 5))
    fill(network, weights)
    return network
