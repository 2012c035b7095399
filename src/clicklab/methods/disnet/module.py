"""DISNet's training: proposals for related targets, corrections for one of them (paper, sections 3.4 and 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from clicklab.losses.mask import dice
from clicklab.losses.matching import hard_iou
from clicklab.losses.nfl import normalized_focal_loss
from clicklab.losses.set_loss import set_terms
from clicklab.masks.candidate_sets import MaskSets
from clicklab.masks.related import RelatedSets, draw_centres, hierarchy_sets, proximity_sets
from clicklab.methods.base import ClickModule
from clicklab.methods.disnet.net import Chosen, DISNetNet
from clicklab.nn.resize import resize
from clicklab.optim import scaled_groups, warmup_cosine
from clicklab.records import IGNORE, Batch, Prediction

BETAS = (0.9, 0.99)  # of Adam (paper, section 4.2); the other methods have 0.999
FIRST_RATE = 5e-8  # where the warm-up begins (paper)
LONGEST = 7  # masks that a click may mean where the number of queries does not say it


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms. The paper names its losses without numbers: those of PiClick stand here (A-28, A-29).

    Attributes:
        focal: of the focal term of the proposals, in the loss and in the matching cost. A single proposal has the
            normalised focal loss instead, which counts once.
        dice: of their dice term, in the loss and in the matching cost.
        confidence: of the cross-entropy "shows an object that may be meant, or none".
        no_object: weight of proposals without target in it.
        refined: of the normalised focal loss of the corrected mask.
    """

    focal: float = 20.0
    dice: float = 1.0
    confidence: float = 1.0
    no_object: float = 0.1
    refined: float = 1.0


_WEIGHTS = LossWeights()


class DISNet(ClickModule):
    """DISNet with the paper's settings as defaults. It wants a data module with `with_layers`.

    Args:
        variant: `base` as in the paper, or `small`, `tiny`, `mini` of this project.
        network_options: arguments of `DISNetNet` that replace the variant's, e.g. `{"dense_clicks": true}`.
        pretrained: `mae` for masked-autoencoder weights through timm, the path of an official MAE file, or the path of
            a PiClick checkpoint of ours (`clicklab convert` makes one of an official file).
        learning_rate: of P, after the warm-up.
        refinement_rate: of R, after the warm-up.
        warmup_epochs: epochs in which the rates grow from 5e-8; a cosine to 0 over the other epochs follows.
        relation: what else a first click may mean: the ancestors of the object (`hierarchy`), or the objects that touch
            it (`proximity`).
        tree_prob: chance that the object is drawn among those with a parent (A-30).
        loss: weights of the loss terms.
    """

    method: ClassVar[str] = "disnet"
    network: DISNetNet

    def __init__(
        self,
        variant: str = "base",
        network_options: dict[str, Any] | None = None,
        pretrained: str | Path | None = None,
        learning_rate: float = 5e-5,
        refinement_rate: float = 5e-6,
        warmup_epochs: float = 2.0,
        relation: Literal["hierarchy", "proximity"] = "hierarchy",
        tree_prob: float = 0.5,
        loss: LossWeights = _WEIGHTS,
    ) -> None:
        network = DISNetNet.from_variant(variant, **(network_options or {}))
        super().__init__(network, learning_rate, [], pretrained)
        self.refinement_rate, self.warmup_epochs = refinement_rate, warmup_epochs
        self.relation, self.tree_prob, self.loss = relation, tree_prob, loss
        if network.num_candidates == 1:
            network.class_head.requires_grad_(False)  # nothing to choose from, so nothing that teaches it
        self.save_hyperparameters(
            {"variant": variant, "network_options": dict(network_options or {}), "learning_rate": learning_rate}
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One click on an object and what it may mean; proposals for all that; corrections towards one of them."""
        related = self.related_sets(batch)
        batch = self.first_click(batch, related)
        size = (batch.image.shape[-2], batch.image.shape[-1])
        proposals = self.network.propose(self.network.start(batch.image), batch.clicks, size)
        chosen, shown = choose_best(proposals, batch.target)
        batch = self.user.respond(batch, shown)  # R never sees fewer than two clicks
        batch = self.user.warm_up(batch, lambda now: self.network.refine(chosen, now.clicks, size).float().sigmoid())
        refined = self.network.refine(chosen, batch.clicks, size)
        terms = self.proposal_terms(proposals, related.sets, batch.target)
        terms["refined"] = self.loss.refined * normalized_focal_loss(refined, batch.target).mean()
        loss = torch.stack(list(terms.values())).sum()
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in terms.items()})
        return loss

    def related_sets(self, batch: Batch) -> RelatedSets:
        """A random object of every sample with all that a first click on it may mean, at most one mask per query."""
        most = self.network.num_candidates if self.network.num_candidates > 1 else LONGEST
        if self.relation == "hierarchy":
            return hierarchy_sets(batch, draw_centres(batch, self.tree_prob), most=most)
        return proximity_sets(batch, draw_centres(batch, tree_prob=0.0), most=most)

    def first_click(self, batch: Batch, related: RelatedSets) -> Batch:
        """The batch with one of the masks drawn as its target and a click in the region that all of them share."""
        ignored = batch.target == IGNORE
        clicked = self.user.first(batch.replace(target=related.region.float()))
        return clicked.replace(target=related.sets.draw().float().masked_fill(ignored, IGNORE))

    def proposal_terms(self, proposals: Prediction, sets: MaskSets, target: Tensor) -> dict[str, Tensor]:
        """Weighted terms of the set loss; without MO, of the one proposal's loss."""
        if self.network.num_candidates == 1:
            return self.single_terms(proposals.extras["masks"], target)
        weights = self.loss
        terms = set_terms(
            proposals.extras["masks"], proposals.extras["class_logits"], sets, target, weights.focal, weights.dice,
            weights.no_object, self.mean_over_ranks,
        )  # fmt: skip
        return {
            "focal": weights.focal * terms.focal,
            "dice": weights.dice * terms.dice,
            "confidence": weights.confidence * terms.confidence,
        }

    def single_terms(self, masks: list[Tensor], target: Tensor) -> dict[str, Tensor]:
        """Without MO a prediction (B, 1, h, w) learns the target that is meant, as networks with one mask do."""
        full = [resize(maps.float(), (target.shape[-2], target.shape[-1])) for maps in masks]
        return {
            "focal": torch.stack([normalized_focal_loss(logits, target).mean() for logits in full]).sum(),
            "dice": self.loss.dice * torch.stack([dice(logits, target).mean() for logits in full]).sum(),
        }

    def parameter_groups(self) -> Any:
        """P and R with a learning rate each."""
        slower = self.refinement_rate / self.learning_rate
        return scaled_groups(self.network, self.learning_rate, {"refinement": slower})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with a warm-up and a cosine, both per step (A-21, A-22).

        Raises:
            ValueError: the run has no end, which a cosine needs.
        """
        if self.trainer.estimated_stepping_batches == float("inf"):
            raise ValueError("the learning rate falls until the end of the run: give trainer.max_epochs or max_steps")
        optimizer = torch.optim.Adam(self.parameter_groups(), lr=self.learning_rate, betas=BETAS)
        steps = int(self.trainer.estimated_stepping_batches)
        per_epoch = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        warmup = round(self.warmup_epochs * per_epoch)
        schedule = warmup_cosine(optimizer, min(warmup, steps - 1), steps, FIRST_RATE)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def choose_best(proposals: Prediction, target: Tensor) -> tuple[Chosen, Tensor]:
    """The proposal with the largest IoU with the target (B, 1, H, W), and its probability (B, 1, H, W).

    The loss of what follows also shapes P, through the features and the query; the proposal itself is a constant (A-15
    and A-26 of docs/methods/disnet.md).
    """
    index = hard_iou(proposals.logits, target == 1, target != IGNORE).argmax(1)
    shown = proposals.logits[torch.arange(len(index), device=index.device), index, None]
    return proposals.state.choose(index), shown.detach().float().sigmoid()
