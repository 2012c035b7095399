"""FocalClick's training: the last of several coarse passes and a close look at a random crop are learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from clicklab.losses.click_loss import click_loss
from clicklab.losses.focus import edge_weighted_focal_loss
from clicklab.losses.mask import binary_cross_entropy
from clicklab.methods.base import ClickModule
from clicklab.methods.focalclick.net import FocalClickNet
from clicklab.optim import scaled_groups
from clicklab.records import Batch
from clicklab.views.focus_views import draw_boxes, focus_views


class FocalClick(ClickModule):
    """FocalClick with the settings of the official script for SegFormer-B0 on COCO+LVIS as defaults.

    Args:
        variant: `b0`, `b3`, `hrnet18s`, `hrnet32` as released, or the small `tiny` and `mini` of this project.
        network_options: arguments of `FocalClickNet` that replace the variant's, e.g. `{"halve": True}` for S1.
        pretrained: path of an official ImageNet file of the backbone; for HRNet also `imagenet`, through timm.
        learning_rate: official: 5e-3 with SegFormer, 5e-4 with HRNet.
        milestones: epochs with a tenfold decay.
        extractor_factor: of the learning rate of `FocalClickNet.extractor`; official: 0.1 with SegFormer, 2 with HRNet.
    """

    method: ClassVar[str] = "focalclick"
    network: FocalClickNet

    def __init__(
        self,
        variant: str = "b0",
        network_options: dict[str, Any] | None = None,
        pretrained: str | Path | None = None,
        learning_rate: float = 5e-3,
        milestones: list[int] = [190, 210],  # noqa: B006 (read only; LightningCLI shows it in --help)
        extractor_factor: float = 0.1,
    ) -> None:
        network = FocalClickNet.from_variant(variant, **(network_options or {}))
        super().__init__(network, learning_rate, milestones, pretrained)
        self.extractor_factor = extractor_factor
        self.save_hyperparameters(
            {"variant": variant, "network_options": dict(network_options or {}), "learning_rate": learning_rate}
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Coarse rounds without gradient, then a coarse pass with gradient and its refinement.

        Source: docs/methods/focalclick.md#training.
        """
        boxes = draw_boxes(batch.target, np.random.default_rng(int(torch.randint(2**62, ()))))
        batch = self.user.warm_up(batch, self.predict_prev_mask)
        coarse = self(batch)
        views = focus_views(batch, boxes)
        fine = self.network.refine(views.image, views.clicks, coarse, views.boxes)
        losses = {
            "coarse": click_loss(coarse, batch.target),
            "refined": edge_weighted_focal_loss(fine.logits, views.target, views.edge),
            "edge": binary_cross_entropy(fine.edge, views.edge).mean(),
        }
        loss = sum(losses.values(), torch.zeros((), device=self.device))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        self.log_dict({f"train/{name}": value for name, value in losses.items()}, batch_size=len(batch))
        return loss

    def parameter_groups(self) -> Any:
        """The coarse segmentor's extractor learns at a rate of its own."""
        return scaled_groups(
            self.network, self.learning_rate, dict.fromkeys(self.network.extractor, self.extractor_factor)
        )
