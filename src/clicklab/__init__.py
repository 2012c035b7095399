"""ClickLab: train, compare and use click-based interactive segmentation.

The public names are imported on first use, so that `import clicklab` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clicklab.api import evaluate
    from clicklab.evaluation.protocol import EvaluationProtocol
    from clicklab.hub import save
    from clicklab.inference.options import InferenceOptions
    from clicklab.inference.predictor import predictor_for
    from clicklab.inference.session import Session
    from clicklab.loading import load
    from clicklab.nn.network import ClickNetwork, as_click_network
    from clicklab.records import Batch, Clicks, EvaluationObject, Prediction

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "ClickNetwork",
    "Clicks",
    "EvaluationObject",
    "EvaluationProtocol",
    "InferenceOptions",
    "Prediction",
    "Session",
    "as_click_network",
    "evaluate",
    "load",
    "predictor_for",
    "save",
]

_HOMES = {
    "Batch": "clicklab.records",
    "ClickNetwork": "clicklab.nn.network",
    "Clicks": "clicklab.records",
    "EvaluationObject": "clicklab.records",
    "EvaluationProtocol": "clicklab.evaluation.protocol",
    "InferenceOptions": "clicklab.inference.options",
    "Prediction": "clicklab.records",
    "Session": "clicklab.inference.session",
    "as_click_network": "clicklab.nn.network",
    "evaluate": "clicklab.api",
    "load": "clicklab.loading",
    "predictor_for": "clicklab.inference.predictor",
    "save": "clicklab.hub",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clicklab' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next access finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
