"""SimpleClick's network: the official sizes and initial weights. What all networks keep: test_contract.py."""

import pytest
import torch

from clicklab.methods.simpleclick import SimpleClickNet
from clicklab.records import Clicks

CLICKS = Clicks.from_list([[(10.5, 20.0, 1), (3.0, 60.0, 0)], [(40.0, 8.0, 1)]])


def mini(**options):
    torch.manual_seed(0)
    return SimpleClickNet.from_variant("mini", image_size=64, **options)


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


def test_a_size_that_patches_do_not_tile_is_named():
    with pytest.raises(ValueError, match=r"70x64.*nearest that works is 64 or 80"):
        mini().start(torch.zeros(1, 3, 70, 64))
