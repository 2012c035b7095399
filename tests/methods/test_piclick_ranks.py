"""PiClick on two processes: the gradient of the whole batch, equal weights, and no parameter that never learns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from clicklab.methods.piclick.loss import LossWeights
from clicklab.methods.piclick.module import PiClick
from data_modules import InteractiveDataModule
from data_modules.datasets import Shapes
from data_modules.sources import TrainingSource
from data_modules.targets import TargetLaw

NETWORK = {"image_size": 32, "patch_size": 4, "num_queries": 3}
RECIPES = {
    # nothing at random beyond the data, and all candidates weigh alike: then the mean over two halves is the mean
    "plain": ({"first_clicks": "all", "loss": LossWeights(no_object=1.0)}, 0),
    "released": ({}, 3),
}


class Remember(pl.Callback):
    """Keeps the gradients of the first step, as the optimiser gets them, and what was logged of it."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}
        self.losses: dict[str, float] = {}

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        if not self.gradients:
            assert not [name for name, value in pl_module.named_parameters() if value.grad is None]
            self.gradients = {name: value.grad.clone() for name, value in pl_module.named_parameters()}

    def on_train_batch_end(self, trainer, *_) -> None:
        self.losses = self.losses or {name: float(value) for name, value in trainer.callback_metrics.items()}


def train(recipe: str, folder: Path, processes: int) -> dict:
    """Two steps of batches of four: weights after them, gradients and losses of the first."""
    options, rounds = RECIPES[recipe]
    torch.manual_seed(3)
    module = PiClick("mini", NETWORK, learning_rate=1e-3, **options)
    data = InteractiveDataModule(
        train=[TrainingSource(Shapes(length=8, size=32, split="train"))],
        crop_size=32,
        batch_size=4,
        epoch_length=8,
        targets=TargetLaw(min_object_area=4),
        max_rounds=rounds,
        with_layers=True,
        num_workers=0,
        seed=11,  # one rank of the first step has three possible targets, the other two
    )
    remember = Remember()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",  # which does not look for unused parameters, and fails at one
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[remember],
    )
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 2
    found = {"weights": module.network.state_dict(), "gradients": remember.gradients, "losses": remember.losses}
    torch.save(found, folder / f"{recipe}{trainer.global_rank}.pt")
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> dict[str, list[dict]]:
    """What each of two processes had in the end, for each recipe."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: [torch.load(folder / f"{name}{rank}.pt") for rank in range(2)] for name in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES)
def test_both_ranks_end_with_the_same_weights(ranks, recipe):
    first, second = ranks[recipe]
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    assert first["losses"]["train/loss"] != second["losses"]["train/loss"]  # each saw samples of its own


def test_two_ranks_give_the_gradient_of_one(ranks, tmp_path):
    one = train("plain", tmp_path, processes=1)
    first, second = ranks["plain"]
    for name, value in one["losses"].items():
        assert (first["losses"][name] + second["losses"][name]) / 2 == pytest.approx(value, rel=1e-4), name
    for name, value in one["gradients"].items():
        torch.testing.assert_close(first["gradients"][name], value, rtol=2e-3, atol=2e-5, msg=lambda m, n=name: n + m)


if __name__ == "__main__":
    for chosen in RECIPES:
        train(chosen, Path(sys.argv[1]), processes=2)
