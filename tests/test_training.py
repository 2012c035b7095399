"""Lightning for real: interrupted runs, accumulation, precision, and four processes that give the numbers of one."""

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
from clicklab.callbacks.noc import NoCCallback
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.methods.piclick import PiClick
from clicklab.methods.simpleclick import SimpleClick
from data_modules import InteractiveDataModule
from data_modules.datasets import Shapes
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling

NETWORK = {"image_size": 32, "patch_size": 8, "dropout": 0.1}


def module() -> SimpleClick:
    torch.manual_seed(3)
    return SimpleClick(variant="mini", network_options=NETWORK, learning_rate=1e-3, milestones=[1])


def datamodule(batch_size: int = 4, workers: int = 0, sets: dict[str, int] | None = None) -> InteractiveDataModule:
    return InteractiveDataModule(
        train=[TrainingSource(Shapes(length=12, size=32, split="train"))],
        val={name: FirstObjects(count) for name, count in (sets or {"Shapes": 5}).items()},
        crop_size=32,
        batch_size=batch_size,
        epoch_length=16,
        targets=TargetSampling(min_object_area=4),
        with_layers=True,
        num_workers=workers,
        eval_batch_size=2,
        seed=5,
    )


def trainer(folder: Path, **options) -> pl.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return pl.Trainer(**{"accelerator": "cpu", "default_root_dir": folder, "logger": False, **quiet, **options})


class Stop(pl.Callback):
    """Presses Ctrl-C behind some steps, or inside of the one after them."""

    def __init__(self, step: int, inside: bool) -> None:
        self.step, self.inside = step, inside

    def on_before_backward(self, trainer, *_):
        if self.inside and trainer.global_step == self.step:
            raise KeyboardInterrupt

    def on_train_batch_end(self, trainer, *_):
        if not self.inside and trainer.global_step == self.step:
            raise KeyboardInterrupt


def weights(trained: SimpleClick) -> dict[str, torch.Tensor]:
    return trained.network.state_dict()


@pytest.mark.parametrize(("workers", "inside"), [(0, False), (0, True), (1, False)])
def test_an_interrupted_run_goes_on_as_if_it_had_not_stopped(tmp_path, workers, inside):
    straight = module()
    trainer(tmp_path / "a", max_epochs=2, enable_checkpointing=False).fit(straight, datamodule(workers=workers))

    keep = ModelCheckpoint(dirpath=tmp_path / "b", filename="last", save_on_exception=True)
    with pytest.raises(SystemExit):
        trainer(tmp_path / "b", max_epochs=2, callbacks=[keep, Stop(3, inside)]).fit(
            module(), datamodule(workers=workers)
        )
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
    noc = NoCCallback(EvaluationProtocol(max_clicks=3))
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


class FirstObjects(Shapes):
    """Drawn scenes with a given number of objects to measure."""

    def __init__(self, count: int) -> None:
        super().__init__(length=count, size=32)
        self.count = count

    def objects(self):
        return super().objects()[: self.count]


class Shares(pl.Callback):
    """Which objects of each dataset came to this process."""

    def __init__(self) -> None:
        self.indices: dict[int, list[int]] = {0: [], 1: []}

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.indices[dataloader_idx] += [item.index for item in batch]


CANDIDATES = {"one mask": (SimpleClick, {}), "several": (PiClick, {"num_queries": 3})}
COUNTS = {"ten": 10, "three": 3}


def measure(network: str, folder: Path, processes: int) -> None:
    """Measures both sets, then trains for an epoch and measures the smaller one; every process writes what it has."""
    kind, options = CANDIDATES[network]
    torch.manual_seed(3)
    module = kind("mini", {"image_size": 32, "patch_size": 8, **options}, learning_rate=1e-3)
    shares = Shares()
    options = {"devices": processes, "strategy": "ddp" if processes > 1 else "auto", "enable_checkpointing": False}
    noc = NoCCallback(EvaluationProtocol(max_clicks=4))
    measured = trainer(folder / network, callbacks=[noc, shares], **options)
    measured.validate(module, datamodule(sets=COUNTS), verbose=False)
    found = {"shares": list(shares.indices.values()), "measured": numbers(measured)}
    learner = trainer(folder / network, callbacks=[noc], max_epochs=1, **options)
    learner.fit(module, datamodule(sets={"three": 3}))
    assert learner.global_step == 4  # the batch size is over all processes
    found["after training"] = numbers(learner)
    (folder / f"{network} {measured.global_rank}.json").write_text(json.dumps(found))


def numbers(run: pl.Trainer) -> dict[str, float]:
    return {name: value.item() for name, value in run.callback_metrics.items() if name.startswith("val/")}


def without_times(record):
    """A part of results.json less all that depends on the clock."""
    if isinstance(record, list):
        return [without_times(entry) for entry in record]
    if not isinstance(record, dict):
        return record
    timed = ("seconds", "spc", "spi")
    return {key: without_times(value) for key, value in record.items() if not key.startswith(timed)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[int, Path]:
    """What one process and what four left, by their number."""
    folders = {processes: tmp_path_factory.mktemp(f"processes{processes}") for processes in (1, 4)}
    for processes, folder in folders.items():
        script = [sys.executable, __file__, str(folder), str(processes)]
        done = subprocess.run(script, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    return folders


@pytest.mark.parametrize("network", CANDIDATES)
def test_four_processes_measure_like_one(runs, network):
    one = json.loads((runs[1] / f"{network} 0.json").read_text())
    four = [json.loads((runs[4] / f"{network} {rank}.json").read_text()) for rank in range(4)]
    for place, count in enumerate(COUNTS.values()):
        assert one["shares"][place] == list(range(count))
        sizes = [len(rank["shares"][place]) for rank in four]
        assert max(sizes) - min(sizes) <= 1 and sum(sizes) == max(count, 4)  # three objects: one is read twice
        assert {index for rank in four for index in rank["shares"][place]} == set(range(count))
    for rank in four:
        assert rank["measured"] == four[0]["measured"] and rank["after training"] == four[0]["after training"]
    same = {name: value for name, value in four[0]["measured"].items() if "/SPC" not in name}
    assert same == {name: one["measured"][name] for name in same}

    records = [json.loads(file.read_text()) for file in (written(runs[1], network), written(runs[4], network))]
    assert without_times(records[0]) == without_times(records[1])
    for name, record in records[1]["datasets"].items():
        assert [row["index"] for row in record["objects"]] == list(range(COUNTS[name.removesuffix("-oracle")]))
    assert len(records[1]["datasets"]) == (2 if network == "one mask" else 4)


def written(folder: Path, network: str) -> Path:
    """The one results.json of a validation."""
    (file,) = folder.joinpath(network).rglob("latest/results.json")
    return file


if __name__ == "__main__":
    for chosen in CANDIDATES:
        measure(chosen, Path(sys.argv[1]), int(sys.argv[2]))
