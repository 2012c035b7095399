"""VTMR: FocalClick's network, taught not to mind which mask it starts from, and zooming in on the target."""

from __future__ import annotations

from typing import Any

from clicklab.methods.vtmr.net import VTMRNet
from clicklab.methods.vtmr.official import build, from_official, matches

__all__ = ["VTMRNet", "build", "from_official", "matches"]


def __getattr__(name: str) -> Any:
    # the LightningModule is imported on demand: the network runs without Lightning
    if name == "VTMR":
        from clicklab.methods.vtmr.module import VTMR

        return VTMR
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
