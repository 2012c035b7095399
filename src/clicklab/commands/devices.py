"""The device that a command runs on."""

from __future__ import annotations


def find_device(name: str) -> str:
    """`auto` is the GPU where there is one. Raises ValueError for a device that this machine lacks."""
    import torch

    from clicklab.device import usable_device

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(usable_device(name, "--device"))
