"""RITM's training: some clicks without gradient, then one pass that is learnt from (Sofiiuk et al., ICIP 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from clicklab.losses.click_loss import click_loss
from clicklab.methods.base import ClickModule
from clicklab.methods.ritm.net import RITMNet
from clicklab.optim import scaled_groups
from clicklab.records import Batch


class RITM(ClickModule):
    """RITM with the settings of the official COCO+LVIS configs as defaults.

    Args:
        variant: `hrnet18s`, `hrnet18`, `hrnet32` as released, or the very small `mini` of this project.
        network_options: arguments of `RITMNet` that replace the variant's, e.g. `{"reads_prev_mask": False}`.
        pretrained: `imagenet` for classification weights through timm, or the path of an official HRNet file.
        learning_rate: 5e-4 in the official configs at batch 28 or 32.
        milestones: epochs with a tenfold decay.
        backbone_factor: what the learning rate of the HRNet and of the two output layers is multiplied by.
        aux_weight: weight of the cross-entropy of the OCR head's first guess.
    """

    method: ClassVar[str] = "ritm"
    network: RITMNet

    def __init__(
        self,
        variant: str = "hrnet18",
        network_options: dict[str, Any] | None = None,
        pretrained: str | Path | None = None,
        learning_rate: float = 5e-4,
        milestones: list[int] = [200, 220],  # noqa: B006 (read only; LightningCLI shows it in --help)
        backbone_factor: float = 0.1,
        aux_weight: float = 0.4,
    ) -> None:
        network = RITMNet.from_variant(variant, **(network_options or {}))
        super().__init__(network, learning_rate, milestones, pretrained)
        self.backbone_factor, self.aux_weight = backbone_factor, aux_weight
        self.save_hyperparameters(
            {"variant": variant, "network_options": dict(network_options or {}), "learning_rate": learning_rate}
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Plays some rounds without gradient, then learns from one pass (docs/training.md#iterative-loop)."""
        batch = self.user.warm_up(batch, self.predict_prev_mask)
        loss = click_loss(self(batch), batch.target, self.aux_weight)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def parameter_groups(self) -> Any:
        """The HRNet and the two layers that say mask and first guess learn slowly, what lies between them fast."""
        slow = self.backbone_factor  # officially of the whole `feature_extractor`, then taken back for the OCR layers
        parts = {f"segmentor.{part}": slow for part in ("backbone", "ocr.aux", "ocr.mask")}
        return scaled_groups(self.network, self.learning_rate, parts)
