"""RITM: clicks and the previous mask enter a high-resolution network, trained by playing (ICIP 2022)."""

from __future__ import annotations

from typing import Any

from clicklab.methods.ritm.net import VARIANTS, RITMNet
from clicklab.methods.ritm.official import build, from_official, matches

__all__ = ["VARIANTS", "RITMNet", "build", "from_official", "matches"]


def __getattr__(name: str) -> Any:
    # the LightningModule is imported on demand: the network runs without Lightning
    if name == "RITM":
        from clicklab.methods.ritm.module import RITM

        return RITM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
