"""Pixel decoder and mask decoder: shapes, who may look where, sine maps kept."""

import pytest
import torch

from clicklab.clicks.maps import sine_grid
from clicklab.nn.mask_decoder import MaskDecoder, _background, attend
from clicklab.nn.pixel_decoder import PixelDecoder
from clicklab.nn.sine_maps import SineMaps


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return MaskDecoder(dim=16, hidden=24, queries=5, layers=4, heads=4).eval()


def scene(batch=2):
    generator = torch.Generator().manual_seed(1)
    feature = torch.randn(batch, 16, 16, 24, generator=generator)
    memories = [torch.randn(batch, 16, 16 // s, 24 // s, generator=generator) for s in (8, 4, 2)]
    return feature, memories, torch.randn(batch, 3, 16, generator=generator)


@torch.no_grad()
@pytest.mark.parametrize("masked", [True, False])
def test_attention_is_that_of_the_layer(masked):
    torch.manual_seed(0)
    layer = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    torch.nn.init.normal_(layer.in_proj_bias)
    query, key, value = torch.randn(2, 4, 12), torch.randn(2, 9, 12), torch.randn(2, 9, 12)
    hidden = torch.rand(2, 4, 9) < 0.4 if masked else None
    per_head = None if hidden is None else hidden.repeat_interleave(3, dim=0)
    wanted, _ = layer(query, key, value, attn_mask=per_head, need_weights=False)
    torch.testing.assert_close(attend(layer, query, key, value, hidden), wanted)


def test_one_prediction_more_than_layers(decoder):
    states, masks = decoder(*scene(), torch.zeros(2, 3, dtype=torch.bool))
    assert len(states) == len(masks) == 5
    assert states[0].shape == (2, 5, 16)
    assert masks[0].shape == (2, 5, 16, 24)


@torch.no_grad()
def test_hidden_tokens_are_never_read_and_visible_ones_are(decoder):
    feature, memories, tokens = scene()
    hidden = torch.tensor([[False, True, True], [False, False, True]])
    before = decoder(feature, memories, tokens, hidden)[1][-1]
    noise = torch.where(hidden[..., None], 100.0, tokens)
    torch.testing.assert_close(decoder(feature, memories, noise, hidden)[1][-1], before)
    moved = tokens.clone()
    moved[:, 0] += 1
    after = decoder(feature, memories, moved, hidden)[1][-1]
    assert ((after - before).abs().amax((1, 2, 3)) > 1e-3).all()
    short = decoder(feature[:1], [m[:1] for m in memories], tokens[:1, :1], hidden[:1, :1])[1][-1]
    torch.testing.assert_close(short, before[:1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_queries_look_only_inside_their_mask(decoder):
    """With a mask feature that makes the left half foreground, pixels of the right half are not read."""
    _, memories, tokens = scene(1)
    with torch.no_grad():
        decoder.mask_embed[-1].weight.zero_()
        decoder.mask_embed[-1].bias.fill_(1.0)
    feature = torch.full((1, 16, 16, 24), -1.0)
    feature[..., :12] = 1.0
    hidden = torch.zeros(1, 3, dtype=torch.bool)
    before = decoder(feature, memories, tokens, hidden)[0][-1]
    for memory in memories:
        memory[..., memory.shape[-1] // 2 + 1 :] += 50
    torch.testing.assert_close(decoder(feature, memories, tokens, hidden)[0][-1], before)
    everywhere = decoder(-feature.abs(), memories, tokens, hidden)[0][-1]  # an empty mask looks everywhere
    assert not torch.allclose(everywhere, before, atol=1e-2)
    assert everywhere.isfinite().all()


def test_pixel_decoder_shapes_and_gradients():
    torch.manual_seed(0)
    decoder = PixelDecoder((8, 16, 24, 32), dim=32, hidden=40, layers=2)
    maps = [torch.randn(2, c, 32 // s, 48 // s, requires_grad=True) for c, s in ((8, 1), (16, 2), (24, 4), (32, 8))]
    feature, memories = decoder(maps)
    assert feature.shape == (2, 32, 32, 48)
    assert [m.shape[-2:] for m in memories] == [(4, 6), (8, 12), (16, 24)]
    (feature.square().sum() + sum(m.square().sum() for m in memories)).backward()
    assert all(m.grad.abs().sum() > 0 for m in maps)
    assert all(p.grad is not None for p in decoder.parameters())
    with pytest.raises(ValueError, match="multiple of 32"):
        PixelDecoder((8, 8, 8, 8), dim=48, hidden=8)


def test_sine_maps_are_made_once_and_serve_training():
    maps = SineMaps(8, keep=2)
    with torch.inference_mode():
        first = maps((3, 4), torch.zeros(1))
    assert maps((3, 4), torch.zeros(1)) is first
    assert not first.is_inference()
    assert torch.equal(first, sine_grid((3, 4), 8).flatten(1).T)
    maps((5, 5), torch.zeros(1))
    assert maps((3, 4), torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert len(maps._made) == 2
    assert not maps.state_dict()


def test_a_probability_of_one_half_is_inside_the_mask():
    logits = torch.tensor([0.0, -1.0, -2.0, 0.0]).view(1, 1, 2, 2)
    assert _background(logits, (2, 2)).flatten().tolist() == [False, True, True, False]
    assert not _background(logits - 1, (2, 2)).any()  # an empty mask hides nothing
