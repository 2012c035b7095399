"""Images, objects, and the annotator: everything a training or evaluation run reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_modules.datamodule import InteractiveDataModule

__all__ = ["InteractiveDataModule"]


def __getattr__(name: str) -> Any:
    # imported on demand: readers and `clicklab data` need neither Lightning nor albumentations
    if name == "InteractiveDataModule":
        from data_modules.datamodule import InteractiveDataModule

        return InteractiveDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
