"""The plain ViT: window layout, positions, sizes. That it equals the official one is shown in tests/methods."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clicklab.nn.vit import Attention, PatchEmbed, VisionTransformer, join_windows, resample_positions, split_windows


def small(**options):
    torch.manual_seed(0)
    return VisionTransformer(
        **{"image_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 8, "num_heads": 3} | options
    )


def test_attention_is_softmax_attention():
    torch.manual_seed(0)
    attention = Attention(12, num_heads=3)
    x = torch.randn(2, 5, 12)
    query, key, value = attention.qkv(x).split(12, dim=-1)
    heads = []
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / 4**0.5).softmax(-1)
        heads.append(weights @ value[..., part])
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, -1)))


def test_patches_as_a_product_as_on_a_gpu():
    torch.manual_seed(0)
    embed = PatchEmbed(4, 3, 10)
    image = torch.randn(2, 3, 12, 20)
    assert embed.as_product(image).shape == (2, 3, 5, 10)
    torch.testing.assert_close(embed.as_product(image), embed(image))


def test_windows_are_tiles_in_reading_order():
    x = torch.arange(2 * 4 * 6).view(2, 4, 6, 1)
    split = split_windows(x, (2, 3))
    tiles = [x[b, r : r + 2, c : c + 2].flatten() for b in range(2) for r in (0, 2) for c in (0, 2, 4)]
    assert torch.equal(split[..., 0], torch.stack(tiles))
    assert torch.equal(join_windows(split, (2, 3), (4, 6)), x.view(2, 24, 1))


@pytest.mark.parametrize(
    ("depth", "whole"),
    [(8, [2, 4, 6, 8]), (12, [6, 12]), (24, [6, 12, 18, 24]), (32, [8, 16, 24, 32]), (4, [1, 2, 3, 4])],
)
def test_global_blocks(depth, whole):
    """The last block of a group sees all 28 x 28 tokens, the others windows of 14 x 14 (docs/models.md#plain-vit)."""
    vit = small(depth=depth)
    seen = []
    for block in vit.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[:2]))
    with torch.no_grad():
        assert vit(vit.embed(torch.zeros(1, 3, 448, 448))).shape == (1, 24, 28, 28)
    assert [i for i, shape in enumerate(seen, start=1) if shape == (1, 784)] == whole
    assert {tuple(s) for s in seen} <= {(1, 784), (4, 196)}


def test_windowed_blocks_do_not_look_outside():
    vit = small()
    vit.group = 9  # no block is global
    vit.blocks.append(torch.nn.Identity())
    tokens = torch.randn(1, 28, 28, 24)
    other = tokens.clone()
    other[:, :14, :14] += 1
    with torch.no_grad():
        change = (vit(tokens) - vit(other)).abs().amax(1)[0] > 0
    assert change[:14, :14].all()
    assert not change[14:].any()
    assert not change[:, 14:].any()


@pytest.mark.parametrize("side", [32, 64, 192, 224, 256, 336, 400, 448, 512, 672])
def test_sizes_that_work(side):
    assert small().grid((side, 64)) == (side // 16, 4)


@pytest.mark.parametrize(
    ("side", "nearest"), [(600, "576 or 608"), (464, "448 or 480"), (450, "448 or 480"), (8, "16")]
)
def test_sizes_that_do_not(side, nearest):
    with pytest.raises(ValueError, match=rf"64x{side}.*side of {side}; the nearest that works is {nearest}$"):
        small().grid((64, side))


@given(st.integers(1, 1500), st.sampled_from([8, 14, 16]))
def test_the_sizes_named_in_the_error_work(side, patch):
    vit = small(image_size=112, patch_size=patch, depth=4)
    try:
        vit.grid((side, side))
    except ValueError as error:
        for named in str(error).rpartition("works is ")[2].split(" or "):
            assert vit.grid((int(named), int(named)))[0] == int(named) // patch


def test_depth_and_heads_must_divide():
    with pytest.raises(ValueError, match="multiple of 4"):
        small(depth=10)
    with pytest.raises(ValueError, match="multiple of num_heads"):
        small(num_heads=5)
    with pytest.raises(ValueError, match="positive"):
        small(num_heads=0)


def test_positions_are_resampled_without_antialias():
    ramp = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 8, 8, 2)
    half = resample_positions(ramp, (4, 4))
    # A bicubic step between two samples is exact on a ramp away from the border; antialias would reach further.
    torch.testing.assert_close(half[0, :, 1:3, 0], torch.tensor([2.5, 4.5]).expand(4, 2))
    spike = torch.zeros(1, 32, 32, 1)
    spike[0, 8, 8] = 1
    assert resample_positions(spike, (4, 4)).abs().sum() == 0  # outputs read rows 2 to 5 of each 8, antialias reads all


def test_positions_are_kept_until_the_weights_change():
    vit = small()
    with torch.no_grad():
        assert vit.position((4, 4)) is vit.pos_embed
        first = vit.position((6, 8))
        assert first.shape == (1, 6, 8, 24)
        assert vit.position((6, 8)) is first
        vit.pos_embed.mul_(2)
        torch.testing.assert_close(vit.position((6, 8)), 2 * first)
        vit.load_state_dict({**vit.state_dict(), "pos_embed": torch.ones_like(vit.pos_embed)})
        torch.testing.assert_close(vit.position((6, 8)), torch.ones(1, 6, 8, 24))
    vit.position((6, 8)).sum().backward()
    assert vit.pos_embed.grad is not None


def test_network_made_in_inference_mode():
    with torch.inference_mode():
        vit = small()
        assert vit(vit.embed(torch.zeros(1, 3, 96, 96))).shape == (1, 24, 6, 6)


def test_recomputed_blocks_give_the_same_gradients():
    image = torch.rand(2, 3, 64, 64)
    gradients = []
    for recompute in (False, True):
        vit = small(checkpoint_blocks=recompute)
        vit(vit.embed(image)).square().sum().backward()
        gradients.append([p.grad for p in vit.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])
