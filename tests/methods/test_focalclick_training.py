"""FocalClick's training step: it learns, rates of the parts, randomness, checkpoints that load."""

import types
from types import SimpleNamespace

import pytest
import torch
from squares import squares as batch

from clicklab.losses.click_loss import click_loss
from clicklab.losses.focus import edge_weighted_focal_loss
from clicklab.losses.mask import binary_cross_entropy
from clicklab.methods.focalclick import FocalClick
from clicklab.methods.focalclick import module as focal_module
from clicklab.methods.ritm.module import RITM
from clicklab.records import Batch, Clicks
from clicklab.views.focus_views import focus_views
from data_modules.simulation import SimulatedUser


class Trained(FocalClick):
    """With a user but without a trainer; notes what is logged."""

    user = SimulatedUser()

    def log(self, name, value, **_):
        self.logged = {**getattr(self, "logged", {}), name: float(value.detach())}

    def log_dict(self, values, **_):
        for name, value in values.items():
            self.log(name, value)


def overlaps(module):
    """Mean IoU of the coarse and of the refined masks after the first click, each sample being its own close view."""
    module.eval()
    given = batch()
    whole = torch.tensor([[0.0, 0.0, 64.0, 64.0]]).repeat(len(given), 1)
    with torch.no_grad():
        coarse = module(given)
        fine = module.network.refine(given.image, given.clicks, coarse, whole)
    module.train()
    wanted = given.target == 1
    masks = (coarse.logits > 0, fine.logits > 0)
    return [((m & wanted).sum((1, 2, 3)) / (m | wanted).sum((1, 2, 3))).mean().item() for m in masks]


def test_both_passes_learn():
    torch.manual_seed(0)
    module = Trained("mini", learning_rate=5e-3, extractor_factor=1.0)
    optimizer = torch.optim.Adam(module.parameter_groups())
    for step in range(40):
        loss = module.training_step(batch(), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        parts = [module.logged[f"train/{name}"] for name in ("coarse", "refined", "edge")]
        assert module.logged["train/loss"] == pytest.approx(sum(parts), rel=1e-5)
        if step == 0:
            first = parts
    assert parts[2] < 0.6 * first[2]  # the two focal losses are normalised: they hardly fall before all is right
    assert module.network.training  # the rounds without gradient are played in eval mode
    coarse, fine = overlaps(module)
    assert coarse > 0.85 and fine > 0.85


@pytest.mark.parametrize(("variant", "inside", "count"), [("b0", "segmentor.clicks.", 180), ("hrnet18s", ".ocr.", 453)])
def test_learning_rates_of_the_parts(variant, inside, count):
    """b0: 180 of 236 tensors learn at the other rate (docs/methods/focalclick.md#training)."""
    with torch.device("meta"):
        module = FocalClick(variant, learning_rate=1e-3, extractor_factor=0.1)
    groups = {group["lr"]: {id(p) for p in group["params"]} for group in module.parameter_groups()}
    assert sorted(groups) == pytest.approx([1e-4, 1e-3])
    slow, fast = groups[min(groups)], groups[max(groups)]
    named = dict(module.network.named_parameters())
    assert len(slow) == count and len(slow) + len(fast) == len(named)
    for name, parameter in named.items():
        assert (id(parameter) in fast) == (not (name.startswith("segmentor.backbone.") or inside in name)), name


def test_ignored_pixels_teach_nothing():
    """Neither mask nor edges of what the annotation leaves open."""
    module, given = Trained("mini"), batch()
    given = given.replace(target=torch.full_like(given.target, -1))
    assert module.training_step(given, 0).item() == 0.0


def test_convolutions_begin_as_officially():
    """With an HRNet the refiner's too: Gaussian of the width that Xavier and a gain of sqrt 2 give, biases 0."""
    torch.manual_seed(0)
    layer = FocalClick("hrnet18s").network.refiner.features[0]
    wide = (2 * 2 / (layer.in_channels + layer.out_channels)) ** 0.5
    assert layer.weight.std().item() == pytest.approx(wide, rel=0.05)
    assert not layer.bias.any()


def test_odd_targets_leave_a_finite_loss():
    """A speck, nothing, everything, and all ignored."""
    target = torch.zeros(1, 1, 64, 64)
    target[..., 30:33, 30:33] = 1
    samples = [target, torch.zeros_like(target), torch.ones_like(target), torch.full_like(target, -1)]
    stacked = torch.cat(samples)
    module = Trained("mini")
    clicks = Clicks.empty(4)
    given = Batch(batch().image, stacked, clicks, torch.zeros(4, 1, 64, 64))
    for seed in range(4):
        torch.manual_seed(seed)
        assert torch.isfinite(module.training_step(given, 0))


def test_a_user_is_asked_for():
    module = FocalClick("mini")
    module._trainer = types.SimpleNamespace(datamodule=None)
    with pytest.raises(ValueError, match=r"datamodule=|module\.user ="):
        module.training_step(batch(), 0)


def test_a_step_is_the_sum_of_the_official_losses(monkeypatch):
    boxes = torch.tensor([[4.0, 2.0, 44.0, 42.0]]).repeat(4, 1)
    monkeypatch.setattr(focal_module, "draw_boxes", lambda target, rng: boxes)
    learner, given = Trained("mini").eval(), batch()
    learner.user = SimpleNamespace(warm_up=lambda batch, predict_prev_mask: batch)
    loss = learner.training_step(given, 0)
    coarse, views = learner(given), focus_views(given, boxes)
    fine = learner.network.refine(views.image, views.clicks, coarse, boxes)
    expected = {
        "coarse": click_loss(coarse, given.target),
        "refined": edge_weighted_focal_loss(fine.logits, views.target, views.edge),
        "edge": binary_cross_entropy(fine.edge, views.edge).mean(),
    }
    for name, value in expected.items():
        assert learner.logged[f"train/{name}"] == pytest.approx(value.item(), rel=1e-5)
    torch.testing.assert_close(loss, sum(expected.values()))


def test_factors_of_the_official_scripts():
    assert FocalClick("mini").extractor_factor == 0.1
    assert (RITM("mini").backbone_factor, RITM("mini").aux_weight) == (0.1, 0.4)
