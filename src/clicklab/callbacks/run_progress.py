"""The progress bar of a run: steps of the whole run with the time left, and the dataset that is measured."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar
from tqdm import tqdm

REFRESH = 10  # steps between two looks of the bar


class RunProgress(TQDMProgressBar):
    """Counts the steps of all epochs, those of earlier parts of the run included; validation bars name their dataset.

    Args:
        refresh_rate: steps between two updates; 0: no bar.
    """

    def __init__(self, refresh_rate: int = REFRESH) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def on_train_start(self, *arguments: Any) -> None:
        """One bar for the whole run, which begins where the run stopped."""
        super().on_train_start(*arguments)
        trainer: pl.Trainer = arguments[0]
        bar, done = self.train_progress_bar, batches_done(trainer)
        bar.total, bar.initial, bar.n = batches_of_run(trainer), done, done
        bar.last_print_n = done

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Says which epoch begins; the bar goes on."""
        last = trainer.max_epochs
        epochs = f" of {last}" if last is not None and last > 0 else ""
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}{epochs}")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar on."""
        done = batches_done(trainer)
        if done % self.refresh_rate == 0 or done == self.train_progress_bar.total:
            _move(self.train_progress_bar, done)
            self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The bar stays."""
        self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """The loss and the measure that picks the best checkpoint: a line has room for no more."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name in ("train/loss", "val/NoC@90")}

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Names the dataset."""
        super().on_validation_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)
        _name(self.val_progress_bar, trainer, "val", dataloader_idx)

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Names the dataset."""
        super().on_test_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)
        _name(self.test_progress_bar, trainer, "test", dataloader_idx)


def without_unwanted_bar(trainer: Any) -> None:
    """Takes the bar out of a trainer's settings that say `enable_progress_bar: false`, which Lightning would refuse."""
    if trainer.enable_progress_bar is False and isinstance(trainer.callbacks, list):
        trainer.callbacks = [one for one in trainer.callbacks if not one.class_path.endswith(RunProgress.__name__)]


def batches_done(trainer: pl.Trainer) -> int:
    """Batches that the run has learnt from, earlier parts included."""
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1


def batches_of_run(trainer: pl.Trainer) -> int | None:
    """Batches of all epochs, or as many as `max_steps` allows; None where nothing ends the run."""
    ends = []
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        ends.append(trainer.max_epochs * float(trainer.num_training_batches))
    if trainer.max_steps > 0:
        ends.append(float(trainer.max_steps * trainer.accumulate_grad_batches))
    whole = min(ends, default=float("inf"))
    return None if whole == float("inf") else int(whole)


def _move(bar: tqdm, done: int) -> None:
    if not bar.disable:
        bar.n = done
        bar.refresh()


def _name(bar: tqdm, trainer: pl.Trainer, stage: str, loader: int) -> None:
    data: Any = getattr(trainer, "datamodule", None)
    names = data.evaluation_names(stage) if hasattr(data, "evaluation_names") else []
    if loader < len(names):
        bar.set_description(f"measuring {names[loader]}", refresh=False)
