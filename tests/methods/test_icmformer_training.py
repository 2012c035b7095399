"""A training step of iCMFormer, for every network that an experiment file asks for."""

from pathlib import Path

import pytest
import torch
import yaml

from clicklab.losses.nfl import normalized_focal_loss
from clicklab.methods.icmformer import ICMFormerSwin, ICMFormerViT
from clicklab.methods.icmformer.module import ICMFormer
from clicklab.records import Batch, Clicks
from data_modules.simulation import SimulatedUser

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "icmformer"
OPTIONS = {
    path.stem: (yaml.safe_load(path.read_text()).get("model") or {}).get("init_args", {})
    for path in sorted(EXPERIMENTS.glob("*.yaml"))
    if path.stem not in ("sweep", "smoke")
}
SWIN = [name for name, options in OPTIONS.items() if options.get("variant", "").startswith("swin")]


def test_the_paper_s_optimiser_is_the_one_that_trains():
    paper = OPTIONS["paper"]
    made = ICMFormer("mini", betas=paper["betas"], milestones=paper["milestones"]).configure_optimizers()
    assert all(group["betas"] == (0.9, 0.99) for group in made["optimizer"].param_groups)
    assert list(made["lr_scheduler"]["scheduler"].milestones) == [50]
    assert ICMFormer("mini").configure_optimizers()["optimizer"].param_groups[0]["betas"] == (0.9, 0.999)


def scene():
    torch.manual_seed(2)
    target = torch.zeros(2, 1, 64, 64)
    target[0, :, 10:40, 20:50], target[1, :, 30:60, 5:30] = 1, 1
    clicks = Clicks.from_list([[(25, 35, 1)], [(45, 17, 1)]])
    return Batch(torch.rand(2, 3, 64, 64), target, clicks, torch.zeros_like(target))


class Trained(ICMFormer):
    """Plays two rounds with a user of its own, without a trainer."""

    user = SimulatedUser(max_rounds=2)

    def log(self, name, value, **_):
        self.logged = {name: value.item()}


def step(variant, options):
    torch.manual_seed(0)
    module = Trained(variant, options.get("network_options"))
    optimizer = module.configure_optimizers()["optimizer"]
    before = [parameter.detach().clone() for parameter in module.network.parameters()]
    module.network.train()
    module.training_step(scene(), 0).backward()
    optimizer.step()
    assert module.network.training
    assert all(not torch.equal(a, b) for a, b in zip(before, module.network.parameters(), strict=True))
    return module


@pytest.mark.parametrize("name", OPTIONS)
def test_every_experiment_learns(name):
    """Everything that its network has; the sizes are small ones."""
    module = step("swin_mini" if name in SWIN else "mini", OPTIONS[name])
    assert isinstance(module.network, ICMFormerSwin if name in SWIN else ICMFormerViT)
    for option, value in (OPTIONS[name].get("network_options") or {}).items():
        assert module.network.arguments[option] == value
    assert 0 < module.logged["train/loss"] < 10


def test_swin_without_cross_blocks_learns():
    """Table 4, "hierarchy without cross-modality": VARIANT="swinb sbd nocross"."""
    assert len(step("swin_mini", OPTIONS["nocross"]).network.cross_blocks) == 0


def test_loss_and_optimiser_are_the_official_ones():
    module = Trained("mini", {"dropout": 0.0})
    module.user = SimulatedUser(max_rounds=0)
    loss = module.training_step(scene(), 0)
    batch = scene()
    logits = module.network(batch.image, batch.clicks, batch.prev_mask).logits
    torch.testing.assert_close(loss, normalized_focal_loss(logits, batch.target, alpha=0.5, gamma=2.0).mean())
    optimizer = module.configure_optimizers()["optimizer"]
    assert optimizer.defaults["lr"] == 5e-5 and optimizer.defaults["weight_decay"] == 0
    assert module.hparams["variant"] == "mini" and module.milestones == [80, 85]
