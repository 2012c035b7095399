"""PiClick: several masks for the same clicks, and a module that picks the one meant (Neurocomputing 2024)."""

from __future__ import annotations

from typing import Any

from clicklab.methods.piclick.net import SCORE_RULES, VARIANTS, PiClickNet
from clicklab.methods.piclick.official import build, from_official, matches

__all__ = ["SCORE_RULES", "VARIANTS", "PiClickNet", "build", "from_official", "matches"]


def __getattr__(name: str) -> Any:
    # the LightningModule is imported on demand: the network runs without Lightning
    if name == "PiClick":
        from clicklab.methods.piclick.module import PiClick

        return PiClick
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
