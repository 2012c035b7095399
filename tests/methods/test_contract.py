"""What every method keeps, from the day it is added: its network, its training step, its checkpoints.

Networks are those of `METHODS`, training steps those of `experiments/*/smoke.yaml` (CFR-ICL has no network of its own).
Nothing here knows a method by name.
"""

from __future__ import annotations

import copy
import inspect
import json

import pytest
import torch
from recipes import RECIPES, built_module, recipe_data

import clicklab
from clicklab.methods import METHODS, method_package
from clicklab.nn.fold_norms import fold_norms
from clicklab.records import Clicks

CLICKS = Clicks.from_list([[(10.5, 20.0, 1), (3.0, 60.0, 0)], [(40.0, 8.0, 1)]])
SIZE = (64, 96)


def example(size=SIZE):
    """Two images, and the masks shown last."""
    torch.manual_seed(1)
    return torch.rand(2, 3, *size), torch.rand(2, 1, *size)


def network_of(name):
    return built_module(name).network


@pytest.mark.parametrize("name", METHODS)
def test_forward_is_start_and_step(name):
    network, (image, prev_mask) = network_of(name).eval(), example()
    with torch.no_grad():
        whole = network(image, CLICKS, prev_mask)
        state = network.start(image)
        before = copy.deepcopy(state)
        step = network.step(state, CLICKS, prev_mask)
        again = network.step(step.state, CLICKS, prev_mask)
    torch.testing.assert_close(state, before, rtol=0, atol=0)
    assert whole.logits.shape[0] == 2 and whole.logits.shape[2:] == SIZE
    assert whole.logits.isfinite().all()
    assert (whole.score is None) == (whole.logits.shape[1] == 1)
    assert whole.score is None or whole.score.shape == whole.logits.shape[:2]
    assert torch.equal(whole.logits, step.logits)
    assert torch.equal(step.logits, again.logits)


@pytest.mark.parametrize("name", METHODS)
def test_samples_of_a_batch_do_not_mix(name):
    network, (image, prev_mask) = network_of(name).eval(), example()
    with torch.no_grad():
        both = network(image, CLICKS, prev_mask).logits
        alone = network(image[1:], CLICKS[1:], prev_mask[1:]).logits
    torch.testing.assert_close(alone, both[1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_place_and_sign_of_clicks_are_read_and_empty_slots_are_not(name):
    network, (image, prev_mask) = network_of(name).eval(), example()
    first = (20.0, 30.0, 1)

    def logits(*clicks, slots=2):
        given = Clicks.from_list([clicks] * 2).padded(slots)
        with torch.no_grad():
            return network(image, given, prev_mask).logits

    here, there = logits(first, (50.0, 70.0, 1)), logits(first, (10.0, 70.0, 1))
    negative = logits(first, (50.0, 70.0, 0))
    assert not torch.equal(here, there)
    assert not torch.equal(here, negative)
    torch.testing.assert_close(here, logits(first, (50.0, 70.0, 1), slots=5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_the_previous_mask_is_read_as_the_class_says(name):
    network, (image, _) = network_of(name).eval(), example()
    empty, half = torch.zeros(2, 1, *SIZE), torch.full((2, 1, *SIZE), 0.6)
    with torch.no_grad():
        after_none, after_half = (network(image, CLICKS, mask).logits for mask in (empty, half))
    assert torch.equal(after_none, after_half) is not network.reads_prev_mask


@pytest.mark.parametrize("name", METHODS)
def test_arguments_are_plain_and_rebuild_the_network(name):
    network = network_of(name)
    arguments = json.loads(json.dumps(network.arguments))
    rebuilt = method_package(name).build({"variant": None, "network_options": arguments})
    assert type(rebuilt) is type(network)
    assert rebuilt.arguments == network.arguments
    rebuilt.load_state_dict(network.state_dict())


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_s_settings_rebuild_the_network(name):
    module = built_module(name)
    assert module.hparams["variant"] in type(module.network).variants
    rebuilt = method_package(name).build(dict(module.hparams))
    assert type(rebuilt) is type(module.network)
    assert rebuilt.arguments == module.network.arguments


@pytest.mark.parametrize("name", METHODS)
def test_unknown_sizes_and_options_are_named(name):
    kind = type(network_of(name))
    with pytest.raises(ValueError, match=f"colossal.*{', '.join(kind.variants)}"):
        kind.from_variant("colossal")
    with pytest.raises(ValueError, match="no_such_option"):
        kind.from_variant(next(iter(kind.variants)), no_such_option=1)


@pytest.mark.parametrize("name", METHODS)
def test_every_size_can_be_built(name):
    kind = type(network_of(name))
    for variant, sizes in kind.variants.items():
        with torch.device("meta"):
            network = kind.from_variant(variant)
        assert sizes.keys() <= network.arguments.keys() == inspect.signature(kind).parameters.keys()


@pytest.mark.parametrize("name", METHODS)
def test_lower_precision_stays_finite(name):
    network, (image, prev_mask) = network_of(name).eval(), example()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network(image, CLICKS, prev_mask).logits.isfinite().all()
    network = network.bfloat16()
    with torch.no_grad():
        logits = network(image.bfloat16(), CLICKS, prev_mask.bfloat16()).logits
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
def test_folding_batch_norms_changes_no_answer(name):
    network, (image, prev_mask) = network_of(name).double().eval(), example()
    image, prev_mask = image.double(), prev_mask.double()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # as after a training: no norm is the identity
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.5, 2.0)
    with torch.no_grad():
        wanted = network(image, CLICKS, prev_mask).logits
        found = fold_norms(network)(image, CLICKS, prev_mask).logits
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_the_package_offers_what_loading_needs(name):
    package = method_package(name)
    assert callable(package.build)
    assert callable(getattr(package, "matches", None)) == callable(getattr(package, "from_official", None))


def ready(name):
    """A new module in training mode, with the user of its recipe and without a logger."""
    module, (_, user) = built_module(name), recipe_data(name)
    module.user = user
    module.log = module.log_dict = lambda *_, **__: None
    return module.train()


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_can_be_repeated(name):
    batch, _ = recipe_data(name)
    losses, gradients = [], []
    for _ in range(2):
        module = ready(name)
        torch.manual_seed(5)
        loss = module.training_step(batch, 0)
        loss.backward()
        losses.append(loss.detach())
        gradients.append([parameter.grad for parameter in module.parameters()])
    assert losses[0].ndim == 0 and losses[0] > 0
    assert torch.equal(*losses)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", RECIPES)
def test_every_parameter_learns_and_the_loss_falls(name):
    """Every parameter has a gradient in every step, so that DDP runs without a search for unused ones."""
    module, (batch, _) = ready(name), recipe_data(name)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-4)
    losses, moved = [], set()
    for _ in range(5):
        torch.manual_seed(0)
        loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in module.parameters())
        moved |= {key for key, parameter in module.named_parameters() if parameter.grad.count_nonzero()}
        optimizer.step()
        losses.append(loss.item())
    assert moved == {key for key, _ in module.named_parameters()}
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("value", [-1.0, 0.0], ids=["ignored", "background"])
def test_a_batch_without_objects_has_a_finite_loss(name, value):
    module, (batch, _) = ready(name), recipe_data(name)
    layers = None if batch.layers is None else torch.zeros_like(batch.layers)
    torch.manual_seed(0)
    without = batch.replace(target=torch.full_like(batch.target, value), layers=layers)
    assert module.training_step(without, 0).isfinite()


@pytest.mark.parametrize("name", RECIPES)
def test_parameters_are_optimised_once_each(name):
    module = built_module(name)
    optimizer = torch.optim.Adam(module.parameter_groups(), lr=1e-4)
    given = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(given) == sorted(id(parameter) for parameter in module.network.parameters())


@pytest.mark.parametrize("name", RECIPES)
def test_a_checkpoint_opens_as_the_same_network(name, tmp_path):
    module, (image, prev_mask) = built_module(name).eval(), example((64, 64))
    checkpoint = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    opened = clicklab.load(tmp_path / "last.ckpt")
    with torch.no_grad():
        assert torch.equal(opened(image, CLICKS, prev_mask).logits, module.network(image, CLICKS, prev_mask).logits)
