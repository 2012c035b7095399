"""Devices by name, with one clear line where there is none of that name."""

from __future__ import annotations

import torch


def usable_device(device: torch.device | str, argument: str = "device") -> torch.device:
    """The device, after a first tensor on it.

    Args:
        device: as PyTorch names it: cpu, cuda, cuda:1 ...
        argument: what the caller calls it, for the message.

    Raises:
        ValueError: PyTorch knows no such device, or this machine has none.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{argument} {device}: there is no such device; a GPU is cuda, cuda:1 ..., else cpu"
        ) from error
    try:
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{argument} {device}: not to be had here ({reason}); use cpu, or cuda with a GPU") from error
    return found
