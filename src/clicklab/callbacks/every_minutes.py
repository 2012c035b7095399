"""Checkpoints inside long epochs, switched on by `experiments/_base/every_minutes.yaml`."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from clicklab.callbacks.last_checkpoint import LastCheckpoint


class EveryMinutes(Checkpoint):
    """Writes `last.ckpt` behind a step as soon as so many minutes have passed since it was written.

    The first process says when, and all of them write together. A run that is killed loses what it did since.

    Args:
        minutes: time between two checkpoints; an epoch's own counts.

    Raises:
        ValueError: no positive number of minutes.
    """

    def __init__(self, minutes: float = 10.0) -> None:
        if not minutes > 0:
            raise ValueError(f"every_minutes: minutes is {minutes}; give a number above 0")
        self.minutes = minutes
        self._written = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins to count. Raises ValueError where the run keeps no `last.ckpt`."""
        if not any(isinstance(callback, LastCheckpoint) for callback in _callbacks(trainer)):
            raise ValueError("every_minutes wants LastCheckpoint among trainer.callbacks, which keeps the file")
        self._written = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any, **named: Any) -> None:
        """Saves where it is time and a step is complete; behind the last one comes the epoch's own checkpoint."""
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress
        if progress.current.processed % trainer.accumulate_grad_batches or progress.is_last_batch:
            return
        due = time.monotonic() - self._written >= 60 * self.minutes
        if not trainer.strategy.broadcast(due):
            return
        for callback in _callbacks(trainer):
            if isinstance(callback, LastCheckpoint):
                callback.save_now(trainer)
        self._written = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Counts anew: the epoch's own checkpoint is written now."""
        self._written = time.monotonic()


def _callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    return trainer.callbacks  # ty: ignore[missing-attribute]
