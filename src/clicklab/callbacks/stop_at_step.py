"""Ctrl-C and SIGTERM end a run between two steps, on all devices at once.

Python breaks off whatever runs when Ctrl-C is pressed: behind the optimiser's step but before the step is counted, so
that a run that goes on takes it twice. And of several processes each would break off somewhere else, and wait for the
others for ever.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import SIGTERMException

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopAtStep(pl.Callback):
    """Waits with the end until a step is done, and ends all devices behind the same one.

    A second signal ends the process at once. During a validation one process ends at once, too: no step is under way.
    Several finish the validation first, as their shares of it differ.

    Attributes:
        received: the signal that came first; None as long as none has.
        agreed: whether all devices stopped behind the same step, so that a checkpoint may be written together.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.agreed = False
        self._handlers: dict[int, Any] = {}
        self._trainer: pl.Trainer | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over, after Lightning, which gives back at the end what it found at the beginning."""
        self._trainer = trainer
        with suppress(ValueError):  # not in the main thread: whoever started this one has the signals
            self._handlers = {number: signal.signal(number, self._notice) for number in SIGNALS}

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any, **named: Any) -> None:
        """Ends the run where a signal has come to any device; a step may be made of several batches."""
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress
        batches = progress.current.processed
        complete = batches % trainer.accumulate_grad_batches == 0
        if complete and not progress.is_last_batch:  # behind the last one comes the end of the epoch, which is kept too
            self._end_if_asked(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ends the run where a signal came between the last step of an epoch and here."""
        if trainer.current_epoch > 0:
            self._end_if_asked(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Gives the signals back."""
        self._give_back()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """As `teardown`, which Lightning leaves out then."""
        self._give_back()

    def end(self, trainer: pl.Trainer) -> None:
        """What ending means: here an exception, which Lightning passes to all callbacks."""
        raise KeyboardInterrupt if self.received == signal.SIGINT else SIGTERMException

    def _end_if_asked(self, trainer: pl.Trainer) -> None:
        asked = self.received is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
            self.received = self.received or (signal.SIGTERM if asked else None)
        if asked:
            self.agreed = True
            self.end(trainer)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the next one ends at once
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        trainer = self._trainer
        if trainer is not None and trainer.world_size == 1 and trainer.validating:
            self.end(trainer)  # no step is under way
        elif trainer is None or trainer.is_global_zero:
            name = signal.Signals(number).name
            print(f"\n{name}: ends behind this step, and keeps it; a second one ends at once", file=sys.stderr)

    def _give_back(self) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # Lightning ignores Ctrl-C while it ends
                signal.signal(number, handler)
        self._handlers = {}
