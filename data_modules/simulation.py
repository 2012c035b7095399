"""The simulated annotator of training: who answers a prediction with the next click."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clicklab.clicks.next_click import OFFICIAL, CorrectiveClickSampling, training_click
from clicklab.records import Batch, Clicks


class SimulatedUser:
    """Plays the annotator for whole batches, on their device.

    Source: the official iterative training (docs/training.md#iterative-loop): a click goes to a random pixel
        deep in the larger error region, and the mask shown becomes the previous mask of the next round.

    Attributes:
        shared_generator: source of numbers that all devices have to draw alike: one with fewer rounds than the others
            would wait for them. None: torch's global generator, which differs between devices.
    """

    shared_generator: torch.Generator | None = None

    def __init__(
        self, max_rounds: int = 3, threshold: float = 0.49, clicks: CorrectiveClickSampling = OFFICIAL
    ) -> None:
        """
        Args:
            max_rounds: `warm_up` plays 0..max_rounds rounds, all equally likely (official: 3).
            threshold: probability above which the user sees object (official: 0.49).
            clicks: how deep in the error the clicks lie.

        Raises:
            ValueError: a negative number of rounds, or a threshold outside of 0..1.
        """
        if max_rounds < 0:
            raise ValueError(f"max_rounds is {max_rounds}: give a number of rounds, 0 or more")
        if not 0 < threshold < 1:
            raise ValueError(f"the user's threshold is {threshold}: expected a probability between 0 and 1")
        self.max_rounds = max_rounds
        self.threshold = threshold
        self.clicks = clicks

    def first(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """The batch with its clicks replaced by one deep inside the target (no click where the target is empty)."""
        start = batch.replace(clicks=Clicks.empty(len(batch), device=batch.image.device))
        return self._click(start, torch.zeros_like(batch.prev_mask), generator, first=True)

    def respond(self, batch: Batch, probability: Tensor, generator: torch.Generator | None = None) -> Batch:
        """One more click per sample, and the mask shown as the previous mask.

        Args:
            batch: the dialogue so far.
            probability: (B, 1, H, W) the mask shown to the user; no gradient flows through it.
            generator: on the batch's device; None uses torch's global one.

        Returns:
            A new batch; samples without any error get an empty slot.
        """
        return self._click(batch, probability.detach().to(batch.prev_mask.dtype), generator, first=False)

    @torch.no_grad()
    def warm_up(
        self,
        batch: Batch,
        predict_prev_mask: Callable[[Batch], Tensor],
        rounds: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Batch:
        """Plays some rounds that nothing is learnt from.

        Args:
            batch: samples with their first clicks.
            predict_prev_mask: predicts the mask (B, 1, H, W) that the user is shown for a batch; called without
                gradient. Whether the network is in evaluation mode is the caller's business (official: it is).
            rounds: how many; None draws one number for the batch from 0..max_rounds.
            generator: as in `respond`.
        """
        for _ in range(self.rounds(0, self.max_rounds) if rounds is None else rounds):
            batch = self.respond(batch, predict_prev_mask(batch), generator)
        return batch

    def rounds(self, least: int, most: int) -> int:
        """A number of rounds for a batch from least..most, all equally likely, the same on all devices."""
        return int(torch.randint(least, most + 1, (), generator=self.shared_generator))

    def _click(self, batch: Batch, shown: Tensor, generator: torch.Generator | None, first: bool) -> Batch:
        yx, label = training_click(shown, batch.target, generator, self.threshold, self.clicks, first)
        return batch.replace(clicks=batch.clicks.append(yx, label), prev_mask=shown)
