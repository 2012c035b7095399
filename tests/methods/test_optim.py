"""Layer-wise decay: the official rates, and no parameter forgotten."""

import pytest
import torch
from torch import nn

from clicklab.methods.simpleclick import SimpleClickNet
from clicklab.methods.simpleclick.module import SimpleClick
from clicklab.optim import layer_decay_groups


@pytest.fixture
def network():
    return SimpleClickNet.from_variant("mini", image_size=64)


def test_every_parameter_in_exactly_one_group(network):
    network.neck.levels[2][0].bias.requires_grad_(False)
    groups = layer_decay_groups(network, 1e-3)
    grouped = [p for group in groups for p in group["params"]]
    assert len(grouped) == len(set(map(id, grouped)))
    assert set(map(id, grouped)) == {id(p) for p in network.parameters() if p.requires_grad}
    torch.optim.AdamW(groups, lr=1e-3)


def test_rates(network):
    """lr * 0.75 ** (depth + 1 - id), id 0 for embeddings, i + 1 for block i, depth + 1 for the rest."""
    groups = layer_decay_groups(network, 1e-3, decay=0.75, weight_decay=0.02)
    of = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    vit = network.backbone
    assert of[id(vit.pos_embed)] == of[id(vit.patch_embed.proj.bias)] == (pytest.approx(1e-3 * 0.75**9), 0)
    assert of[id(vit.patch_embed.proj.weight)] == (pytest.approx(1e-3 * 0.75**9), 0.02)
    for i, block in enumerate(vit.blocks):
        assert of[id(block.attn.qkv.weight)] == (pytest.approx(1e-3 * 0.75 ** (8 - i)), 0.02)
        assert of[id(block.norm1.weight)] == of[id(block.mlp.fc1.bias)] == (pytest.approx(1e-3 * 0.75 ** (8 - i)), 0)
    for module in (network.neck, network.head, network.patch_embed_coords):
        assert {of[id(p)] for p in module.parameters()} == {(1e-3, 0.02)}


def test_another_backbone():
    with pytest.raises(ValueError, match="plain ViT as `backbone`, not Linear"):
        layer_decay_groups(nn.Linear(2, 2), 1e-3)


def test_layers_decay_as_in_the_official_code_by_default():
    learner = SimpleClick("mini", {"image_size": 64}, learning_rate=1e-3, layer_decay=0.5)
    groups = learner.parameter_groups()
    assert {group["weight_decay"] for group in groups} == {0.0, 0.02}
    assert min(group["lr"] for group in groups) == pytest.approx(1e-3 * 0.5**9)
    by_default = {group["lr"] for group in layer_decay_groups(learner.network, 1e-3)}
    assert sorted(by_default) == pytest.approx([1e-3 * 0.75**n for n in range(9, -1, -1)])
