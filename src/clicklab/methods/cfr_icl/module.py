"""CFR-ICL's training: fine-tuning of a trained network, with a loss after every simulated click (AAAI 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clicklab.losses.click_loss import click_loss
from clicklab.methods import method_of
from clicklab.methods.base import ClickModule
from clicklab.nn.network import as_click_network
from clicklab.nn.vit import VisionTransformer
from clicklab.records import Batch


class FineTune(ClickModule):
    """Goes on training a network with one mask and one pass: only the last of some rounds is learnt from.

    The released ViT-B files of CFR-ICL were made so, with copy-paste and without the iterative click loss
    (docs/methods/cfr_icl.md#iterative-click-loss).

    Args:
        network: a trained network that answers one mask, for example `class_path: clicklab.load` with the `path` of a
            checkpoint. Checkpoints of this module are checkpoints of that network's method.
        learning_rate: 5e-6 in paper and code.
        milestones: epochs with a tenfold decay; no official run gets so far.
        max_rounds: the rounds before the one that is learnt from are drawn from 1..max_rounds for each batch (RITM:
            from 0 on).
        checkpoint_blocks: recompute a ViT's blocks in the backward pass, for little memory.

    Raises:
        ValueError: the network answers several masks, has a second stage that this loss would not train (FocalClick,
            VTMR, DISNet), has no blocks for `checkpoint_blocks`, or belongs to no method of ours.
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float = 5e-6,
        milestones: list[int] = [50, 55],  # noqa: B006 (read only; LightningCLI shows it in --help)
        max_rounds: int = 3,
        checkpoint_blocks: bool = False,
    ) -> None:
        if as_click_network(network).num_candidates > 1:
            raise ValueError(
                f"network: {type(network).__name__} answers several masks; CFR-ICL wants one that answers one"
            )
        if as_click_network(network).second_stage:
            raise ValueError(
                f"network: {type(network).__name__} refines its masks in a second stage, which this does not train; "
                "its own method trains both"
            )
        if max_rounds < 1:
            raise ValueError(f"max_rounds is {max_rounds}, expected 1 or more")
        super().__init__(network.train(), learning_rate, milestones)
        if checkpoint_blocks:
            use_checkpoints(network)
        self.network_method = method_of(network)
        self.max_rounds = max_rounds
        self.save_hyperparameters({"variant": None, "network_options": network.arguments})

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Random clicks, 1..max_rounds rounds without gradient, one pass that is learnt from."""
        batch = self.user.warm_up(batch, self.predict_prev_mask, rounds=self.user.rounds(1, self.max_rounds))
        loss = click_loss(self(batch), batch.target)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Names the method of the network: `clicklab.load` opens the file as one of that method."""
        checkpoint["clicklab_method"] = self.network_method


class CFRICL(FineTune):
    """Iterative click loss: every round is learnt from, the later the more (paper, section 3.1).

    All passes of a step keep what the backward pass needs, so a step costs the memory of up to `len(betas)` plain ones;
    `checkpoint_blocks` and a smaller batch with `accumulate_grad_batches` make up for it.

    Args:
        network: as in `FineTune`.
        learning_rate: as in `FineTune`.
        milestones: as in `FineTune`.
        betas: weight of each round's loss; the losses are summed, not averaged. [1, 2, 3] in paper and code.
        min_rounds: rounds per batch are drawn from min_rounds..len(betas); 1 in the code, the paper speaks of three
            clicks and of no drawing.
        learn_first: whether the answer to the random first clicks is the first round (code). Without, it has no loss
            and rounds begin with the first simulated click (paper, eq. 3).
        checkpoint_blocks: as in `FineTune`.

    Raises:
        ValueError: as `FineTune`, or impossible weights or rounds.
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float = 5e-6,
        milestones: list[int] = [50, 55],  # noqa: B006 (as above)
        betas: Sequence[float] = (1.0, 2.0, 3.0),
        min_rounds: int = 3,
        learn_first: bool = False,
        checkpoint_blocks: bool = False,
    ) -> None:
        if not betas or min(betas) < 0:
            raise ValueError(f"betas are {list(betas)}, expected a weight of 0 or more for each round")
        if not 1 <= min_rounds <= len(betas):
            raise ValueError(f"min_rounds is {min_rounds}, expected 1 to {len(betas)}, the number of betas")
        super().__init__(network, learning_rate, milestones, len(betas), checkpoint_blocks)
        self.betas = tuple(betas)
        self.min_rounds = min_rounds
        self.learn_first = learn_first

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The weighted sum of the losses after each round; no gradient flows through the mask handed on."""
        shown = None if self.learn_first else self.predict_prev_mask(batch)
        losses = []
        for beta in self.betas[: self.user.rounds(self.min_rounds, self.max_rounds)]:
            if shown is not None:
                batch = self.user.respond(batch, shown)
            prediction = self(batch)
            losses.append(beta * click_loss(prediction, batch.target))
            shown = prediction.logits.detach().float().sigmoid()
        loss = torch.stack(losses).sum()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss


def use_checkpoints(network: nn.Module) -> None:
    """Makes the ViT of a loaded network recompute its blocks in the backward pass.

    Raises:
        ValueError: it has no ViT that can.
    """
    parts = [part for part in network.modules() if isinstance(part, VisionTransformer)]
    if not parts:
        raise ValueError(f"checkpoint_blocks: {type(network).__name__} has no blocks to recompute")
    for part in parts:
        part.checkpoint_blocks = True
