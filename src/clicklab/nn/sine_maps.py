"""Sine codes of whole maps, made once per size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clicklab.clicks.maps import sine_grid


class SineMaps(nn.Module):
    """Tokens that tell each place of a map where it is; in no checkpoint.

    Args:
        dim: length of the code, a multiple of 4.
        keep: how many sizes are remembered.
    """

    def __init__(self, dim: int, keep: int = 8) -> None:
        super().__init__()
        self.dim, self.keep = dim, keep
        self._made: dict[tuple[object, ...], Tensor] = {}

    def forward(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """(h * w, D) codes of a map of `size` (h, w), row by row, of the kind and on the device of `like`."""
        key = (size, like.device, like.dtype)
        if key not in self._made:
            if len(self._made) >= self.keep:
                self._made.pop(next(iter(self._made)))
            with torch.inference_mode(False), torch.no_grad():  # what is kept must serve training too
                grid = sine_grid(size, self.dim, device=like.device)
                self._made[key] = grid.flatten(1).T.contiguous().to(like.dtype)
        return self._made[key]
