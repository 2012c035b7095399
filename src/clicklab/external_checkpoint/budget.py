"""Networks no larger than the file that describes them: a number in a file must not fill the memory."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

SPARE_ELEMENTS = 2**24  # 64 MiB: a file that lacks a few weights is told which, not that it is too small
SPARE_TENSORS = 4096


@contextmanager
def no_larger_than(weights: Mapping[str, Tensor], settings: Any = None) -> Generator[None]:
    """While it is open, a network that grows far beyond the weights is an error, before memory is filled.

    Args:
        weights: what the file holds.
        settings: the constructor's arguments as the file gives them; no whole number in them is larger than all.

    Raises:
        ValueError: at the first parameter that is too much.
    """
    elements = SPARE_ELEMENTS + 2 * sum(value.numel() for value in weights.values())
    tensors = SPARE_TENSORS + 2 * len(weights)
    for name, number in _numbers(settings):
        if abs(number) > elements:
            raise ValueError(f"its settings ask for {name} of more than {elements}, and the file holds fewer numbers")
    thread = threading.get_ident()
    seen = [0, 0]

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        if parameter is None or threading.get_ident() != thread:
            return
        seen[0] += 1
        seen[1] += parameter.numel()
        if seen[0] > tensors or seen[1] > elements:
            raise ValueError(
                "its settings describe a far larger network than the weights in it: it is damaged or was put together "
                "from two files"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _numbers(settings: Any, name: str = "something", depth: int = 0) -> Iterator[tuple[str, int]]:
    """Whole numbers in nested dictionaries and lists, with the name they stand under."""
    if isinstance(settings, int):
        yield name, settings
    elif isinstance(settings, Mapping) and depth < 4:
        for key, value in settings.items():
            yield from _numbers(value, str(key)[:40], depth + 1)
    elif isinstance(settings, (list, tuple)) and depth < 4:
        for value in settings:
            yield from _numbers(value, name, depth + 1)
