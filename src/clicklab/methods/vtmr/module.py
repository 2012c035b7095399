"""VTMR's training: FocalClick's losses on one dialogue, and a second one from another mask that shall agree with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from clicklab.losses.click_loss import click_loss
from clicklab.losses.focus import edge_weighted_focal_loss
from clicklab.losses.mask import binary_cross_entropy
from clicklab.losses.nfl import normalized_focal_loss
from clicklab.methods.base import ClickModule
from clicklab.methods.vtmr.mask_match import first_positive, mask_iou, matching_loss, spoilt_targets
from clicklab.methods.vtmr.net import VTMRNet
from clicklab.optim import scaled_groups
from clicklab.records import Batch, Prediction
from clicklab.views.focus_views import draw_boxes, focus_views


class VTMR(ClickModule):
    """VTMR with the paper's settings as defaults, and where it is silent those of docs/methods/vtmr.md.

    Args:
        variant: `b0` and `b3` in the paper, or another one of `CoarseToFine`; `tiny` and `mini` are small.
        network_options: arguments of `VTMRNet` that replace the variant's, e.g. `{"sigma": null}` for no zoom.
        pretrained: an ImageNet file of the backbone, or a FocalClick or VTMR checkpoint to go on from.
        learning_rate: 5e-4 in the paper; FocalClick's code has 5e-3 with the same factor for the backbone.
        milestones: epochs with a tenfold decay.
        extractor_factor: of the learning rate of `VTMRNet.extractor` (FocalClick's code: 0.1; the paper does not say).
        second: what the second dialogue is for: to agree with the first (`match`), to be supervised like it
            (`supervise`, Table 4), or it does not take place (`none`: FocalClick's training).
        alpha: the second dialogue counts where the first one's last mask before the answer has a larger IoU (Table 5).
        confidence: probability above which a pixel of the first answer is learnt from.
        two_sided: learn from confident background as well as from confident object.
        first_mask: from which clicks the first dialogue's first mask comes: `one_click`, a positive one (the paper's
            "first interaction step"), or `all_clicks` that the data module gives, 4.9 positive and 3.9 negative ones on
            average with the sampling of FocalClick's code. Both dialogues begin with the same ones.
        rounds: both dialogues go on for 0 to this many more clicks, all equally likely.
        blank_share: chance of a step without masks: the first clicks, and an empty mask before them. The paper's
            procedure never shows one, although every dialogue begins so; 0.25 is FocalClick's share.
        edge_loss: of the refiner's edges: `nfl` as in eq. 2, or `bce` as in FocalClick's code.
        edge_weighted: near edges the refined mask counts double, as in FocalClick's code.
    """

    method: ClassVar[str] = "vtmr"
    network: VTMRNet

    def __init__(
        self,
        variant: str = "b0",
        network_options: dict[str, Any] | None = None,
        pretrained: str | Path | None = None,
        learning_rate: float = 5e-4,
        milestones: list[int] = [190, 220],  # noqa: B006 (read only; LightningCLI shows it in --help)
        extractor_factor: float = 0.1,
        second: Literal["match", "supervise", "none"] = "match",
        alpha: float = 0.8,
        confidence: float = 0.9,
        two_sided: bool = False,
        first_mask: Literal["one_click", "all_clicks"] = "one_click",
        rounds: int = 3,
        blank_share: float = 0.25,
        edge_loss: Literal["nfl", "bce"] = "nfl",
        edge_weighted: bool = False,
    ) -> None:
        network = VTMRNet.from_variant(variant, **(network_options or {}))
        super().__init__(network, learning_rate, milestones, pretrained)
        self.extractor_factor, self.second = extractor_factor, second
        self.alpha, self.confidence, self.two_sided = alpha, confidence, two_sided
        self.first_mask, self.rounds, self.blank_share = first_mask, rounds, blank_share
        self.edge_loss, self.edge_weighted = edge_loss, edge_weighted
        self.save_hyperparameters(
            {"variant": variant, "network_options": dict(network_options or {}), "learning_rate": learning_rate}
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Two dialogues without gradient; the answer to one is supervised, and teaches the answer to the other."""
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        boxes = draw_boxes(batch.target, rng)
        own, other = self.dialogues(batch, rng)
        coarse = self(own)
        losses = self.supervised(coarse, own, boxes)
        if self.second != "none":
            losses["second"] = self.second_term(coarse, own, other)
        loss = sum(losses.values(), torch.zeros((), device=self.device))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        self.log_dict({f"train/{name}": value for name, value in losses.items()}, batch_size=len(batch))
        return loss

    def dialogues(self, batch: Batch, rng: np.random.Generator) -> tuple[Batch, Batch | None]:
        """The same object after clicks on a prediction, and after as many clicks on an equally good spoilt target.

        Returns:
            both dialogues, ready for the pass that is learnt from; None where there is no second one.
        """
        if self.second == "none":
            return self.user.warm_up(batch, self.predict_prev_mask, self.user.rounds(0, self.rounds)), None
        if torch.rand((), generator=self.user.shared_generator) < self.blank_share:
            return batch, None
        if self.first_mask == "one_click":
            batch = batch.replace(clicks=first_positive(batch.clicks))
        predicted = self.predict_prev_mask(batch)
        spoilt = spoilt_targets(batch.target, mask_iou(predicted, batch.target), rng)
        rounds = self.user.rounds(0, self.rounds)
        begun = (self.user.respond(batch, mask) for mask in (predicted, spoilt))
        own, other = (self.user.warm_up(dialogue, self.predict_prev_mask, rounds) for dialogue in begun)
        return own, other

    def supervised(self, coarse: Prediction, batch: Batch, boxes: Tensor) -> dict[str, Tensor]:
        """The terms of eq. 2: the coarse answer, and mask and edges of one close view of every sample."""
        views = focus_views(batch, boxes)
        fine = self.network.refine(views.image, views.clicks, coarse, views.boxes)
        refined = normalized_focal_loss(fine.logits, views.target).mean()
        if self.edge_weighted:
            refined = edge_weighted_focal_loss(fine.logits, views.target, views.edge)
        edge = normalized_focal_loss if self.edge_loss == "nfl" else binary_cross_entropy
        return {
            "coarse": click_loss(coarse, batch.target),
            "refined": refined,
            "edge": edge(fine.edge, views.edge).mean(),
        }

    def second_term(self, coarse: Prediction, own: Batch, other: Batch | None) -> Tensor:
        """The second answer's loss, over the samples whose first dialogue went well (eq. 3), as a mean over all."""
        counts = torch.zeros(len(own), device=own.target.device)
        if other is not None:
            counts = (mask_iou(own.prev_mask, own.target) > self.alpha).float()
        self.log("train/counted", counts.mean(), batch_size=len(own))
        # all ranks decide alike: a pass on some only would hang where batch statistics are shared
        if not self.mean_over_ranks(counts.sum()) > 0:
            return counts.sum()
        answer = self(own if other is None else other)
        if self.second == "supervise":
            return (counts * normalized_focal_loss(answer.logits, own.target)).mean()
        return (counts * matching_loss(coarse.logits, answer.logits, self.confidence, self.two_sided)).mean()

    def parameter_groups(self) -> Any:
        """The coarse segmentor's extractor learns at a rate of its own."""
        return scaled_groups(
            self.network, self.learning_rate, dict.fromkeys(self.network.extractor, self.extractor_factor)
        )
