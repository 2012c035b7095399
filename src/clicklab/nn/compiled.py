"""`torch.compile` for the parts of a network, an option for long runs on a GPU. On a CPU it brought nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def compile_parts(network: nn.Module) -> None:
    """Compiles in place every part of a network that is called as a module; keys and weights stay as they are.

    The first call of each part takes up to a minute, and so does the first one with another size. Where a part cannot
    be compiled (no C compiler, say) a warning tells why, and it runs as it is.

    Args:
        network: its direct parts are compiled: of a plain ViT the backbone, the pyramid and the head. Copies of it are
            not compiled.
    """
    for part in network.children():
        part.compile(backend=_inductor_or_plain)


def _inductor_or_plain(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """PyTorch's own compiler; the graph as it was traced where that fails."""
    try:
        return torch._dynamo.lookup_backend("inductor")(graph, inputs)
    except Exception as error:  # whatever stops the compiler, the network can do without
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(f"goes on without torch.compile: {reason[0]}", stacklevel=2)
        return graph.forward
