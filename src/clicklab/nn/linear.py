"""Linear layers for many tokens, on a CPU through the library that PyTorch convolves with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOO_FEW = 20480  # PyTorch does not convolve so few numbers by oneDNN, but by a slower way of its own


class TokenLinear(nn.Linear):
    """`nn.Linear` with the same parameters and keys, for maps and sequences of tokens (..., D).

    On CPUs PyTorch multiplies float32 matrices through MKL, which leaves half of the vector unit of AMD's processors
    unused, and convolves through oneDNN, which does not: there a 1 x 1 convolution over the tokens is 2.2 times as fast
    (ViT-xtiny and ViT-B at 448 x 448, forward and backward). The results differ by rounding only.
    """

    def forward(self, input: Tensor) -> Tensor:  # nn.Linear's name for it
        return token_linear(input, self.weight, self.bias)


class PixelLinear(nn.Conv2d):
    """A 1 x 1 convolution (B, D, h, w) to (B, E, h, w) with the parameters and keys of `nn.Conv2d`, likewise."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, input: Tensor) -> Tensor:  # nn.Conv2d's name for it
        return token_linear(input.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)


def token_linear(tokens: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., D) tokens times `weight` (E, D) plus `bias` (E,): (..., E)."""
    plain = tokens.device.type != "cpu" or tokens.dtype != torch.float32 or tokens.numel() <= TOO_FEW
    if plain or torch.compiler.is_exporting() or not torch.backends.mkldnn.is_available():
        return F.linear(tokens, weight, bias)
    # one image of 1 x tokens in channels-last order: neither the view nor its inverse moves any number
    line = tokens.reshape(1, 1, -1, tokens.shape[-1]).permute(0, 3, 1, 2)
    # dilation means nothing to a 1 x 1 kernel, but without it PyTorch leaves oneDNN aside when it has one thread only
    answer = F.conv2d(line, weight[:, :, None, None], bias, dilation=2)
    return answer.permute(0, 2, 3, 1).reshape(*tokens.shape[:-1], -1)
