"""DISNet: proposals from the first click, corrections of the chosen one by later clicks (ACM Multimedia 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clicklab.methods.disnet.net import VARIANTS, DISNetNet

__all__ = ["VARIANTS", "DISNetNet", "build"]


def build(hyper_parameters: Mapping[str, Any]) -> DISNetNet:
    """The network from the plain values of a checkpoint."""
    return DISNetNet.from_hyper_parameters(hyper_parameters)


def __getattr__(name: str) -> Any:
    # the LightningModule is imported on demand: the network runs without Lightning
    if name == "DISNet":
        from clicklab.methods.disnet.module import DISNet

        return DISNet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
