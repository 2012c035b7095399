"""SimpleClick: a plain ViT reads image and clicks (ICCV 2023)."""

from __future__ import annotations

from typing import Any

from clicklab.methods.simpleclick.net import VARIANTS, SimpleClickNet
from clicklab.methods.simpleclick.official import build, from_official, matches

__all__ = ["VARIANTS", "SimpleClickNet", "build", "from_official", "matches"]


def __getattr__(name: str) -> Any:
    # the LightningModule is imported on demand: the network runs without Lightning
    if name == "SimpleClick":
        from clicklab.methods.simpleclick.module import SimpleClick

        return SimpleClick
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
