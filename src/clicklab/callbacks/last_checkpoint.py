"""`last.ckpt`, from which a run goes on: after every epoch and on every interruption, whatever a metric says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from clicklab.callbacks.stop_at_step import StopAtStep
from clicklab.whole_file import written_whole


class WholeFiles(TorchCheckpointIO):
    """Puts a checkpoint in the place of the one before when all of it is written.

    Lightning's own writes to the system's folder for temporary files and copies from there where that is another disk:
    killed meanwhile, or on a full disk, a run would be left with half a file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """As Lightning's. Raises OSError where the file cannot be written; it names the file."""
        with written_whole(path) as part:
            super().save_checkpoint(checkpoint, part, storage_options)


class LastCheckpoint(ModelCheckpoint):
    """Keeps one file, `last.ckpt`. Lightning's own `save_last` writes it beside a new best checkpoint only.

    A network whose weights hold NaN or infinity is not kept: the file stays that of the epoch before.

    Args:
        dirpath: folder of the file.
    """

    def __init__(self, dirpath: str | Path) -> None:
        super().__init__(
            dirpath,
            filename=self.CHECKPOINT_NAME_LAST,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
            save_on_exception=True,
        )

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any, **named: Any) -> None:
        """A run that its time limit ends is measured, too, whatever `check_val_every_n_epoch` says.

        The right place for it, as Lightning calls its timer first and checkpoints last.
        """
        if trainer.should_stop:
            trainer.check_val_every_n_epoch = 1
        super().on_train_batch_end(trainer, *arguments, **named)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves."""
        if _sound(pl_module):
            super().on_train_epoch_end(trainer, pl_module)

    def save_now(self, trainer: pl.Trainer) -> None:
        """Saves between two steps of an epoch; all processes together."""
        if _sound(trainer.lightning_module):
            path = Path(str(self.dirpath)) / f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}"
            trainer.save_checkpoint(path, weights_only=False)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Saves what was reached: Ctrl-C, SIGTERM, a full memory.

        Of several processes only where all stopped behind the same step: writing is done together, and one that waits
        for another's gradients never comes to it. The file then stays that of the last epoch.
        """
        together = trainer.world_size == 1 or any(
            isinstance(callback, StopAtStep) and callback.agreed
            for callback in trainer.callbacks  # ty: ignore[missing-attribute]
        )
        if together and _sound(pl_module):
            super().on_exception(trainer, pl_module, exception)


def _sound(module: Any) -> bool:
    numbers = [*module.parameters(), *(buffer for buffer in module.buffers() if buffer.is_floating_point())]
    sums = [value.detach().float().sum() for value in numbers]
    sound = bool(torch.stack(sums).isfinite().all()) if sums else True
    if not sound:
        warnings.warn("the weights hold NaN or infinity: last.ckpt stays as it was", stacklevel=3)
    return sound
