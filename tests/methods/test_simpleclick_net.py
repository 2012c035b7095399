"""SimpleClick's network: the contract, the variants, every parameter used."""

import pytest
import torch

from clicklab.methods.simpleclick import VARIANTS, SimpleClickNet, build
from clicklab.records import Clicks

CLICKS = Clicks.from_list([[(10.5, 20.0, 1), (3.0, 60.0, 0)], [(40.0, 8.0, 1)]])


def mini(**options):
    torch.manual_seed(0)
    return SimpleClickNet.from_variant("mini", image_size=64, **options)


def test_clicks_and_previous_mask_are_read():
    network = mini().eval()
    image, nothing = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    answers = [
        (Clicks.empty(1), nothing),
        (Clicks.empty(1, 3), nothing),
        (Clicks.from_list([[(9, 9, 1)]]), nothing),
        (Clicks.from_list([[(9, 9, 0)]]), nothing),
        (Clicks.from_list([[(9, 9, 1)]]), nothing + 0.5),
    ]
    with torch.no_grad():
        logits = [network(image, *answer).logits for answer in answers]
    assert torch.equal(logits[0], logits[1])
    for i in range(1, 5):
        assert all(not torch.equal(logits[i], logits[j]) for j in range(1, i))


# Trainable parameters: the official figures (docs/models.md#plain-vit) less what never runs.
@pytest.mark.parametrize(
    ("name", "official", "dim", "channels", "patch"),
    [
        ("xtiny", 4_053_577, 160, 128, 16),
        ("base", 98_025_513, 768, 256, 16),
        ("large", 324_206_377, 1024, 256, 16),
        ("huge", 662_184_793, 1280, 256, 14),
    ],
)
def test_sizes_of_the_released_variants(name, official, dim, channels, patch):
    with torch.device("meta"):
        network = SimpleClickNet.from_variant(name)
    up1 = channels * channels // 2 * 4 + channels // 2 + (channels // 2) ** 2 + channels // 2 + 4 * (channels // 2)
    half = channels // 2
    up2 = half * half // 2 * 4 + half // 2 + (half // 2) ** 2 + half // 2 + 4 * (half // 2)
    dead = (
        2 * dim + 2 * dim + 1000 * dim + 1000 + up1 + up2
    )  # class token and its position, fc_norm, head, up_conv1, up_conv2
    assert sum(p.numel() for p in network.parameters()) == official - dead
    assert network.zoom_in.target_size == (448, 448)
    assert network.backbone.patch_size == patch


def test_initial_weights():
    """Xavier in the ViT, Kaiming fan-out in the head, zero biases there (docs/training.md#initial-weights)."""
    network = SimpleClickNet.from_variant("xtiny")
    qkv = network.backbone.blocks[0].attn.qkv
    assert qkv.weight.abs().max() <= (6 / (160 + 480)) ** 0.5
    assert qkv.weight.std().item() == pytest.approx((2 / (160 + 480)) ** 0.5, rel=0.02)
    patch = network.backbone.patch_embed.proj.weight
    assert patch.std().item() == pytest.approx((2 / (160 + 3 * 256)) ** 0.5, rel=0.02)
    assert network.backbone.pos_embed.std().item() == pytest.approx(0.02, rel=0.02)
    assert network.head.fusion_conv.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.02)
    for layer in (qkv, network.head.convs[2], network.head.fusion_conv):
        assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


@pytest.mark.parametrize("variant", ["small", "tiny", "mini"])
def test_small_variants_run_at_their_size(variant):
    network = SimpleClickNet.from_variant(variant).eval()
    side = network.arguments["image_size"]
    with torch.inference_mode():
        logits = network(torch.rand(1, 3, side, side), Clicks.empty(1), torch.zeros(1, 1, side, side)).logits
    assert logits.shape == (1, 1, side, side)


def test_bfloat16():
    network = mini().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(2, 3, 64, 64), CLICKS, torch.rand(2, 1, 64, 64)).logits.isfinite().all()
    network = network.bfloat16()
    image, prev_mask = torch.rand(2, 3, 64, 64).bfloat16(), torch.rand(2, 1, 64, 64).bfloat16()
    with torch.no_grad():
        assert network(image, CLICKS, prev_mask).logits.dtype == torch.bfloat16


def test_arguments_rebuild_the_network():
    network = mini(click_radius=3.5)
    assert build({"variant": None, "network_options": network.arguments}).arguments == network.arguments
    options = {"image_size": 64, "click_radius": 3.5}
    assert build({"variant": "mini", "network_options": options, "learning_rate": 1.0}).arguments == network.arguments
    assert build({"variant": "mini"}).arguments == SimpleClickNet.from_variant("mini").arguments


def test_errors():
    with pytest.raises(ValueError, match=f"unknown SimpleClick variant 'giant'; known: {', '.join(VARIANTS)}"):
        SimpleClickNet.from_variant("giant")
    with pytest.raises(ValueError, match="no option 'radius'"):
        mini(radius=3)
    with pytest.raises(ValueError, match=r"70x64.*nearest that works is 64 or 80"):
        mini().start(torch.zeros(1, 3, 70, 64))
