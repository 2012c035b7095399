"""The released files of FocalClick (`segformerB{0,3}_S{1,2}_*.pth`, `hrnet{18s,32}_S{1,2}_*.pth`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clicklab.external_checkpoint import fill
from clicklab.methods.focalclick.net import FocalClickNet
from clicklab.nn.coarse_to_fine_keys import is_official, read_official


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of a released FocalClick model."""
    return is_official(weights)


def build(hyper_parameters: Mapping[str, Any]) -> FocalClickNet:
    """The network from the plain values of a checkpoint."""
    return FocalClickNet.from_hyper_parameters(hyper_parameters)


def from_official(checkpoint: Mapping[str, Any]) -> FocalClickNet:
    """The network of an official file, weights loaded strictly.

    Raises:
        ValueError: unknown or missing keys, or settings that no released model has.
    """
    arguments, weights = read_official(checkpoint)
    network = FocalClickNet(**arguments)
    fill(network, weights)
    return network
