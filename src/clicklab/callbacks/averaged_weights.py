"""An exponential moving average of the weights, switched on by `experiments/_base/ema.yaml`."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EMAWeightAveraging


class AveragedWeights(EMAWeightAveraging):
    """Lightning's average, which is measured, kept in checkpoints, and what a finished run ends with.

    A checkpoint has the average as its weights, and those of the last step beside them, from which a run goes on.
    `clicklab.load(path, ema=False)` opens the latter.

    Args:
        decay: share of the average that a step leaves: 0.999 looks back over some thousand steps.

    Raises:
        ValueError: decay does not lie between 0 and 1.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"ema: decay is {decay}; give a number between 0 and 1, such as 0.999")
        super().__init__(decay=decay)
        self._measuring = False  # the module holds the average, and the other way round

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the average into the module."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._measuring = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing yet: pictures of what was measured are drawn when the validation ends."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gives the module its own weights back; Lightning calls those that write checkpoints later."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._measuring = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """As the end of a validation that is broken off, before `LastCheckpoint` keeps what was reached."""
        if self._measuring:
            self.on_validation_end(trainer, pl_module)
