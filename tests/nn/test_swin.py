"""Swin stages against brute force and against timm's, which agrees where windows tile the map and are many."""

import pytest
import timm
import torch
import torch.nn.functional as F

from clicklab.nn.swin import (
    OTHER_REGION,
    DropPath,
    PatchMerging,
    SwinBlock,
    SwinPatchEmbed,
    SwinTransformer,
    WindowAttention,
    relative_positions,
    shift_mask,
    to_windows,
)


def filled(module):
    """Random weights everywhere, biases and norms too."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module.eval()


@torch.no_grad()
def test_stages_equal_those_of_timm():
    theirs = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=112, window_size=7, embed_dim=16, depths=(2, 2), num_heads=(2, 4),
        num_classes=0,
    )  # fmt: skip
    filled(theirs)
    ours = SwinTransformer(16, (2, 2), (2, 4), window_size=7, drop_path=0.1).eval()
    weights = {k.replace("layers.1.downsample", "layers.0.downsample"): v for k, v in theirs.state_dict().items()}
    missing = ours.load_state_dict(weights, strict=False)
    assert all(key.startswith("norms.") for key in missing.missing_keys)
    image = torch.rand(2, 3, 112, 112)
    first, second = ours.stages
    quarter = first(ours.patch_embed(image))
    eighth = second(first.downsample(quarter))
    expected = theirs.layers[0](theirs.patch_embed(image))
    torch.testing.assert_close(quarter, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(eighth, theirs.layers[1](expected), rtol=1e-4, atol=1e-4)


def test_positions_of_a_window():
    index = relative_positions(3)
    for one in range(9):
        for other in range(9):
            down, right = one // 3 - other // 3, one % 3 - other % 3
            assert index[one, other] == (down + 2) * 5 + right + 2


@torch.no_grad()
def test_attention_with_bias_and_mask():
    attention = filled(WindowAttention(6, window=2, num_heads=2))
    x, mask = torch.randn(4, 4, 6), torch.randn(2, 4, 4)
    query, key, value = attention.qkv(x).split(6, dim=-1)
    heads = []
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        bias = attention.relative_position_bias_table[:, head][attention.relative_position_index]
        logits = query[..., part] @ key[..., part].transpose(1, 2) / 3**0.5 + bias + mask.repeat(2, 1, 1)
        heads.append(logits.softmax(-1) @ value[..., part])
    torch.testing.assert_close(attention(x, mask), attention.proj(torch.cat(heads, -1)))


@pytest.mark.parametrize("size", [(8, 12), (7, 5), (4, 4)])
def test_shifted_windows_attend_inside_regions(size):
    """Two tokens see each other when they lie in the padded map as they lie in the window: none has wrapped round."""
    window, shift = 4, 2
    padded = [length + -length % window for length in size]
    place = torch.stack(torch.meshgrid(*map(torch.arange, padded), indexing="ij"), -1)
    apart = []
    for maps in (place.roll((-shift, -shift), (0, 1)), place):
        windows = to_windows(maps[None], window)
        apart.append(windows[:, :, None] - windows[:, None])
    wrapped = (apart[0] != apart[1]).any(-1)
    assert torch.equal(shift_mask(size, window, torch.device("cpu")), wrapped * OTHER_REGION)


@torch.no_grad()
@pytest.mark.parametrize("shift", [0, 2])
def test_padding_takes_part_in_the_attention(shift):
    """A map that windows do not tile equals the padded map whose new tokens are zero after the norm."""
    block = filled(SwinBlock(6, 2, window=4, shift=shift, drop_path=0.0))
    x = torch.randn(2, 5, 7, 6)
    normed = F.pad(block.norm1(x), (0, 0, 0, 1, 0, 3)).roll((-shift, -shift), (1, 2))
    mask = shift_mask((8, 8), 4, x.device)
    windows = block.attn(to_windows(normed, 4), mask if shift else None).view(2, 2, 2, 4, 4, 6)
    attended = windows.transpose(2, 3).reshape(2, 8, 8, 6).roll((shift, shift), (1, 2))[:, :5, :7]
    expected = x + attended
    expected = expected + block.mlp(block.norm2(expected))
    torch.testing.assert_close(block(x, shift_mask((5, 7), 4, x.device)), expected)


@torch.no_grad()
def test_merging_and_embedding_pad_with_zeros():
    merge = filled(PatchMerging(3))
    x = torch.randn(1, 3, 5, 3)
    even = F.pad(x, (0, 0, 0, 1, 0, 1))
    parts = [even[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
    torch.testing.assert_close(merge(x), merge.reduction(merge.norm(torch.cat(parts, -1))))
    embed = filled(SwinPatchEmbed(8))
    image = torch.randn(1, 3, 9, 14)
    assert embed(image).shape == (1, 3, 4, 8)
    torch.testing.assert_close(embed(image), embed(F.pad(image, (0, 2, 0, 3))))


def test_dropped_paths():
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    out = drop(x)
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert torch.equal(out.amax((1, 2)), out.amin((1, 2)))
    assert out.mean().item() == pytest.approx(1, abs=0.03)
    assert drop.eval()(x) is x
    chances = [1 - b.drop_path.keep for s in SwinTransformer(8, (1, 2), (1, 1), 4, 0.2).stages for b in s.blocks]
    assert chances == pytest.approx([0, 0.1, 0.2])


def test_errors():
    with pytest.raises(ValueError, match="one number per stage"):
        SwinTransformer(8, (2, 2), (1,), 4, 0.1)
    with pytest.raises(ValueError, match=r"16 channels .* got 3"):
        SwinTransformer(8, (2, 2), (1, 3), 4, 0.1)
    with pytest.raises(ValueError, match="window_size"):
        SwinTransformer(8, (2,), (1,), 1, 0.1)
