"""SimpleClick's training: a plain ViT learns from the last of several simulated clicks (Liu et al., ICCV 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from clicklab.losses.click_loss import click_loss
from clicklab.methods.base import ClickModule
from clicklab.methods.simpleclick.net import SimpleClickNet
from clicklab.optim import layer_decay_groups
from clicklab.records import Batch


class SimpleClick(ClickModule):
    """SimpleClick with the settings of the official COCO+LVIS configs as defaults.

    Args:
        variant: `xtiny`, `base`, `large`, `huge` as released, or `small`, `tiny`, `mini` of this project.
        network_options: arguments of `SimpleClickNet` that replace the variant's, e.g. `{"click_radius": 3}`.
        pretrained: `mae` for masked-autoencoder weights through timm, or the path of an official MAE file.
        learning_rate: 5e-5 in the official configs at batch 32.
        milestones: epochs with a tenfold decay.
        layer_decay: factor of the layer-wise learning-rate decay (0.75 in the official code, where it is off).
    """

    method: ClassVar[str] = "simpleclick"
    network: SimpleClickNet

    def __init__(
        self,
        variant: str = "base",
        network_options: dict[str, Any] | None = None,
        pretrained: str | Path | None = None,
        learning_rate: float = 5e-5,
        milestones: list[int] = [50, 55],  # noqa: B006 (read only; LightningCLI shows it in --help)
        layer_decay: float | None = None,
    ) -> None:
        network = SimpleClickNet.from_variant(variant, **(network_options or {}))
        super().__init__(network, learning_rate, milestones, pretrained)
        self.layer_decay = layer_decay
        self.save_hyperparameters(
            {"variant": variant, "network_options": dict(network_options or {}), "learning_rate": learning_rate}
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Plays some rounds without gradient, then learns from one pass (docs/training.md#iterative-loop)."""
        batch = self.user.warm_up(batch, self.predict_prev_mask)
        loss = click_loss(self(batch), batch.target)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def parameter_groups(self) -> Any:
        """All parameters alike, or one group per layer where `layer_decay` is given."""
        if self.layer_decay is None:
            return super().parameter_groups()
        return layer_decay_groups(self.network, self.learning_rate, self.layer_decay)
