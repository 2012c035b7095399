"""SegNext: an image encoded once, clicks fused with it by self-attention (CVPR 2024)."""

from __future__ import annotations

from typing import Any

from clicklab.methods.segnext.net import VARIANTS, SegNextNet
from clicklab.methods.segnext.official import build, from_official, matches

__all__ = ["VARIANTS", "SegNextNet", "build", "from_official", "matches"]


def __getattr__(name: str) -> Any:
    # the LightningModule is imported on demand: the network runs without Lightning
    if name == "SegNext":
        from clicklab.methods.segnext.module import SegNext

        return SegNext
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
