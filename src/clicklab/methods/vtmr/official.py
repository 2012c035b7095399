"""VTMR has no released files. Those of FocalClick hold the same parameters: `clicklab.load(file, method="vtmr")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clicklab.external_checkpoint import fill
from clicklab.methods.vtmr.net import VTMRNet
from clicklab.nn.coarse_to_fine_keys import read_official


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Never: a file that fits is FocalClick's, and read as such unless told otherwise."""
    return False


def build(hyper_parameters: Mapping[str, Any]) -> VTMRNet:
    """The network from the plain values of a checkpoint."""
    return VTMRNet.from_hyper_parameters(hyper_parameters)


def from_official(checkpoint: Mapping[str, Any]) -> VTMRNet:
    """The network with the weights of an official FocalClick file, loaded strictly.

    Raises:
        ValueError: unknown or missing keys, or settings that no released model has.
    """
    arguments, weights = read_official(checkpoint)
    network = VTMRNet(**arguments)
    fill(network, weights)
    return network
