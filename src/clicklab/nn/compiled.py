"""`torch.compile` for the parts of a network, an option: it pays after minutes of work on a GPU, not before."""

from __future__ import annotations

import torch
from torch import nn


def compile_parts(network: nn.Module) -> None:
    """Compiles in place every part of a network that is called as a module; keys and weights stay as they are.

    The first call of each part takes up to a minute, and so does the first one with another size. Where a part cannot
    be compiled (no C compiler, an operation unknown to it), PyTorch says so in a warning and runs it as it is.

    Args:
        network: its direct parts are compiled: of a plain ViT the backbone, the pyramid and the head. Copies of it are
            not compiled.
    """
    torch._dynamo.config.suppress_errors = True  # this is how PyTorch is told to go on without
    for part in network.children():
        part.compile()
