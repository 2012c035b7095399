"""ClickLite's training: whole dialogues, each answer learnt from, over one look at the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from clicklab.losses.nfl import normalized_focal_loss
from clicklab.methods.base import ClickModule
from clicklab.methods.clicklite.net import ClickLiteNet
from clicklab.methods.clicklite.starts import StartingMasks
from clicklab.records import Batch


class ClickLite(ClickModule):
    """ClickLite with the settings of its own long run as defaults.

    Args:
        variant: `lite0`, or the very small `mini` for tests.
        network_options: arguments of `ClickLiteNet` that replace the variant's.
        pretrained: of the encoder: `imagenet`, or the path of a file with the weights of EfficientNet-Lite0.
        learning_rate: of what is not the encoder.
        encoder_factor: what the encoder's learning rate is multiplied by.
        weight_decay: of AdamW, on weights, not on biases.
        warmup: steps until the learning rate is reached; it then stays, so that a run has no end it must know of.
        rounds: answers per dialogue; each is learnt from.
        spoilt: share of dialogues that start from a spoilt mask.
        true_masks: share of dialogues that start from the true mask, with a click that agrees with it.
    """

    method: ClassVar[str] = "clicklite"
    network: ClickLiteNet

    def __init__(
        self,
        variant: str = "lite0",
        network_options: dict[str, Any] | None = None,
        pretrained: str | Path | None = None,
        learning_rate: float = 1e-3,
        encoder_factor: float = 0.3,
        weight_decay: float = 1e-2,
        warmup: int = 100,
        rounds: int = 3,
        spoilt: float = 0.15,
        true_masks: float = 0.05,
    ) -> None:
        network = ClickLiteNet.from_variant(variant, **(network_options or {}))
        super().__init__(network, learning_rate, [], pretrained)
        self.encoder_factor, self.weight_decay, self.warmup, self.rounds = encoder_factor, weight_decay, warmup, rounds
        self.starts = StartingMasks(spoilt, true_masks)
        self.save_hyperparameters(
            {"variant": variant, "network_options": dict(network_options or {}), "learning_rate": learning_rate}
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """A dialogue of some rounds over one `start`; the mask shown carries no gradient to the round before."""
        state = self.network.start(batch.image.contiguous(memory_format=torch.channels_last))
        batch = self.starts(batch, self.user)
        losses: list[Tensor] = []
        for number in range(self.rounds):
            answer = self.network.step(state, batch.clicks, batch.prev_mask)
            losses.append(normalized_focal_loss(answer.logits, batch.target, alpha=0.5, gamma=2.0).mean())
            if number + 1 < self.rounds:
                batch = self.user.respond(batch, answer.logits.detach().sigmoid())
        loss = torch.stack(losses).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        self.log("train/first_loss", losses[0], batch_size=len(batch))
        self.log("train/last_loss", losses[-1], batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW with a constant rate behind a linear warm-up."""
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            groups.setdefault((name.startswith("stages."), parameter.ndim > 1), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "lr": self.learning_rate * (self.encoder_factor if encoder else 1.0),
                    "weight_decay": self.weight_decay if weights else 0.0,
                    "name": f"{'encoder' if encoder else 'rest'}, {'weights' if weights else 'biases'}",
                }
                for (encoder, weights), parameters in groups.items()
            ]
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (self.warmup + 1)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
