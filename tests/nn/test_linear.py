"""Token layers equal `nn.Linear`: values, gradients, keys, and shapes of any number of axes."""

import pytest
import torch
from torch import nn

from clicklab.nn.linear import PixelLinear, TokenLinear, token_linear


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 7, 5), (2, 3, 4, 5), (0, 4, 5), (4200, 5), (2, 50, 50, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_equal_to_a_linear_layer(shape, bias):
    torch.manual_seed(0)
    ours, theirs = TokenLinear(5, 6, bias=bias), nn.Linear(5, 6, bias=bias)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    tokens = torch.randn(shape)
    grads = []
    for layer in (ours, theirs):
        x = tokens.clone().requires_grad_()
        answer = layer(x)
        assert answer.shape == (*shape[:-1], 6)
        (answer.square().sum() / max(1, answer.numel())).backward()
        grads.append([answer.detach(), x.grad, *(p.grad for p in layer.parameters())])
    for mine, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(mine, wanted)


def test_tokens_in_any_memory_order():
    torch.manual_seed(0)
    maps, weight = torch.randn(2, 5, 60, 40), torch.randn(6, 5)
    torch.testing.assert_close(token_linear(maps.movedim(1, -1), weight), maps.movedim(1, -1) @ weight.T)


def test_double_precision_stays_double():
    tokens, weight = torch.randn(2, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    assert torch.equal(token_linear(tokens, weight), nn.functional.linear(tokens, weight))


def test_bf16_autocast():
    tokens, layer = torch.randn(2, 3, 5), TokenLinear(5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = layer(tokens)
    assert answer.dtype == torch.bfloat16
    torch.testing.assert_close(
        answer.float(), nn.functional.linear(tokens, layer.weight, layer.bias), rtol=0.03, atol=0.03
    )


def test_pixels_equal_a_convolution():
    torch.manual_seed(0)
    ours, theirs = PixelLinear(5, 6), nn.Conv2d(5, 6, 1)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    for maps in (torch.randn(2, 5, 4, 3), torch.randn(2, 5, 4, 3).contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(ours(maps), theirs(maps))
