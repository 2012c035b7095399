"""The methods by name. A method's package is imported on demand and offers what `clicklab.checkpoint` needs:

* `build(hyper_parameters) -> network`, from the plain values that a training run or `convert` stored;
* where weights were released, `matches(state_dict) -> bool`, whether a file's keys are this method's, and
  `from_official(checkpoint) -> network`, the network with the file's weights.

A network has `arguments`, the plain values that its constructor was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from torch import Tensor, nn

METHODS: dict[str, str] = {
    "ritm": "clicklab.methods.ritm",
    "simpleclick": "clicklab.methods.simpleclick",
    "focalclick": "clicklab.methods.focalclick",
    "vtmr": "clicklab.methods.vtmr",
    "piclick": "clicklab.methods.piclick",
    "disnet": "clicklab.methods.disnet",
    "icmformer": "clicklab.methods.icmformer",
    "segnext": "clicklab.methods.segnext",
    "clicklite": "clicklab.methods.clicklite",
}


def method_package(name: str) -> ModuleType:
    """The package of a method.

    Raises:
        ValueError: on an unknown name; the message lists the known ones.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    return import_module(METHODS[name])


def official_method(weights: Mapping[str, Tensor]) -> str | None:
    """The method whose released files have these keys; None if there is none."""
    for name in METHODS:
        matches = getattr(method_package(name), "matches", None)
        if matches is not None and matches(weights):
            return name
    return None


def method_of(network: nn.Module) -> str:
    """The name of the method whose package defines the network's class.

    Raises:
        ValueError: the class is of no method's package.
    """
    home = type(network).__module__
    for name, package in METHODS.items():
        if home.startswith(f"{package}."):
            return name
    raise ValueError(f"{type(network).__qualname__} of {home} is the network of no known method ({', '.join(METHODS)})")
