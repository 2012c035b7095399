"""Checkpoints inside an epoch and averaged weights: runs that go on end as those that nothing stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from shard_files import write_photos

import clicklab
from clicklab.callbacks.averaged_weights import AveragedWeights
from clicklab.callbacks.every_minutes import EveryMinutes
from clicklab.callbacks.last_checkpoint import LastCheckpoint
from clicklab.callbacks.noc import NoCCallback
from clicklab.callbacks.stop_at_step import StopAtStep
from clicklab.commands.main import main
from clicklab.methods.simpleclick import SimpleClick
from data_modules import InteractiveDataModule
from data_modules.datasets import Shapes
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling

REPOSITORY = Path(__file__).resolve().parents[2]
NETWORK = {"image_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "depth": 8, "head_channels": 8}
NETWORK |= {"neck_dims": [4, 8, 8, 8]}
DECAY = 0.7


class Copies(pl.Callback):
    """Keeps `last.ckpt` as it is when a step begins: what a run is left with that is killed then."""

    def __init__(self, folder: Path, call: int) -> None:
        self.folder, self.left = folder, call

    def on_train_batch_start(self, *_, **__) -> None:
        self.left -= 1
        if self.left == 0:
            shutil.copy(self.folder / "last.ckpt", self.folder / "killed.ckpt")


class Weights(pl.Callback):
    """The weights behind every step."""

    def __init__(self) -> None:
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, *_, **__) -> None:
        if trainer.global_step > len(self.steps):
            self.steps.append({name: value.clone() for name, value in pl_module.network.state_dict().items()})


def fit(folder: Path, *callbacks: pl.Callback, resume: Path | None = None, **options) -> SimpleClick:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0, "logger": False}
    keep = [StopAtStep(), LastCheckpoint(folder), NoCCallback(batch_size=1)]
    trainer = pl.Trainer(accelerator="cpu", default_root_dir=folder, max_epochs=2, callbacks=[*callbacks, *keep],
                         **quiet, **options)  # fmt: skip
    torch.manual_seed(3)
    module = SimpleClick(variant="mini", network_options=NETWORK, learning_rate=1e-3, milestones=[1])
    data = InteractiveDataModule(
        [TrainingSource(Shapes(length=8, size=32, split="train"))], {"Shapes": Shapes(length=1, size=32)},
        crop_size=32, batch_size=2, epoch_length=8, targets=TargetSampling(min_object_area=4), num_workers=0,
        limit=1, seed=5,
    )  # fmt: skip
    trainer.fit(module, data, **({"ckpt_path": resume, "weights_only": True} if resume else {}))
    return module


def same(one, two) -> bool:
    return all(torch.equal(two[name], value) for name, value in one.items())


@pytest.mark.parametrize(("accumulate", "call"), [(1, 3), (1, 7), (2, 4)])
def test_a_run_killed_inside_an_epoch_goes_on_from_the_last_minutes(tmp_path, accumulate, call):
    options = {"accumulate_grad_batches": accumulate, "gradient_clip_val": 0.5}
    straight = fit(tmp_path, EveryMinutes(1e-9), Copies(tmp_path, call), **options)
    killed = torch.load(tmp_path / "killed.ckpt", weights_only=True)
    assert killed["global_step"] == (call - 1) // accumulate  # no epoch ends there
    again = fit(tmp_path, resume=tmp_path / "killed.ckpt", **options)
    assert same(straight.network.state_dict(), again.network.state_dict())


def test_nothing_is_written_before_it_is_time_and_the_file_is_needed(tmp_path):
    with pytest.raises(FileNotFoundError):
        fit(tmp_path, EveryMinutes(60), Copies(tmp_path, 4))
    with pytest.raises(ValueError, match="minutes is 0"):
        EveryMinutes(0)


def test_the_average_is_the_recursion_of_its_definition_and_both_weights_can_be_opened(tmp_path):
    watch = Weights()
    module = fit(tmp_path, AveragedWeights(DECAY), watch)
    expected = watch.steps[0]
    for step in watch.steps[1:]:
        expected = {name: DECAY * value + (1 - DECAY) * step[name] for name, value in expected.items()}
    ends, average = module.network.state_dict(), clicklab.load(tmp_path / "last.ckpt", ema=True).state_dict()
    last = clicklab.load(tmp_path / "last.ckpt", ema=False).state_dict()
    for name, value in expected.items():
        assert torch.allclose(ends[name], value, atol=1e-6) and torch.equal(average[name], ends[name])
        assert torch.equal(last[name], watch.steps[-1][name])
    assert same(clicklab.load(tmp_path / "last.ckpt").state_dict(), average) and not same(last, average)


class Sees(pl.Callback):
    """Whether the module holds the average when a validation ends, and its own weights when the epoch does."""

    def __init__(self, average: AveragedWeights) -> None:
        self.average, self.seen = average, []

    def on_validation_end(self, trainer, pl_module) -> None:
        self.seen.append(self.average._measuring)

    on_train_epoch_end = on_validation_end


def test_what_looks_at_the_end_of_a_validation_sees_the_average(tmp_path):
    average = AveragedWeights(DECAY)
    looks = Sees(average)
    fit(tmp_path, looks, average)
    assert looks.seen == [True, False] * 2


def test_a_file_without_average_says_so(tmp_path):
    fit(tmp_path, limit_train_batches=1)
    with pytest.raises(ValueError, match="kept no average"):
        clicklab.load(tmp_path / "last.ckpt", ema=True)
    assert clicklab.load(tmp_path / "last.ckpt", ema=False)
    with pytest.raises(ValueError, match="leave it out"):
        clicklab.load("opencv-grabcut", ema=True)
    with pytest.raises(ValueError, match="decay is 1"):
        AveragedWeights(1)


class Raises(pl.Callback):
    """Ctrl-C in one call of one hook."""

    def __init__(self, hook: str, call: int) -> None:
        self.left = call
        setattr(self, hook, self.send)

    def send(self, *_, **__) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("hook", "call"), [("on_train_batch_end", 2), ("on_validation_batch_end", 1)])
def test_an_average_goes_on_where_a_run_was_broken_off(tmp_path, hook, call):
    """In a validation the module holds the average, which must not be taken for its own weights."""
    straight = fit(tmp_path / "straight", AveragedWeights(DECAY))
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):
            fit(tmp_path / "broken", Raises(hook, call), AveragedWeights(DECAY))
    finally:
        signal.signal(signal.SIGINT, before)
    last = tmp_path / "broken" / "last.ckpt"
    again = fit(tmp_path / "broken", AveragedWeights(DECAY), resume=last)
    assert same(straight.network.state_dict(), again.network.state_dict())
    kept = [clicklab.load(tmp_path / name / "last.ckpt", ema=False).state_dict() for name in ("straight", "broken")]
    assert same(*kept)


def test_the_overlays_are_put_on_top_of_a_recipe(tmp_path, monkeypatch):
    write_photos(tmp_path / "tars", size=(64, 64))
    monkeypatch.setenv("SA1B", str(tmp_path / "tars"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = ["_base/trainer", "simpleclick/config", "simpleclick/smoke"]
    names += [f"_base/{name}" for name in ("every_minutes", "ema", "clip", "accumulate", "sa1b")]
    configs = [part for name in names for part in ("--config", str(REPOSITORY / "experiments" / f"{name}.yaml"))]
    assert main(["fit", *configs, f"--trainer.default_root_dir={tmp_path}"]) == 0
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 1 and "current_model_state" in checkpoint


@pytest.mark.slow
def test_torchrun_goes_on_when_one_of_four_processes_is_killed(tmp_path):
    """The weights are those of a run that nothing happened to. Minutes on two cores."""

    def run(folder: Path, kill: bool) -> dict[str, torch.Tensor]:
        recipe = ("_base/trainer", "simpleclick/config", "_base/ddp", "simpleclick/smoke", "_base/every_minutes")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
        command += ["--max-restarts=1", "-m", "clicklab.commands.main", "fit"]
        command += [part for name in recipe for part in ("--config", f"experiments/{name}.yaml")]
        command += ["--trainer.devices=4", f"--trainer.default_root_dir={folder}", "--trainer.max_epochs=2"]
        command += ["--data.init_args.batch_size=4", "--data.init_args.epoch_length=24", "--ckpt_path=last"]
        command += ["--data.init_args.num_workers=0", "--trainer.precision=32-true"]
        paths = f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MINUTES": "0.001"}
        environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # else torch connects to the addresses of before
        environment.pop("WANDB_SERVICE", None)
        with (tmp_path / f"{folder.name}.log").open("w") as log:
            process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, start_new_session=True,
                                       stdout=log, stderr=log)  # fmt: skip
            try:
                if kill:
                    while not (folder / "checkpoints" / "last.ckpt").exists():
                        assert process.poll() is None, log.name
                        time.sleep(0.05)
                    os.kill(worker_of(process.pid, folder), signal.SIGKILL)
                assert process.wait(timeout=900) == 0, (tmp_path / f"{folder.name}.log").read_text()[-3000:]
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)

    straight, killed = run(tmp_path / "straight", False), run(tmp_path / "killed", True)
    assert killed["global_step"] == straight["global_step"] == 12
    assert same(straight["state_dict"], killed["state_dict"])
    assert re.search(r"[Rr]estart", (tmp_path / "killed.log").read_text())


def worker_of(parent: int, folder: Path) -> int:
    """One of the training processes that torchrun started: the third."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != parent:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            if str(folder) in command and "torch.distributed.run" not in command:
                found.append(int(entry.name))
    assert len(found) == 4, found
    return sorted(found)[2]
