"""DISNet's refinement network: attention against the plain formulas, gates, saturated masks, invariances."""

import math

import pytest
import torch

from clicklab.methods.disnet.click_attention import MaskedClickAttention, PlainAttention
from clicklab.methods.disnet.evidence import LOG_FLOOR, Evidence
from clicklab.methods.disnet.guidance import FirstClickGuidance, sample
from clicklab.methods.disnet.refinement import Refinement
from clicklab.records import Clicks

SIZE = (48, 64)
CLICKS = Clicks.from_list([[(10.5, 20, 1), (3, 60, 0), (30, 31, 1)], [(40, 8, 1), (20.25, 50, 1)]])
NETWORKS = [
    {},
    {"dense_clicks": True},
    {"token_attention": "sam"},
    {"feature_guidance": "sam"},
    {"augmented_clicks": False},
    {"conv_ffn": False},
]


def scene(batch=2, dim=16, dtype=torch.float32):
    """Token, features and a proposal's logits on a map of 12 x 16, a quarter of the image."""
    draw = torch.Generator().manual_seed(0)
    token, features = torch.randn(batch, dim, generator=draw), torch.randn(batch, dim, 12, 16, generator=draw)
    return token.to(dtype), features.to(dtype), 3 * torch.randn(batch, 12, 16, generator=draw).to(dtype)


def evidence(prior, clicks=CLICKS):
    return Evidence.of(clicks, SIZE, prior, (4.0, 2.0))


def refinement(**options):
    torch.manual_seed(0)
    return Refinement(16, 24, heads=4, radii=(4.0, 2.0), **options)


def plain_form(module, token, features, branches):
    """Keys and values of every place, head by head; `branches`: (gain, bonus) of the affinity, each (B, n)."""
    flat, width = features.flatten(2).transpose(1, 2), token.shape[-1] // module.heads
    query, key, value = module.query(token), module.key(flat), module.value(flat)
    heads = []
    for part in (slice(h * width, (h + 1) * width) for h in range(module.heads)):
        affinity = torch.einsum("bd,bnd->bn", query[:, part], key[..., part]) / math.sqrt(width)
        weights = [(affinity * gain + bonus).softmax(-1) for gain, bonus in branches]
        heads.append(sum(torch.einsum("bn,bnd->bd", w, value[..., part]) for w in weights))
    return module.out(torch.cat(heads, dim=1))


@torch.no_grad()
def test_one_token_form_is_exact():
    torch.manual_seed(0)
    masked, plain = MaskedClickAttention(16, 4).double(), PlainAttention(16, 4).double()
    token, features, prior = scene(dtype=torch.float64)
    seen = evidence(prior)
    near, p = seen.near.flatten(2), prior.flatten(1).sigmoid()
    branches = [(near[:, 0], p.clamp_min(LOG_FLOOR).log()), (near[:, 1], (1 - p).clamp_min(LOG_FLOOR).log())]
    found = masked(token, features, seen)
    torch.testing.assert_close(found, plain_form(masked, token, features, branches), rtol=1e-11, atol=1e-12)
    found = plain(token, features, seen)
    torch.testing.assert_close(found, plain_form(plain, token, features, [(1, 0)]), rtol=1e-11, atol=1e-12)


@torch.no_grad()
def test_attention_looks_inside_for_positive_and_outside_for_negative_clicks():
    torch.manual_seed(0)
    module = MaskedClickAttention(16, 4)
    token, features, _ = scene()
    prior = torch.full((2, 12, 16), -30.0)
    prior[..., :8] = 30.0
    mean = features[..., :8].mean((2, 3)) + features[..., 8:].mean((2, 3))
    nowhere = Evidence.of(Clicks.empty(2, 1), SIZE, prior, (4.0, 2.0))  # no click: the affinity counts nowhere
    wanted = module.out(module.value(mean) + module.value.bias)
    torch.testing.assert_close(module(token, features, nowhere), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", NETWORKS)
@pytest.mark.parametrize("level", [-1e4, 1e4, None])
def test_saturated_masks(options, level):
    """All background, all object, and a hard mask: finite answers, and gradients to everything but the mask."""
    network = refinement(**options)
    token, features, prior = (x.requires_grad_() for x in scene())
    hard = torch.full_like(prior, level) if level else 1e4 * prior.sign()
    logits = network(token, features, hard, CLICKS, SIZE)
    logits.square().mean().backward()
    assert logits.isfinite().all()
    assert all(x.grad.isfinite().all() for x in (token, features))
    assert prior.grad is None
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not still


@torch.no_grad()
def test_logarithms_of_masks_stop_at_the_floor():
    seen = evidence(torch.tensor([-1e4, -5.0, 0.0, 5.0, 1e4]).view(1, 1, 5), CLICKS[:1])
    inside, outside = seen.log_mask[0, :, 0]
    floor, p = math.log(LOG_FLOOR), math.log(1 / (1 + math.exp(-5)))
    torch.testing.assert_close(inside, torch.tensor([floor, p - 5, math.log(0.5), p, 0.0]))
    torch.testing.assert_close(outside, inside.flip(0))


@torch.no_grad()
@pytest.mark.parametrize("options", NETWORKS)
def test_order_of_later_clicks_and_empty_slots_do_not_matter(options):
    network, (token, features, prior) = refinement(**options), scene()
    rows = [[(10.5, 20, 1), (3, 60, 0), (30, 31, 1)], [(40, 8, 1), (20.25, 50, 1), (5, 5, 0)]]
    found = network(token, features, prior, Clicks.from_list(rows), SIZE)
    turned = network(token, features, prior, Clicks.from_list([[r[0], r[2], r[1]] for r in rows]), SIZE)
    padded = network(token, features, prior, Clicks.from_list(rows).padded(9), SIZE)
    torch.testing.assert_close(turned, found)
    torch.testing.assert_close(padded, found)
    first_last = network(token, features, prior, Clicks.from_list([[r[2], r[1], r[0]] for r in rows]), SIZE)
    moved = network(token, features, prior, Clicks.from_list([[*r[:2], (r[2][0] + 4, *r[2][1:])] for r in rows]), SIZE)
    assert (moved - found).abs().max() > 1e-5
    if options.get("token_attention") != "sam" or options.get("feature_guidance") != "sam":
        assert (first_last - found).abs().max() > 1e-5  # the first click is another one


@torch.no_grad()
def test_gates_by_the_formulas():
    """Formulas 10 to 13 with an attention that averages: gates of single clicks, and of none at all."""
    torch.manual_seed(0)
    module = FirstClickGuidance(16, 4)
    module.attention.in_proj_weight[:32].zero_()  # queries and keys: everything is looked at alike
    module.nothing.normal_()
    token, features, prior = scene(1)
    clicks = Clicks.from_list([[(10.5, 20, 1), (30, 31, 1)]])
    seen = evidence(prior, clicks)
    rows = module.project(torch.cat([sample(features, clicks, SIZE), module.codes(clicks, SIZE)], dim=-1))[0]
    _, _, value = module.attention.in_proj_weight.chunk(3)
    _, _, bias = module.attention.in_proj_bias.chunk(3)

    def average(tokens):
        return module.attention.out_proj((tokens @ value.T + bias).mean(0, keepdim=True))

    gate_in = module.inside(average(torch.cat([module.nothing[:1], rows])))[0, :, None, None]
    gate_out = module.outside(average(module.nothing[1:]))[0, :, None, None]  # there is no negative click
    wanted = features[0] * (gate_in * prior[0].sigmoid() + gate_out * (1 - prior[0].sigmoid()))
    torch.testing.assert_close(module(token, features, seen)[0], wanted)


@torch.no_grad()
@pytest.mark.parametrize("augmented", [True, False])
def test_one_click_and_no_negative_ones(augmented):
    torch.manual_seed(0)
    module = FirstClickGuidance(16, 4, augmented)
    token, features, prior = scene()
    for rows in ([[(9, 9, 1)], [(9, 9, 0)]], [[(9, 9, 1), (3, 3, 0)], [(9, 9, 1)]]):
        change = module(token, features, evidence(prior, Clicks.from_list(rows)))
        assert change.shape == features.shape
        assert change.isfinite().all()
        assert (change.abs() < features.abs() + 1e-6).all()  # gates lie between 0 and 1


@torch.no_grad()
def test_features_are_sampled_where_the_click_is():
    """A map that holds the row and the column of its cells' middles, in pixels of the image."""
    middle = [torch.arange(n) * 4 + 1.5 for n in (12, 16)]
    features = torch.stack(torch.meshgrid(*middle, indexing="ij"))[None]
    clicks = Clicks.from_list([[(10.5, 20, 1), (1.5, 61.5, 0), (0, 63, 1)]])
    found = sample(features, clicks, SIZE)
    torch.testing.assert_close(found[0, :2], clicks.yx[0, :2])
    torch.testing.assert_close(found[0, 2], torch.tensor([1.5, 61.5]))  # the border's value


@torch.no_grad()
def test_number_types():
    network, (token, features, prior) = refinement(dense_clicks=True), scene()
    wanted = network(token, features, prior, CLICKS, SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(token, features, prior, CLICKS, SIZE)
    torch.testing.assert_close(half.float(), wanted, rtol=0.1, atol=0.1)
    network.bfloat16()
    whole = network(token.bfloat16(), features.bfloat16(), 1e4 * prior.bfloat16(), CLICKS, SIZE)
    assert whole.dtype == torch.bfloat16
    assert whole.isfinite().all()
