"""Lightning for real: interrupted runs, accumulation, precision, and two processes that give the numbers of one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import clicklab
from clicklab.evaluation.noc import NoCCallback
from clicklab.evaluation.protocol import Protocol
from clicklab.methods.simpleclick import SimpleClick
from data_modules import InteractiveDataModule
from data_modules.datasets import Shapes
from data_modules.sources import TrainingSource
from data_modules.targets import TargetLaw

NETWORK = {"image_size": 32, "patch_size": 8, "dropout": 0.1}


def module() -> SimpleClick:
    torch.manual_seed(3)
    return SimpleClick(variant="mini", network_options=NETWORK, learning_rate=1e-3, milestones=[1])


def datamodule(batch_size: int = 4, workers: int = 0) -> InteractiveDataModule:
    return InteractiveDataModule(
        train=[TrainingSource(Shapes(length=12, size=32, split="train"))],
        val={"Shapes": Shapes(length=5, size=32)},
        crop_size=32,
        batch_size=batch_size,
        epoch_length=16,
        targets=TargetLaw(min_object_area=4),
        num_workers=workers,
        eval_batch_size=2,
        seed=5,
    )


def trainer(folder: Path, **options) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return pl.Trainer(**{"accelerator": "cpu", "default_root_dir": folder, "logger": False, **quiet, **options})


class Stop(pl.Callback):
    """Presses Ctrl-C after some steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def weights(trained: SimpleClick) -> dict[str, torch.Tensor]:
    return trained.network.state_dict()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_run_goes_on_as_if_it_had_not_stopped(tmp_path, workers):
    straight = module()
    trainer(tmp_path / "a", max_epochs=2, enable_checkpointing=False).fit(straight, datamodule(workers=workers))

    keep = ModelCheckpoint(dirpath=tmp_path / "b", save_last=True, save_on_exception=True)
    with pytest.raises(SystemExit):
        trainer(tmp_path / "b", max_epochs=2, callbacks=[keep, Stop(3)]).fit(module(), datamodule(workers=workers))
    assert (tmp_path / "b" / "last.ckpt").exists()

    resumed = module()
    run = trainer(tmp_path / "b", max_epochs=2, enable_checkpointing=False)
    run.fit(resumed, datamodule(workers=workers), ckpt_path=tmp_path / "b" / "last.ckpt", weights_only=True)
    assert run.global_step == 8
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert resumed.trainer.optimizers[0].param_groups[0]["lr"] == straight.trainer.optimizers[0].param_groups[0]["lr"]


def test_accumulated_gradients_step_once(tmp_path):
    run = trainer(tmp_path, max_epochs=1, accumulate_grad_batches=2, enable_checkpointing=False)
    run.fit(module(), datamodule())
    assert run.global_step == 2


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_trains_and_is_measured(tmp_path, precision):
    if precision == "16-mixed" and not torch.cuda.is_available():
        pytest.skip("Lightning runs 16-mixed on a GPU only")
    trained = module()
    before = {name: value.clone() for name, value in weights(trained).items()}
    noc = NoCCallback(Protocol(max_clicks=3))
    run = trainer(tmp_path, max_epochs=1, precision=precision, enable_checkpointing=False, callbacks=[noc])
    run.fit(trained, datamodule())
    assert all(value.isfinite().all() for value in weights(trained).values())
    assert any(not torch.equal(value, before[name]) for name, value in weights(trained).items())
    assert 1 <= run.callback_metrics["val/NoC@90"] <= 3


def test_every_parameter_learns():
    trained = module()
    batch = next(iter(datamodule().train_dataloader()))
    trained(batch).logits.square().mean().backward()
    # so that DDP needs no search for unused ones
    assert not [name for name, p in trained.named_parameters() if p.grad is None]


def test_training_checkpoint_opens_as_a_network(tmp_path):
    trained = module()
    run = trainer(tmp_path, max_steps=1, enable_checkpointing=False)
    run.fit(trained, datamodule())
    run.save_checkpoint(tmp_path / "run.ckpt")
    loaded = clicklab.load(tmp_path / "run.ckpt")
    assert all(torch.equal(value, weights(trained)[name]) for name, value in loaded.state_dict().items())


def test_two_processes_measure_and_train_like_one(tmp_path):
    for processes in (1, 2):
        script = [sys.executable, __file__, str(tmp_path / str(processes)), str(processes)]
        done = subprocess.run(script, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path / name / "rows.json").read_text()) for name in ("1", "2"))
    assert one["objects"] == two["objects"]
    assert one["noc"] == two["noc"]
    assert len({row["name"] + str(row["object"]) for row in two["objects"]}) == len(two["objects"])


def measure_with(folder: Path, processes: int) -> None:
    """Trains two steps and validates on some processes; rank 0 writes what was measured before and after."""
    data = datamodule()
    noc = NoCCallback(Protocol(max_clicks=4))
    options = {"devices": processes, "strategy": "ddp" if processes > 1 else "auto", "callbacks": [noc]}
    measured = trainer(folder, enable_checkpointing=False, **options)
    measured.validate(module(), data, verbose=False)
    results = sorted(folder.rglob("results.json"))
    record = json.loads(results[-1].read_text())["datasets"]["Shapes"]
    learner = trainer(folder, max_epochs=1, limit_val_batches=0, enable_checkpointing=False, **options)
    learner.fit(module(), data)
    assert learner.global_step == 4  # the batch size is over all processes
    if measured.is_global_zero:
        for row in record["objects"]:
            row.pop("seconds", None)
        (folder / "rows.json").write_text(json.dumps({"noc": record["noc"], "objects": record["objects"]}))


if __name__ == "__main__":
    measure_with(Path(sys.argv[1]), int(sys.argv[2]))
