"""Shapes and norms of the pyramid and the head; equality with the official ones is shown in tests/methods."""

import pytest
import torch
import torch.nn.functional as F

from clicklab.methods.icmformer.swin_net import ICMFormerSwin
from clicklab.methods.ritm.net import RITMNet
from clicklab.methods.simpleclick.net import SimpleClickNet
from clicklab.nn.coarse_to_fine import CoarseToFine
from clicklab.nn.fusion import sum_as_product, upsampled_sum
from clicklab.nn.mlp_head import MLPHead
from clicklab.nn.normalise import Normalise
from clicklab.nn.ocr import OCRHead
from clicklab.nn.sample_norm import SampleNorm, whole_sample_norm
from clicklab.nn.segformer_head import SegFormerHead
from clicklab.nn.simple_fpn import SimpleFPN
from clicklab.nn.vit import PatchEmbed


def test_pyramid_scales_and_widths():
    maps = SimpleFPN(32, (8, 12, 16, 80))(torch.randn(2, 32, 6, 10))
    assert [tuple(m.shape) for m in maps] == [(2, 8, 24, 40), (2, 12, 12, 20), (2, 16, 6, 10), (2, 80, 3, 5)]


@pytest.mark.parametrize(
    ("dim", "dims", "wide"), [(768, (128, 256, 512, 1024), (384, 384, 1536)), (32, (32, 64, 1, 99), (64, 64, 99))]
)
def test_inner_widths(dim, dims, wide):
    """max(2 * o0, D / 2), max(o1, D / 2), max(o3, 2 * D): docs/models.md#plain-vit."""
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
    answer = whole_sample_norm(maps, norm.weight, norm.bias, norm.eps)
    exact = F.group_norm(maps.double(), 1, norm.weight.double(), norm.bias.double(), norm.eps)
    assert answer.is_contiguous(memory_format=order)
    torch.testing.assert_close(answer.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm(maps).double(), exact, rtol=1e-5, atol=1e-5)


def test_gradients_of_the_norm():
    torch.manual_seed(0)
    given = [torch.randn(*shape, dtype=torch.double, requires_grad=True) for shape in ((2, 3, 2, 3), (3,), (3,))]
    assert torch.autograd.gradcheck(lambda *x: whole_sample_norm(*x, 1e-5), given)


@pytest.mark.parametrize("autocast", [True, False])
def test_number_types_of_the_norm(autocast):
    """As of PyTorch's own: float32 out of autocast, else what came in; gradients of the type of what they are for."""
    norm = SampleNorm(6)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        maps = torch.randn(2, 6, 5, 7).bfloat16().requires_grad_()
        answer = whole_sample_norm(maps, norm.weight, norm.bias, norm.eps)
    assert answer.dtype == (torch.float32 if autocast else torch.bfloat16)
    answer.float().square().sum().backward()
    assert (maps.grad.dtype, norm.weight.grad.dtype) == (torch.bfloat16, torch.float32)
    whole = norm.bfloat16()
    assert whole_sample_norm(maps, whole.weight, whole.bias, whole.eps).dtype == torch.bfloat16


def test_upsampled_sum_as_on_a_gpu():
    torch.manual_seed(0)
    maps = [torch.randn(2, 5, *size, dtype=torch.double) for size in ((12, 16), (6, 8), (5, 3), (1, 20))]
    wanted = upsampled_sum(maps, (12, 16))
    separate = [F.interpolate(one, size=(12, 16), mode="bilinear", align_corners=False) for one in maps]
    torch.testing.assert_close(wanted, torch.stack(separate).sum(0))
    # the weights come from a resize in single precision
    torch.testing.assert_close(sum_as_product(maps, (12, 16)), wanted, rtol=1e-6, atol=1e-6)
    assert sum_as_product(maps, (12, 16)).is_contiguous(memory_format=torch.channels_last)


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_patches_pyramid_and_head_on_a_gpu():
    """Where norms, patches and upsampling take other ways: answers and gradients are those of the CPU."""
    torch.manual_seed(0)
    image, maps = torch.rand(2, 3, 96, 128), []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for device in ("cpu", "cuda"):
            torch.manual_seed(1)
            embed, pyramid, head = PatchEmbed(16, 3, 32), SimpleFPN(32, (8, 12, 16, 80)), MLPHead((8, 12, 16, 80), 24)
            network = torch.nn.ModuleList([embed, pyramid, head]).eval().to(device)
            answer = head(pyramid(embed(image.to(device)).permute(0, 3, 1, 2)))
            answer.square().mean().backward()
            maps.append([answer.detach(), *(parameter.grad for parameter in network.parameters())])
    for here, there in zip(*maps, strict=True):
        assert (there.cpu() - here).norm() <= 1e-4 * here.norm()


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


def test_channels_are_dropped_as_often_as_officially():
    for made, rate in (
        (OCRHead(6, 4), 0.05),
        (MLPHead((4, 4), 8), 0.1),
        (SegFormerHead((4, 4), 8), 0.1),
        (RITMNet.from_variant("mini").segmentor.ocr, 0.05),
        (SimpleClickNet.from_variant("mini").head, 0.1),
        (ICMFormerSwin.from_variant("swin_mini").head, 0.1),
        (CoarseToFine("mini").segmentor.head, 0.1),
    ):
        assert made.dropout.p == rate
