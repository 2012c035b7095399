"""Networks without batch norms answer as those with them; nothing else about a network changes."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from clicklab.inference.predictor import predictor_for
from clicklab.methods import METHODS, method_package
from clicklab.nn.fold_norms import NormedLayers, fold_norms
from clicklab.nn.network import ClickNetwork, as_click_network
from clicklab.nn.two_pass import TwoPassNetwork
from clicklab.records import Clicks, Prediction


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
        if isinstance(network, TwoPassNetwork):
            boxes = torch.tensor([[5.0, 5, 40, 40], [0, 0, 64, 64]])
            found += network.refine(image, clicks, coarse, boxes)
    return found


def normed(method):
    return any(isinstance(layer, nn.BatchNorm2d) for layer in network(method).modules())


NORMED = [method for method in METHODS if normed(method)]


@pytest.mark.parametrize(("method", "variant"), [*((m, "mini") for m in NORMED), ("focalclick", "hrnet18s")])
def test_same_answers_with_fewer_layers(method, variant):
    built = network(method, variant)
    before = {name: value.clone() for name, value in built.state_dict().items()}
    folded = fold_norms(built)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    for mine, wanted in zip(answers(folded), answers(built), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-9 * wanted.abs().max().item())
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_a_network_that_learns_keeps_its_norms():
    learning = network("ritm").train()
    assert fold_norms(learning) is learning


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(NORMED)))
def test_a_network_without_norms_is_not_copied(method):
    built = network(method)
    assert fold_norms(built) is built


def test_evaluation_folds():
    predictor = predictor_for(network("ritm"))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in predictor.network.modules())


class Misleading(ClickNetwork):
    """A norm that follows a sum stands right behind a convolution, and one that also activates behind another."""

    zoom_in = None
    flip = False

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 1)
        self.active = BatchNormAct2d(4)
        self.last = nn.Conv2d(4, 1, 1)

    def step(self, state, clicks, prev_mask):
        found = self.first(state)
        found = self.norm(found + found.roll(1, -1))
        return Prediction(self.last(self.active(self.second(found))))


@pytest.mark.parametrize("plain", [False, True])
def test_nothing_is_folded_that_nobody_declared(plain):
    torch.manual_seed(0)
    network = Misleading().eval()
    for norm in (network.norm, network.active):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.2, 4.0)
    if plain:
        network = as_click_network(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval())
    assert fold_norms(network) is network


def test_a_subclass_of_a_norm_is_never_taken_for_a_norm():
    class Declaring(NormedLayers):
        norm_of = {"convolution": "norm"}  # noqa: RUF012

        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 4, 1), BatchNormAct2d(4)

    class Holder(ClickNetwork):
        def __init__(self):
            super().__init__()
            self.part = Declaring()

    folded = fold_norms(Holder().eval())
    assert isinstance(folded.part.norm, BatchNormAct2d)
