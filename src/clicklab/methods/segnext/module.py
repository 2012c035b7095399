"""SegNext's training: the image is encoded once for all clicks of a step (Liu et al., CVPR 2024)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from clicklab.losses.click_loss import click_loss
from clicklab.methods.base import ClickModule
from clicklab.methods.segnext.net import SegNextNet
from clicklab.records import Batch


class SegNext(ClickModule):
    """SegNext with the settings of the official COCO+LVIS config as defaults.

    Args:
        variant: `base` (two fusion blocks) or `base_sax1` as released, or `tiny`, `mini` of this project.
        network_options: arguments of `SegNextNet` that replace the variant's, e.g. `{"click_radius": 3}`.
        pretrained: `mae` for masked-autoencoder weights through timm, or the path of an official MAE file.
        learning_rate: 5e-5 in the official configs.
        milestones: epochs with a tenfold decay.
    """

    method: ClassVar[str] = "segnext"
    network: SegNextNet

    def __init__(
        self,
        variant: str = "base",
        network_options: dict[str, Any] | None = None,
        pretrained: str | Path | None = None,
        learning_rate: float = 5e-5,
        milestones: list[int] = [50, 90],  # noqa: B006 (read only; LightningCLI shows it in --help)
    ) -> None:
        network = SegNextNet.from_variant(variant, **(network_options or {}))
        super().__init__(network, learning_rate, milestones, pretrained)
        self.save_hyperparameters(
            {"variant": variant, "network_options": dict(network_options or {}), "learning_rate": learning_rate}
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Random clicks, some rounds without gradient, one pass that is learnt from; the ViT runs once for all."""
        state = self.network.start(batch.image)
        batch = self.user.warm_up(batch, partial(self.mask_from_state, state.detach()))
        loss = click_loss(self.network.step(state, batch.clicks, batch.prev_mask), batch.target)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    @torch.no_grad()
    def mask_from_state(self, state: Tensor, batch: Batch) -> Tensor:
        """(B, 1, H, W) probability that the user is shown, from tokens of the image and the network in eval mode."""
        training = self.network.training
        self.network.eval()
        logits = self.network.step(state, batch.clicks, batch.prev_mask).logits
        self.network.train(training)
        return logits.float().sigmoid()
