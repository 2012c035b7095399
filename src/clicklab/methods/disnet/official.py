"""DISNet's checkpoints: the authors released none, so only our own files are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clicklab.methods.disnet.net import DISNetNet


def matches(weights: Mapping[str, Tensor]) -> bool:
    """Never: there is no official file."""
    return False


def build(hyper_parameters: Mapping[str, Any]) -> DISNetNet:
    """The network from the plain values of a checkpoint."""
    return DISNetNet.from_hyper_parameters(hyper_parameters)


def from_official(checkpoint: Mapping[str, Any]) -> DISNetNet:
    """Raises ValueError: there is no official file."""
    raise ValueError("no checkpoint of DISNet was ever released")
