"""iCMFormer: cross-modality vision transformers, plain or Swin (ICCV workshops 2023)."""

from __future__ import annotations

from typing import Any

from clicklab.methods.icmformer.net import ICMFormerViT
from clicklab.methods.icmformer.official import from_official, matches
from clicklab.methods.icmformer.swin_net import ICMFormerSwin
from clicklab.methods.icmformer.variants import VARIANTS, build

__all__ = ["VARIANTS", "ICMFormerSwin", "ICMFormerViT", "build", "from_official", "matches"]


def __getattr__(name: str) -> Any:
    # the LightningModule is imported on demand: the network runs without Lightning
    if name == "ICMFormer":
        from clicklab.methods.icmformer.module import ICMFormer

        return ICMFormer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
