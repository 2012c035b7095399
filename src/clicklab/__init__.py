"""ClickLab: train, compare and use click-based interactive segmentation.

`load`, `evaluate` and the records are imported on first use, so that `import clicklab` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Batch": "clicklab.records",
    "Clicks": "clicklab.records",
    "EvaluationObject": "clicklab.records",
    "Prediction": "clicklab.records",
    "Session": "clicklab.inference.session",
    "evaluate": "clicklab.api",
    "load": "clicklab.checkpoint",
    "predictor_for": "clicklab.inference.predictor",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clicklab' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
