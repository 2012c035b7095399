"""What the LightningModules of all methods share: user, optimiser, repeatable steps. The training loop is their own."""

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
    """What a method asks of the simulated user; the data module owns one (`data_modules.simulation.SimulatedUser`).

    Attributes:
        shared_generator: source of numbers that all devices have to draw alike; None: torch's global generator.
    """

    shared_generator: torch.Generator | None

    def first(self, batch: Batch) -> Batch:
        """Adds the first click of each sample."""
        ...

    def respond(self, batch: Batch, probability: Tensor) -> Batch:
        """Adds one corrective click per sample; the probability (B, 1, H, W) becomes the previous mask."""
        ...

    def warm_up(self, batch: Batch, predict_prev_mask: Any, rounds: int | None = None) -> Batch:
        """Plays some rounds without gradient; `predict_prev_mask(batch) -> (B, 1, H, W)` predicts each round's mask."""
        ...

    def rounds(self, least: int, most: int) -> int:
        """Draws the number of rounds of a batch uniformly from least..most; all devices draw the same."""
        ...


class ClickModule(pl.LightningModule):
    """Base of all methods: owns the network, asks the simulated user, decays the learning rate at milestones.

    Args:
        network: keeps the network contract (`start`, `step`, `forward`).
        learning_rate: of Adam with betas (0.9, 0.999) and no weight decay, as in all official codes of this family.
        milestones: epochs at whose end the learning rate is multiplied by 0.1.
        pretrained: passed to the network's `load_pretrained` when a run starts; None trains from scratch.

    Attributes:
        method: the method's name in `clicklab.methods.METHODS`; written into checkpoints for `clicklab.load`.
        user: the simulated user. By default that of the trainer's data module; another one may be assigned.
    """

    method: ClassVar[str]
    _user: User | None = None

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
        """Loads pretrained weights when a run starts; a resumed run has its own."""
        if stage == "fit" and self.pretrained is not None and not self.trainer.ckpt_path:
            try:
                self.network.load_pretrained(self.pretrained)  # ty: ignore[not-callable]
            except ValueError as error:
                hint = f'to go on from a whole trained network: FROM={self.pretrained} VARIANT="finetune ..."'
                raise ValueError(f"pretrained: {error}; {hint} (README, Train)") from error

    def forward(self, batch: Batch) -> Prediction:
        """The network's prediction for a batch."""
        return self.network(batch.image, batch.clicks, batch.prev_mask)

    @property
    def user(self) -> User:
        """The simulated user who answers predictions during training.

        Raises:
            ValueError: none was assigned, and the trainer's data module has none.
        """
        if self._user is not None:
            return self._user
        user = getattr(getattr(self._trainer, "datamodule", None), "user", None)
        if user is None:
            raise ValueError(
                "training needs a simulated user: trainer.fit(module, datamodule=InteractiveDataModule(...)), "
                "or module.user = SimulatedUser()"
            )
        return user

    @user.setter
    def user(self, user: User) -> None:
        self._user = user

    @torch.no_grad()
    def predict_prev_mask(self, batch: Batch) -> Tensor:
        """The mask that the user is shown: (B, 1, H, W) probability, from the network in eval mode."""
        training = self.network.training
        self.network.eval()
        logits = self(batch).logits[:, :1]
        self.network.train(training)
        return logits.float().sigmoid()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seeds a step's randomness by (seed, rank, step), so that a resumed run continues as if never interrupted.

        The generator that all devices share is seeded by (seed, step).
        """
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress.total
        step = batches.processed  # not `total_batch_idx`, which counts a step interrupted by Ctrl-C twice
        torch.manual_seed(_combined_seed(seed, self.global_rank, step))
        self.user.shared_generator = torch.Generator().manual_seed(_combined_seed(seed, step))

    def mean_over_ranks(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes; the tensor itself without a trainer."""
        return value if self._trainer is None else self._trainer.strategy.reduce(value, reduce_op="mean")

    def on_before_backward(self, loss: Tensor) -> None:
        """Ends the run, on all devices, before a loss that is NaN or infinite reaches the weights.

        Raises:
            ValueError: naming the step; the run's last checkpoint is of the step before.
        """
        if not self.trainer.strategy.reduce_boolean_decision(bool(loss.isfinite().all()), all=True):
            raise ValueError(
                f"the loss of step {self.trainer.global_step + 1} is {loss.item():.3g}: stopped before it was learnt "
                "from, last.ckpt is kept. Try a lower learning rate or --trainer.precision=32-true"
            )

    def validation_step(
        self, batch: list[EvaluationObject | SkippedObject], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Does nothing: `NoCCallback` plays the objects of the batch."""

    def test_step(self, batch: list[EvaluationObject | SkippedObject], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Does nothing: `NoCCallback` plays the objects of the batch."""

    def parameter_groups(self) -> Any:
        """The optimiser's parameters; a method with several learning rates overrides this."""
        return self.network.parameters()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, and a learning rate that falls at milestones (docs/training.md#schedules)."""
        optimizer = torch.optim.Adam(self.parameter_groups(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, self.milestones, gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Records the method, so that `clicklab.load` can rebuild the network from the file alone."""
        checkpoint["clicklab_method"] = self.method


def _combined_seed(*numbers: int) -> int:
    """One seed derived from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
