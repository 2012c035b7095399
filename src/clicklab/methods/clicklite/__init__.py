"""ClickLite: the house's own small network for a laptop's processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clicklab.methods.clicklite.net import VARIANTS, ClickLiteNet

__all__ = ["VARIANTS", "ClickLiteNet", "build"]


def build(hyper_parameters: Mapping[str, Any]) -> ClickLiteNet:
    """The network from the plain values of a checkpoint."""
    return ClickLiteNet.from_hyper_parameters(hyper_parameters)


def __getattr__(name: str) -> Any:
    # the LightningModule is imported on demand: the network runs without Lightning
    if name == "ClickLite":
        from clicklab.methods.clicklite.module import ClickLite

        return ClickLite
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
