"""FocalClick: a coarse mask of the target, then a closer look at what a click changed (CVPR 2022)."""

from __future__ import annotations

from typing import Any

from clicklab.methods.focalclick.net import FocalClickNet
from clicklab.methods.focalclick.official import build, from_official, matches

__all__ = ["FocalClickNet", "build", "from_official", "matches"]


def __getattr__(name: str) -> Any:
    # the LightningModule is imported on demand: the network runs without Lightning
    if name == "FocalClick":
        from clicklab.methods.focalclick.module import FocalClick

        return FocalClick
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
