"""The data module under Lightning: loaders, resuming, ranks, configuration."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from recorder import BATCHES, Recorder, make
from tiny_scenes import BOX, DISK, TinyScenes

from clicklab.records import Batch, EvaluationObject, ObjectTable, SkippedObject
from data_modules.datamodule import InteractiveDataModule
from data_modules.samplers import EachOnceSampler, TrainingSampler
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.suem import SUEM


def run(data, checkpoint=None, fails=None, **options):
    module = Recorder(fails)
    quiet: dict[str, Any] = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        "num_sanity_val_steps": 0,
    }
    if "callbacks" not in options:
        quiet["enable_checkpointing"] = False
    trainer = Trainer(accelerator="cpu", devices=1, log_every_n_steps=1, **(quiet | options))
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=False)
    except KeyError:
        assert fails
    return module, trainer


def test_training_batches_are_records_and_differ_between_epochs():
    data = make()
    module, _ = run(data, max_epochs=2, limit_val_batches=0)
    assert len(module.seen) == 2 * BATCHES == len({sums for sums, _ in module.seen})
    batch = next(iter(make().train_dataloader()))
    assert isinstance(batch, Batch) and batch.image.shape == (2, 3, 32, 40) and batch.layers is None
    with_layers = next(iter(make(with_layers=True).train_dataloader()))
    assert with_layers.layers.shape == (2, 2, 32, 40) and len(with_layers.objects) == 2


def test_object_tables_travel_whole_and_without_shared_files():
    """A worker would share every one of their tensors by itself: hundreds of open files for a batch of 64."""
    here = next(iter(make(with_layers=True).train_dataloader()))
    sent = next(iter(make(with_layers=True, num_workers=1).train_dataloader()))
    nothing = ObjectTable(*(column[:0] for column in vars(here.objects[0]).values()))
    odd = replace(here, objects=(nothing, here.objects[1]))
    for mine, other in [(here, sent), (here, here.to("cpu")), (odd, odd.to("cpu"))]:
        for table, arrived in zip(mine.objects, other.objects, strict=True):
            for name, column in vars(table).items():
                assert torch.equal(getattr(arrived, name), column) and getattr(arrived, name).dtype == column.dtype
                assert not getattr(arrived, name).is_shared()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_run_sees_exactly_the_batches_it_would_have_seen(tmp_path, workers):
    whole, _ = run(make(), max_epochs=3, limit_val_batches=0)
    # broken off inside step 7, that is in the middle of epoch 1; the last checkpoint was written after step 6
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_last=True, save_top_k=0)
    first, _ = run(make(num_workers=workers), fails=7, max_epochs=3, limit_val_batches=0, callbacks=[saving])
    assert first.seen == whole.seen[:6]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*not resumable.*")
        second, _ = run(make(num_workers=workers), tmp_path / "last.ckpt", max_epochs=3, limit_val_batches=0)
    assert first.seen + second.seen == whole.seen


@pytest.mark.parametrize("steps", [3, BATCHES, 6])
@pytest.mark.parametrize("validating", [False, True])
def test_a_run_stopped_by_max_steps_goes_on_where_it_stopped(tmp_path, steps, validating):
    options = {"max_epochs": -1} | ({"val_check_interval": 2} if validating else {"limit_val_batches": 0})
    whole, _ = run(make(), **options, max_steps=10)
    first, trainer = run(make(), **options, max_steps=steps)
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    second, _ = run(make(), tmp_path / "stopped.ckpt", **options, max_steps=10)
    assert len(first.seen) == steps and first.seen + second.seen == whole.seen


def test_resuming_after_an_epoch_with_workers_starts_the_next_one(tmp_path):
    whole, _ = run(make(), max_epochs=3, limit_val_batches=0)
    saving = ModelCheckpoint(tmp_path, save_last=True, save_top_k=0)
    first, _ = run(make(), max_epochs=2, limit_val_batches=0, callbacks=[saving])
    second, _ = run(make(num_workers=2), tmp_path / "last.ckpt", max_epochs=3, limit_val_batches=0)
    assert first.seen + second.seen == whole.seen


def test_limited_epochs_count_as_epochs(tmp_path):
    options = {"limit_train_batches": 3, "limit_val_batches": 0}
    whole, _ = run(make(), max_epochs=3, **options)
    unlimited, _ = run(make(), max_epochs=3, limit_val_batches=0)
    assert whole.seen == [unlimited.seen[epoch * BATCHES + batch] for epoch in range(3) for batch in range(3)]
    saving = ModelCheckpoint(tmp_path, save_last=True, save_top_k=0)
    first, _ = run(make(), max_epochs=1, **options, callbacks=[saving])
    second, _ = run(make(), tmp_path / "last.ckpt", max_epochs=3, **options)
    assert first.seen + second.seen == whole.seen


def test_the_seed_of_an_interrupted_run_is_kept(tmp_path, monkeypatch):
    whole, _ = run(make(seed=5), max_epochs=2, limit_val_batches=0)
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    saving = ModelCheckpoint(tmp_path, save_last=True, save_top_k=0)
    first, _ = run(make(), max_epochs=1, limit_val_batches=0, callbacks=[saving])
    monkeypatch.delenv("PL_GLOBAL_SEED")
    second, _ = run(make(), tmp_path / "last.ckpt", max_epochs=2, limit_val_batches=0)
    assert first.seen + second.seen == whole.seen
    other, _ = run(make(seed=6), max_epochs=1, limit_val_batches=0)
    assert other.seen != first.seen


def test_overfitting_repeats_the_same_batches():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, _ = run(make(), max_epochs=3, overfit_batches=2, limit_val_batches=0)
    assert module.seen[:2] == module.seen[2:4] == module.seen[4:6]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_loaders_give_lists_in_the_order_of_the_names(workers):
    data = make(val={"first": TinyScenes(3, broken=(1,)), "second": TinyScenes(1)}, num_workers=workers)
    data.eval_batch_size = 2
    assert data.evaluation_names("val") == ["first", "second"] and data.evaluation_names("test") == []
    assert [len(dataset) for dataset in data.evaluation_datasets("val")] == [3, 1]
    batches = [list(loader) for loader in data.val_dataloader()]
    assert [[len(batch) for batch in loader] for loader in batches] == [[2, 2, 1], [2]]
    items = [item for batch in batches[0] for item in batch]
    assert [item.index for item in items] == [0, 1, 2, 3, 4]
    assert [item.object for item in items] == [DISK, BOX, 0, DISK, BOX]
    assert isinstance(items[0], EvaluationObject) and isinstance(items[2], SkippedObject)


def test_lightning_measures_every_object_once_during_fit_and_test():
    module, trainer = run(make(test={"third": TinyScenes(2)}, limit=3), max_epochs=1)
    assert module.evaluated == [
        (0, "scene0", 0),
        (0, "scene0", 1),
        (0, "scene1", 2),
        (1, "scene5", 0),
        (1, "scene5", 1),
    ]
    module.evaluated.clear()
    trainer.test(module, datamodule=make(test={"third": TinyScenes(1)}), verbose=False)
    assert module.evaluated == [(0, "scene0", 0), (0, "scene0", 1)]


def test_training_needs_no_evaluation_set():
    assert len(run(make(val=None), max_epochs=1)[0].seen) == BATCHES


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_an_epoch_without_overlap_and_in_step(ranks):
    samplers = [TrainingSampler(14, 2, ranks, rank) for rank in range(ranks)]
    for sampler in samplers:
        sampler.set_epoch(3)
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])} == {14 // ranks}
    together = [key for step in zip(*shares, strict=True) for key in step]
    assert together == [(3, index) for index in range(14 // ranks * ranks)]  # the same global order for any number


def test_a_sampler_asks_for_its_position_whenever_it_starts():
    place = (0, 0)
    sampler = TrainingSampler(9, 2, 2, 1, position=lambda: place)
    assert list(sampler) == [(0, 1), (0, 3), (0, 5), (0, 7)]
    place = (4, 1)
    assert list(sampler) == [(4, 5), (4, 7)] and len(sampler) == 4


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_evaluation_shares_are_even_and_hold_every_object(ranks):
    samplers = [EachOnceSampler(5, ranks, rank) for rank in range(ranks)]
    shares = [list(sampler) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(share) for share in shares]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    # a rank that is left without any reads one that another has
    assert sorted(index for share in shares for index in share) == [0, 1, 2, 3, 4, *[4] * (ranks - 5)]
    assert not list(EachOnceSampler(0, ranks, 0))


TWO_RANKS = """
import sys, torch
sys.path.insert(0, {here!r})
from lightning.pytorch import Trainer
from recorder import Recorder, make
from tiny_scenes import TinyScenes

if __name__ == "__main__":
    module = Recorder()
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False,
                      enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    trainer.fit(module, datamodule=make(val={{"few": TinyScenes(1, broken=(0,)), "odd": TinyScenes(2)}}))
    torch.save((module.seen, module.evaluated), {folder!r} + f"/rank{{trainer.global_rank}}.pt")
"""


def test_two_processes_train_on_the_batches_of_one_and_measure_every_object(tmp_path):
    script = tmp_path / "two_ranks.py"
    here = str(Path(__file__).parents[1] / "helpers")
    script.write_text(TWO_RANKS.format(here=here, folder=str(tmp_path)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    assert [len(seen) for seen, _ in ranks] == [2 * BATCHES] * 2
    alone, _ = run(make(batch_size=1, epoch_length=2 * BATCHES), max_epochs=2, limit_val_batches=0)
    assert [image for step in zip(ranks[0][0], ranks[1][0], strict=True) for image in step] == alone.seen
    # 2 epochs and the sanity check look at everything; the one object of the first set is on both ranks
    measured = sorted(item for _, evaluated in ranks for item in evaluated)
    once = [(0, "scene0", 0)] * 2 + [(1, "scene0", 0), (1, "scene0", 1), (1, "scene1", 2), (1, "scene1", 3)]
    assert measured == sorted(once * 3)


CONFIG = """
model: {class_path: test_datamodule.Recorder}
data:
  class_path: data_modules.InteractiveDataModule
  init_args:
    train:
    - dataset: {class_path: tiny_scenes.TinyScenes, init_args: {length: 12}}
    - dataset: {class_path: tiny_scenes.TinyScenes, init_args: {length: 4, first: 100}}
      weight: 0.5
    val:
      Tiny: {class_path: tiny_scenes.TinyScenes, init_args: {length: 2}}
    crop_size: [32, 48]
    batch_size: 2
    epoch_length: 8
    augmentation: sbd
    mix: {class_path: data_modules.training.suem.SUEM, init_args: {simple_share: [1, 1], keep_others: true}}
    targets: {min_object_area: 80, keep_background_prob: 0.01}
    points: {max_points: 12}
    num_workers: 0
trainer: {fast_dev_run: 2, accelerator: cpu, enable_progress_bar: false, enable_checkpointing: false}
"""


def test_lightning_cli_builds_it_from_yaml(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    arguments = ["fit", "--config", str(tmp_path / "config.yaml"), "--data.points.gamma=0.7", "--data.crop_size=40"]
    cli = LightningCLI(
        subclass_mode_model=True,
        subclass_mode_data=True,
        model_class=LightningModule,
        parser_kwargs={"parser_mode": "omegaconf+"},
        args=[*arguments, "--data.val.Tiny.init_args.length=1", "--trainer.logger=false"],
        save_config_callback=None,
        seed_everything_default=False,
    )
    data = cli.datamodule
    assert isinstance(data, InteractiveDataModule) and isinstance(cli.model, Recorder)
    assert data.points == InitialClickSampling(max_points=12, gamma=0.7) and data.targets.min_object_area == 80
    assert data.crop_size == (40, 40) and [source.weight for source in data.sources or []] == [1.0, 0.5]
    assert isinstance(data.mix, SUEM) and data.mix.simple_share == (1, 1) and data.mix.keep_others
    assert len(cli.model.seen) == 2 and len(cli.model.evaluated) == 2


def test_importing_the_package_is_light():
    code = "import data_modules, sys; assert not {'lightning', 'torch', 'albumentations'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_size": 0}, "crop size"),
        ({"crop_size": (32, -1)}, "crop size"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"eval_batch_size": -1}, "eval_batch_size is -1"),
        ({"limit": 0}, "limit is 0"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"max_rounds": -2}, "max_rounds is -2"),
        ({"augmentation": "strong"}, "'strong'; the known ones are"),
    ],
)
def test_impossible_values_are_told_at_once(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("precision", "remedy"), [("bf16-true", "use bf16-mixed"), ("64-true", "use 32-true"), ("bf16-mixed", None)]
)
def test_precisions_that_would_round_clicks_are_refused(precision, remedy):
    if remedy is None:
        assert len(run(make(), max_epochs=1, precision=precision)[0].seen) == BATCHES
    else:
        with pytest.raises(ValueError, match=remedy):
            run(make(), max_epochs=1, precision=precision)


def test_missing_data_is_told_by_stage():
    with pytest.raises(ValueError, match=r"`fit` needs data.*data\.train"):
        run(make(train=None), max_epochs=1)
    with pytest.raises(ValueError, match=r"`validate` needs data.*data\.val"):
        make(val=None).setup("validate")
    with pytest.raises(ValueError, match=r"`test` needs data.*data\.test"):
        make().setup("test")
    uneven = make(batch_size=3)
    uneven._ranks = lambda: (2, 0)
    with pytest.raises(ValueError, match="batch_size is 3 over all devices, which does not divide over 2: take 2 or 4"):
        uneven.train_dataloader()
    with pytest.raises(ValueError, match="less than one batch of 20"):
        run(make(batch_size=20), max_epochs=1)
