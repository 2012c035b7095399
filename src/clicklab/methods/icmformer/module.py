"""iCMFormer's training: as SimpleClick's, the last of several simulated clicks is learnt from (paper, section 3.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from clicklab.losses.click_loss import click_loss
from clicklab.methods.base import ClickModule
from clicklab.methods.icmformer.variants import build
from clicklab.records import Batch


class ICMFormer(ClickModule):
    """iCMFormer with the settings of the official COCO+LVIS configs as defaults.

    Args:
        variant: `base`, `large`, `huge` with a plain ViT, `swin_base`, `swin_small` with a Swin transformer, or the
            small `tiny`, `mini` and `swin_mini` of this project.
        network_options: arguments of `ICMFormerViT` or `ICMFormerSwin` that replace the variant's, e.g.
            `{"cross_blocks": 5}`.
        pretrained: `mae` (plain ViT) or `swin` for weights through timm, or the path of an official file of either.
        learning_rate: 5e-5 in the paper and the official configs, at batch 24.
        milestones: epochs with a tenfold decay.
        betas: of Adam: (0.9, 0.999) in the code, (0.9, 0.99) in the paper.
    """

    method: ClassVar[str] = "icmformer"

    def __init__(
        self,
        variant: str = "base",
        network_options: dict[str, Any] | None = None,
        pretrained: str | Path | None = None,
        learning_rate: float = 5e-5,
        milestones: list[int] = [80, 85],  # noqa: B006 (read only; LightningCLI shows it in --help)
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        values = {"variant": variant, "network_options": dict(network_options or {})}
        super().__init__(build(values), learning_rate, milestones, pretrained)
        self.betas = betas
        self.save_hyperparameters({**values, "learning_rate": learning_rate})

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Plays some rounds without gradient, then learns from one pass (docs/methods/icmformer.md#training)."""
        batch = self.user.warm_up(batch, self.predict_prev_mask)
        loss = click_loss(self(batch), batch.target)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """As all methods, with betas of its own."""
        configured: Any = super().configure_optimizers()
        for group in configured["optimizer"].param_groups:
            group["betas"] = tuple(self.betas)
        return configured
