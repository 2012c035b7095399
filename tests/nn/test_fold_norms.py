"""Networks without batch norms answer as those with them; nothing else about a network changes."""

import pytest
import torch
from torch import nn

from clicklab.inference.predictor import predictor_for
from clicklab.methods import METHODS, method_package
from clicklab.nn.fold_norms import fold_norms
from clicklab.records import Clicks

NORMED = ["ritm", "focalclick", "vtmr"]


def network(method, variant="mini"):
    torch.manual_seed(0)
    built = method_package(method).build({"variant": variant, "network_options": {}}).eval().double()
    for layer in built.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after a training: no norm is the identity
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    return built


def answers(network, side=64):
    torch.manual_seed(1)
    image, prev_mask = torch.rand(2, 3, side, side).double(), torch.rand(2, 1, side, side).double()
    clicks = Clicks.from_list([[(10, 20, 1)], [(30, 5, 1), (50.5, 60, 0)]])
    with torch.no_grad():
        coarse = network(image, clicks, prev_mask)
        found = [coarse.logits]
        if hasattr(network, "refine") and "features" in coarse.extras:
            boxes = torch.tensor([[5.0, 5, 40, 40], [0, 0, 64, 64]])
            found += network.refine(image, clicks, coarse, boxes)
    return found


@pytest.mark.parametrize(("method", "variant"), [*((m, "mini") for m in NORMED), ("focalclick", "hrnet18s")])
def test_same_answers_with_fewer_layers(method, variant):
    normed = network(method, variant)
    before = {name: value.clone() for name, value in normed.state_dict().items()}
    folded = fold_norms(normed)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    for mine, wanted in zip(answers(folded), answers(normed), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-9 * wanted.abs().max().item())
    assert all(torch.equal(value, before[name]) for name, value in normed.state_dict().items())


def test_a_network_that_learns_keeps_its_norms():
    normed = network("ritm").train()
    assert fold_norms(normed) is normed


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(NORMED)))
def test_a_network_without_norms_is_not_copied(method):
    built = network(method)
    assert fold_norms(built) is built


def test_evaluation_folds():
    predictor = predictor_for(network("ritm"))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in predictor.network.modules())
