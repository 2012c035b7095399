"""All sizes of iCMFormer by name, and the network class that each belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clicklab.methods.icmformer.net import ICMFormerViT
from clicklab.methods.icmformer.swin_net import ICMFormerSwin

VARIANTS: dict[str, Mapping[str, Any]] = {**ICMFormerViT.variants, **ICMFormerSwin.variants}


def build(hyper_parameters: Mapping[str, Any]) -> ICMFormerViT | ICMFormerSwin:
    """The network from the plain values of a checkpoint: a variant and what replaces its values, or all values.

    Raises:
        ValueError: on a name that is not in `VARIANTS`, or an argument that does not exist.
    """
    variant, options = hyper_parameters.get("variant"), hyper_parameters.get("network_options") or {}
    if variant is not None and variant not in VARIANTS:
        raise ValueError(f"unknown iCMFormer variant {variant!r}; known: {', '.join(VARIANTS)}")
    swin = variant in ICMFormerSwin.variants if variant is not None else "depths" in options
    return (ICMFormerSwin if swin else ICMFormerViT).from_hyper_parameters(hyper_parameters)
