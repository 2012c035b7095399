"""PiClick's training: Algorithm 1 of the paper, with the values of the released code.

Source: docs/methods/piclick.md#training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from clicklab.losses.matching import hard_iou
from clicklab.masks.candidate_sets import MaskSets
from clicklab.masks.feasible import feasible_sets
from clicklab.methods.base import ClickModule
from clicklab.methods.piclick.first_clicks import FirstClicks, choose_first_clicks
from clicklab.methods.piclick.loss import LossWeights, match_last, set_loss
from clicklab.methods.piclick.net import PiClickNet
from clicklab.optim import layer_decay_groups
from clicklab.records import IGNORE, Batch

_WEIGHTS = LossWeights()


class PiClick(ClickModule):
    """PiClick with the settings of the released ViT-B config as defaults. It wants a data module with `with_layers`.

    Args:
        variant: `base`, `large`, `huge` as released, or the small `tiny` and `mini` of this project.
        network_options: arguments of `PiClickNet` that replace the variant's, e.g. `{"num_queries": 3}`.
        pretrained: `mae` for masked-autoencoder weights through timm, or the path of an official MAE file.
        learning_rate: 5e-5 * 140 / 136 in the official ViT-B run of batch 136.
        milestones: epochs with a tenfold decay.
        layer_decay: factor of the layer-wise learning-rate decay; the code has it (0.75), no published command uses it.
        first_clicks: `thinned` (code): few per sign, mostly one; `uniform` (paper): 1 to 10; `all`: what the data has.
        shown: the candidate that the user sees in a round: `matched` (code): any that answers for a possible target;
            `any` (paper); `best_iou` (paper, Table 7): the one with the largest IoU with the target.
        judge_by_first_clicks: in a round, targets are possible if they fit the first clicks (code, which forgets to
            refresh them), or all clicks so far (paper: False).
        loss: weights of the loss terms.
    """

    method: ClassVar[str] = "piclick"
    network: PiClickNet

    def __init__(
        self,
        variant: str = "base",
        network_options: dict[str, Any] | None = None,
        pretrained: str | Path | None = None,
        learning_rate: float = 5.147e-5,
        milestones: list[int] = [50, 62],  # noqa: B006 (read only; LightningCLI shows it in --help)
        layer_decay: float | None = None,
        first_clicks: FirstClicks = "thinned",
        shown: Literal["matched", "any", "best_iou"] = "matched",
        judge_by_first_clicks: bool = True,
        loss: LossWeights = _WEIGHTS,
    ) -> None:
        network = PiClickNet.from_variant(variant, **(network_options or {}))
        super().__init__(network, learning_rate, milestones, pretrained)
        self.layer_decay, self.first_clicks, self.shown = layer_decay, first_clicks, shown
        self.judge_by_first_clicks, self.loss = judge_by_first_clicks, loss
        self.save_hyperparameters(
            {"variant": variant, "network_options": dict(network_options or {}), "learning_rate": learning_rate}
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Few random clicks, some rounds on a random candidate, then a pass whose candidates share the targets."""
        batch = batch.replace(clicks=choose_first_clicks(batch.clicks, self.first_clicks, batch.target))
        first = batch.clicks if self.judge_by_first_clicks else None
        batch = self.user.warm_up(batch, lambda now: self.predict_prev_mask(now, feasible_sets(now, first)))
        prediction = self(batch)
        terms = set_loss(prediction.extras, feasible_sets(batch), batch.target, self.loss, self.mean_over_ranks)
        loss = torch.stack(list(terms.values())).sum()
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in terms.items()})
        return loss

    @torch.no_grad()
    def predict_prev_mask(self, batch: Batch, sets: MaskSets | None = None) -> Tensor:
        """The candidate that the user is shown, (B, 1, H, W) probability, from the network in eval mode.

        Args:
            batch: the dialogue so far.
            sets: possible targets; by default those that fit the batch's clicks.
        """
        training = self.network.training
        self.network.eval()
        prediction = self(batch)
        self.network.train(training)
        logits, confidence = prediction.logits.float(), prediction.extras["confidence"]
        if self.shown == "best_iou":
            chosen = hard_iou(logits, batch.target == 1, batch.target != IGNORE).argmax(1)
        elif self.shown == "any":
            chosen = torch.multinomial(torch.ones_like(confidence), 1)[:, 0]
        else:
            matched = match_last(logits, confidence, sets or feasible_sets(batch), self.loss)
            chosen = torch.multinomial(matched.float(), 1)[:, 0]
        return logits[torch.arange(len(logits), device=logits.device), chosen, None].sigmoid()

    def parameter_groups(self) -> Any:
        """All parameters alike, or one group per layer where `layer_decay` is given."""
        if self.layer_decay is None:
            return super().parameter_groups()
        return layer_decay_groups(self.network, self.learning_rate, self.layer_decay)
