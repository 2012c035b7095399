"""What the LightningModules of all methods share: the user, the optimiser, repeatable steps. The loop is their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from clicklab.records import Batch, EvaluationObject, Prediction, SkippedObject


class User(Protocol):
    """The annotator that a method answers to; the data module owns it (`data_modules.simulation.SimulatedUser`).

    Attributes:
        agreed: what is drawn once for a batch over all devices comes from it; None: torch's global generator.
    """

    agreed: torch.Generator | None

    def first(self, batch: Batch) -> Batch:
        """Adds the first click of each sample."""
        ...

    def respond(self, batch: Batch, probability: Tensor) -> Batch:
        """Adds one corrective click per sample and makes the probability (B, 1, H, W) the previous mask."""
        ...

    def warm_up(self, batch: Batch, seen: Any, rounds: int | None = None) -> Batch:
        """Plays some rounds without gradient; `seen(batch) -> (B, 1, H, W)` is the mask the user is shown."""
        ...

    def rounds(self, least: int, most: int) -> int:
        """A number of rounds for a batch from least..most, all equally likely, the same on all devices."""
        ...


class ClickModule(pl.LightningModule):
    """Base of all methods: owns `network`, asks the data module's user, decays the learning rate by steps.

    Args:
        method: the method's name in `clicklab.methods.METHODS`; written into checkpoints for `clicklab.load`.
        network: keeps the network contract (`start`, `step`, `forward`).
        learning_rate: of Adam with betas (0.9, 0.999), no weight decay, as all official codes of this family.
        milestones: epochs at whose end the learning rate is multiplied by 0.1.
        pretrained: handed to the network's `load_pretrained` when a run starts; None trains from scratch.
    """

    method: ClassVar[str]

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float,
        milestones: Sequence[int],
        pretrained: str | Path | None = None,
    ) -> None:
        super().__init__()
        if learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {learning_rate}")
        self.network = network
        self.learning_rate = learning_rate
        self.milestones = list(milestones)
        self.pretrained = pretrained

    def setup(self, stage: str) -> None:
        """Fetches pretrained weights for a run that starts; one that resumes has its own."""
        if stage == "fit" and self.pretrained is not None and not self.trainer.ckpt_path:
            self.network.load_pretrained(self.pretrained)  # ty: ignore[not-callable]

    def forward(self, batch: Batch) -> Prediction:
        """The network's answer to a batch."""
        return self.network(batch.image, batch.clicks, batch.prev_mask)

    @property
    def user(self) -> User:
        """The simulated annotator of the data module in use."""
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        if datamodule is None or not hasattr(datamodule, "user"):
            raise ValueError(
                "training wants a data module with a user: trainer.fit(module, datamodule=InteractiveDataModule(...))"
            )
        return datamodule.user

    @torch.no_grad()
    def seen(self, batch: Batch) -> Tensor:
        """The mask that the user is shown, (B, 1, H, W) probability, from the network in eval mode."""
        training = self.network.training
        self.network.eval()
        logits = self(batch).logits[:, :1]
        self.network.train(training)
        return logits.float().sigmoid()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Makes a step's randomness a function of (seed, rank, step): a resumed run goes on as if never stopped.

        What the devices agree on is one of (seed, step).
        """
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress.total
        step = batches.processed  # not `total_batch_idx`: it counts a step twice that Ctrl-C broke off
        torch.manual_seed(_mixed(seed, self.global_rank, step))
        self.user.agreed = torch.Generator().manual_seed(_mixed(seed, step))

    def validation_step(
        self, batch: list[EvaluationObject | SkippedObject], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Nothing: `NoCCallback` plays the objects of the batch."""

    def test_step(self, batch: list[EvaluationObject | SkippedObject], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Nothing: `NoCCallback` plays the objects of the batch."""

    def parameter_groups(self) -> Any:
        """What the optimiser is given; a method with several learning rates overrides this."""
        return self.network.parameters()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam and a step schedule per epoch (docs/training.md#schedules)."""
        optimizer = torch.optim.Adam(self.parameter_groups(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, self.milestones, gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Names the method, so that `clicklab.load` can rebuild the network from the file alone."""
        checkpoint["clicklab_method"] = self.method


def _mixed(*numbers: int) -> int:
    """One seed made of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
