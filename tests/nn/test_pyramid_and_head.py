"""Shapes and norms of the pyramid and the head; equality with the official ones is shown in tests/methods."""

import pytest
import torch
import torch.nn.functional as F

from clicklab.nn.mlp_head import MLPHead
from clicklab.nn.normalise import Normalise
from clicklab.nn.sample_norm import SampleNorm, whole_sample_norm
from clicklab.nn.simple_fpn import SimpleFPN


def test_pyramid_scales_and_widths():
    maps = SimpleFPN(32, (8, 12, 16, 80))(torch.randn(2, 32, 6, 10))
    assert [tuple(m.shape) for m in maps] == [(2, 8, 24, 40), (2, 12, 12, 20), (2, 16, 6, 10), (2, 80, 3, 5)]


@pytest.mark.parametrize(
    ("dim", "dims", "wide"), [(768, (128, 256, 512, 1024), (384, 384, 1536)), (32, (32, 64, 1, 99), (64, 64, 99))]
)
def test_inner_widths(dim, dims, wide):
    """max(2 * o0, D / 2), max(o1, D / 2), max(o3, 2 * D): card models, section 3."""
    with torch.device("meta"):
        levels = SimpleFPN(dim, dims).levels
    assert (levels[0][0].out_channels, levels[1][0].out_channels, levels[3][0].out_channels) == wide


def test_pyramid_errors():
    with pytest.raises(ValueError, match="four channel numbers"):
        SimpleFPN(32, (8, 16))
    with pytest.raises(ValueError, match="1x4 patches"):
        SimpleFPN(8, (4, 4, 4, 4))(torch.zeros(1, 8, 1, 4))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_norm_of_a_sample_as_on_a_gpu(order):
    torch.manual_seed(0)
    norm = SampleNorm(6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    maps = (5 + 3 * torch.randn(3, 6, 5, 7)).contiguous(memory_format=order)
    found, wanted = maps.clone().requires_grad_(), maps.double().requires_grad_()
    answer = whole_sample_norm(found, norm.weight, norm.bias, norm.eps)
    exact = F.group_norm(wanted, 1, norm.weight.double(), norm.bias.double(), norm.eps)
    assert answer.is_contiguous(memory_format=order)
    torch.testing.assert_close(answer.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm(maps).double(), exact, rtol=1e-5, atol=1e-5)
    answer.square().sum().backward()
    exact.square().sum().backward()
    torch.testing.assert_close(found.grad.double(), wanted.grad, rtol=1e-4, atol=1e-4)
    assert whole_sample_norm(maps.bfloat16(), norm.weight, norm.bias, norm.eps).dtype == torch.float32


def test_head_fuses_as_if_upsampled_and_concatenated_first():
    """The official order of the head; ours fuses every map at its own size."""
    head = MLPHead((4, 6, 3), 8).double().eval()
    torch.nn.init.normal_(head.fusion_conv.bias)
    maps = [torch.randn(2, dim, side, side, dtype=torch.double) for dim, side in ((4, 12), (6, 6), (3, 5))]
    same_size = [
        F.interpolate(F.relu(c(m)), size=(12, 12), mode="bilinear") for c, m in zip(head.convs, maps, strict=True)
    ]
    wanted = head.conv_seg(F.relu(head.fusion_conv(torch.cat(same_size, dim=1))))
    torch.testing.assert_close(head(maps), wanted, rtol=1e-12, atol=1e-12)


def test_head_drops_channels_only_in_training():
    head = MLPHead((4, 6), 8, dropout=0.5)
    maps = [torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4)]
    assert head(maps).shape == (1, 1, 8, 8)
    assert not torch.equal(head(maps), head(maps))
    head.eval()
    assert torch.equal(head(maps), head(maps))


def test_normalise_is_in_no_checkpoint():
    normalise = Normalise()
    assert not normalise.state_dict()
    image = torch.rand(2, 3, 4, 5)
    red = (image[:, 0] - 0.485) / 0.229
    torch.testing.assert_close(normalise(image)[:, 0], red)
