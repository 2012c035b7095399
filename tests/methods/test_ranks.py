"""Training on two processes: all methods' smoke recipes under plain DDP, and PiClick's gradient against that of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from clicklab.commands.main import main
from clicklab.methods.piclick.loss import LossWeights
from clicklab.methods.piclick.module import PiClick
from data_modules import InteractiveDataModule
from data_modules.datasets import Shapes
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
METHODS = sorted(folder.name for folder in EXPERIMENTS.iterdir() if folder.is_dir() and folder.name != "_base")


class Remember(pl.Callback):
    """Keeps what a rank did, and writes it at the end: gradients and losses of the first step, weights, rounds."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.gradients: dict[str, torch.Tensor] = {}
        self.losses: dict[str, float] = {}
        self.clicks: list[int] = []

    def on_train_start(self, trainer, pl_module) -> None:
        user = trainer.datamodule.user
        answer = user.respond

        def counted(*args, **kwargs):
            self.clicks[-1] += 1
            return answer(*args, **kwargs)

        user.respond = counted

    def on_train_batch_start(self, *_) -> None:
        self.clicks.append(0)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        assert not [name for name, value in pl_module.named_parameters() if value.grad is None]
        if not self.gradients:
            self.gradients = {name: value.grad.clone() for name, value in pl_module.named_parameters()}

    def on_train_batch_end(self, trainer, *_) -> None:
        self.losses = self.losses or {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_fit_end(self, trainer, pl_module) -> None:
        found = {"weights": pl_module.network.state_dict(), "clicks": self.clicks, "steps": trainer.global_step}
        found |= {"gradients": self.gradients, "losses": self.losses}
        torch.save(found, f"{self.file}{trainer.global_rank}.pt")


def smoke(method: str, folder: Path) -> None:
    """The smoke recipe for two epochs on two devices; fewer evaluation objects than devices."""
    files = [EXPERIMENTS / "_base" / "trainer.yaml", EXPERIMENTS / method / "config.yaml"]
    files += [EXPERIMENTS / "_base" / "ddp.yaml", EXPERIMENTS / method / "smoke.yaml"]
    logger = "lightning.pytorch.loggers.CSVLogger"
    options = ["--trainer.devices=2", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"]
    options += ["--data.init_args.limit=1", f"--trainer.default_root_dir={folder / method}"]
    options += [f"--trainer.logger={logger}", f"--trainer.logger.init_args.save_dir={folder / method}"]
    options += ["--trainer.callbacks+=test_ranks.Remember", f"--trainer.callbacks.init_args.file={folder / method}"]
    assert main(["fit", *(part for file in files for part in ("--config", str(file))), *options]) == 0


def piclick(folder: Path, processes: int) -> None:
    """Two steps of four samples: nothing at random beyond the data, and all candidates weigh alike."""
    torch.manual_seed(3)
    module = PiClick(
        "mini",
        {"image_size": 32, "patch_size": 4, "num_queries": 3},
        learning_rate=1e-3,
        first_clicks="all",
        loss=LossWeights(no_object=1.0),
    )
    data = InteractiveDataModule(
        train=[TrainingSource(Shapes(length=8, size=32, split="train"))],
        crop_size=32,
        batch_size=4,
        epoch_length=8,
        targets=TargetSampling(min_object_area=4),
        max_rounds=0,
        with_layers=True,
        num_workers=0,
        seed=11,  # one rank of the first step has three possible targets, the other two
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[Remember(str(folder / f"plain_of_{processes}_"))],
    )
    trainer.fit(module, datamodule=data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where each of two processes left what it did, for every recipe; without a search for unused parameters."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("recipe", [*METHODS, "plain_of_2_"])
def test_both_ranks_do_the_same_work_and_end_with_the_same_weights(folder, recipe):
    first, second = (torch.load(folder / f"{recipe}{rank}.pt") for rank in range(2))
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    assert first["losses"]["train/loss"] != second["losses"]["train/loss"]  # each saw samples of its own
    assert first["clicks"] == second["clicks"]  # no rank waits for another one's rounds
    assert first["steps"] == second["steps"] == len(first["clicks"])
    assert first["steps"] == (4 if recipe in METHODS else 2)  # the batch size is over both


def test_two_ranks_give_the_gradient_of_one(folder):
    piclick(folder, processes=1)
    one, first, second = (torch.load(folder / f"plain_of_{name}.pt") for name in ("1_0", "2_0", "2_1"))
    for name, value in one["losses"].items():
        assert (first["losses"][name] + second["losses"][name]) / 2 == pytest.approx(value, rel=1e-4), name
    for name, value in one["gradients"].items():
        torch.testing.assert_close(first["gradients"][name], value, rtol=2e-3, atol=2e-5, msg=lambda m, n=name: n + m)


if __name__ == "__main__":
    for chosen in METHODS:
        smoke(chosen, Path(sys.argv[1]))
    piclick(Path(sys.argv[1]), processes=2)
