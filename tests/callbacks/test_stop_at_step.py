"""A signal at any place of a run: what goes on from the checkpoint ends with the weights of one that never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from clicklab.callbacks.last_checkpoint import LastCheckpoint
from clicklab.callbacks.noc import NoCCallback
from clicklab.callbacks.stop_at_step import StopAtStep
from clicklab.methods.simpleclick import SimpleClick
from data_modules import InteractiveDataModule
from data_modules.datasets import Shapes
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling

REPOSITORY = Path(__file__).resolve().parents[2]
NETWORK = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 8, "head_channels": 8}
NETWORK |= {"neck_dims": [4, 8, 8, 8]}
# hooks of a callback, and which of their calls
PLACES = [
    ("on_train_batch_start", 3),
    ("on_before_backward", 3),
    ("on_before_optimizer_step", 2),  # before the weights change
    ("on_before_zero_grad", 3),  # behind it, not yet counted
    ("on_train_batch_end", 2),
    ("on_train_batch_end", 4),  # the last of its epoch
    ("on_validation_batch_end", 1),
    ("on_train_epoch_end", 1),
    ("on_train_epoch_start", 2),
]


class Signal(pl.Callback):
    """Sends this process a signal in one call of one hook."""

    def __init__(self, hook: str, call: int, number: int = signal.SIGINT) -> None:
        self.hook, self.left, self.number = hook, call, number
        setattr(self, hook, self.send)

    def send(self, *_, **__) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)


def module() -> SimpleClick:
    torch.manual_seed(3)
    return SimpleClick(variant="mini", network_options=NETWORK, learning_rate=1e-3, milestones=[1])


def datamodule() -> InteractiveDataModule:
    return InteractiveDataModule(
        train=[TrainingSource(Shapes(length=8, size=32, split="train"))],
        val={"Shapes": Shapes(length=1, size=32)},
        crop_size=32,
        batch_size=2,
        epoch_length=8,
        targets=TargetSampling(min_object_area=4),
        num_workers=0,
        limit=1,
        seed=5,
    )


def fit(folder: Path, *callbacks: pl.Callback, resume: bool = False, **options) -> SimpleClick:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0, "logger": False}
    keep = [StopAtStep(), LastCheckpoint(folder), NoCCallback(batch_size=1)]
    trainer = pl.Trainer(
        accelerator="cpu", default_root_dir=folder, max_epochs=2, callbacks=[*callbacks, *keep], **quiet, **options
    )
    trained = module()
    again = {"ckpt_path": folder / "last.ckpt", "weights_only": True} if resume else {}
    trainer.fit(trained, datamodule(), **again)
    assert trainer.global_step == 8 // options.get("accumulate_grad_batches", 1)
    return trained


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The weights of runs that nobody stopped, by the number of batches that a step is made of."""
    folder = tmp_path_factory.mktemp("straight")
    return {
        batches: fit(folder / str(batches), accumulate_grad_batches=batches).network.state_dict() for batches in (1, 2)
    }


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0]}-{place[1]}")
def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path, straight, place):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit):
            fit(tmp_path, Signal(*place))
    finally:
        signal.signal(signal.SIGINT, before[0])  # Lightning leaves it switched off
    assert signal.getsignal(signal.SIGTERM) == before[1]
    found = fit(tmp_path, resume=True).network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in straight[1].items())


def test_a_step_of_two_batches_is_not_torn_apart(tmp_path, straight):
    with pytest.raises(SIGTERMException):
        fit(tmp_path, Signal("on_before_backward", 3, signal.SIGTERM), accumulate_grad_batches=2)
    found = fit(tmp_path, resume=True, accumulate_grad_batches=2).network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in straight[2].items())


def test_a_second_signal_ends_at_once(tmp_path):
    class Twice(Signal):
        def send(self, *_, **__) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    reached = []
    watch = Signal("on_before_optimizer_step", 99)
    watch.on_before_optimizer_step = lambda *_, **__: reached.append(1)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):
            fit(tmp_path, Twice("on_before_backward", 1), watch)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not reached


@pytest.mark.slow
@pytest.mark.parametrize(("number", "to_all"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_two_processes_end_behind_the_same_step(tmp_path, number, to_all):
    """As a terminal sends Ctrl-C to all of them, and `kill` SIGTERM to the first; nobody waits for another."""
    recipe = ("_base/trainer", "simpleclick/config", "_base/ddp", "simpleclick/smoke")
    command = [sys.executable, "-m", "clicklab.commands.main", "fit"]
    command += [part for name in recipe for part in ("--config", f"experiments/{name}.yaml")]
    command += ["--trainer.devices=2", f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=500"]
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}", "OMP_NUM_THREADS": "1"}
    environment.pop("WANDB_SERVICE", None)
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, start_new_session=True)
    try:
        while not (tmp_path / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None
            time.sleep(0.2)
        os.killpg(process.pid, number) if to_all else process.send_signal(number)
        assert process.wait(timeout=120) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] >= 2
