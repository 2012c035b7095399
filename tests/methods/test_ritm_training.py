"""RITM's training: the official losses of one batch, learning rates, a step that learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from official_ritm import official_checkpoint

from clicklab.methods.ritm import from_official
from clicklab.methods.ritm.module import RITM
from clicklab.optim import scaled_groups
from clicklab.records import Batch, Clicks

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ritm.json").read_text())["training"]


class Silent:
    """A user who adds no click."""

    def warm_up(self, batch, predict_prev_mask):
        return batch


@pytest.fixture
def module(monkeypatch):
    """The network of the golden values in training, without dropout and without a trainer."""
    official = from_official(official_checkpoint(GOLDEN["file"]))
    module = RITM(network_options=official.arguments)
    module.network.load_state_dict(official.state_dict())
    module.network.train()
    module.network.segmentor.ocr.dropout.p = 0.0
    module.user = Silent()
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    return module


def batch():
    height, width = GOLDEN["size"]
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((2, 3, height, width), dtype=np.float32))
    prev_mask = torch.from_numpy(rng.random((2, 1, height, width), dtype=np.float32))
    target = torch.zeros(2, 1, height, width)
    target[0, :, 20:50, 30:70], target[1, :, 40:60], target[1, :, :10] = 1, 1, -1
    clicks = [
        [(height * 0.3, width * 0.4, 1), (10.25, width - 3.5, 0), (height - 1.0, 5.0, 1)],
        [(height * 0.5 + 0.5, width * 0.5 - 0.25, 1)],
    ]
    return Batch(image, target, Clicks.from_list(clicks), prev_mask)


def test_losses_and_statistics_of_the_official_code(module):
    """Both losses of the official trainer, and what BatchNorm keeps where the object's vector is repeated."""
    loss = module.training_step(batch(), 0)
    assert loss.item() == pytest.approx(GOLDEN["mask"] + 0.4 * GOLDEN["aux"], rel=1e-5)
    kept = module.network.segmentor.ocr.up[1].running_var[: len(GOLDEN["running_var_of_up"])]
    torch.testing.assert_close(kept, torch.tensor(GOLDEN["running_var_of_up"]), rtol=1e-5, atol=1e-5)
    module.aux_weight = 0.0
    assert module.training_step(batch(), 0).item() == pytest.approx(GOLDEN["mask"], rel=1e-5)


def test_a_step_with_the_official_rates_learns(module):
    optimizer = module.configure_optimizers()["optimizer"]
    samples = batch()
    first = module.training_step(samples, 0)
    for _ in range(2):
        optimizer.zero_grad()
        module.training_step(samples, 0).backward()
        optimizer.step()
    assert module.training_step(samples, 0) < first


def test_learning_rates():
    """0.1 for the HRNet and both output layers, 1 for clicks and OCR (docs/training.md#learning-rates-by-layer)."""
    module = RITM(variant="mini", learning_rate=1e-3)
    groups = module.parameter_groups()
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups) == len(list(module.network.parameters()))
    segmentor = module.network.segmentor
    slow = [segmentor.backbone, segmentor.ocr.aux, segmentor.ocr.mask]
    fast = [segmentor.clicks, segmentor.ocr.pixels, segmentor.ocr.down, segmentor.ocr.up, segmentor.ocr.fuse]
    for parts, rate in ((slow, 1e-4), (fast, 1e-3)):
        assert all(rates[id(p)] == pytest.approx(rate) for part in parts for p in part.parameters())


def test_the_innermost_part_counts():
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))
    layers[0].bias.requires_grad_(False)
    groups = {group["lr"]: group["params"] for group in scaled_groups(layers, 1.0, {"1": 0.5, "1.0": 2.0})}
    assert {rate: len(parameters) for rate, parameters in groups.items()} == {1.0: 1, 2.0: 2}
    with pytest.raises(ValueError, match="Sequential has no part 3"):
        scaled_groups(layers, 1.0, {"3": 0.5})
