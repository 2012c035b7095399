"""What DISNet keeps between clicks: the proposals of the first one, and the proposal that was chosen."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clicklab.nn.resize import resize


class Proposals(NamedTuple):
    """What the first click left behind; the state after it.

    Attributes:
        features: (B, D, h, w) at 1/4 of the image, F^-1 in the paper.
        queries: (B, Q, D) of the proposals.
        masks: (B, Q, h, w) logits.
        score: (B, Q) trust that the proposal shows an object.
    """

    features: Tensor
    queries: Tensor
    masks: Tensor
    score: Tensor

    def choose(self, index: Tensor) -> Chosen:
        """One proposal (B,) of every sample."""
        rows = torch.arange(len(index), device=index.device)
        return Chosen(self.features, self.queries[rows, index], self.masks[rows, index].detach())

    def nearest(self, prev_mask: Tensor) -> Tensor:
        """(B,) the proposal that `prev_mask` (B, 1, H, W) shows or is most like; the best score where it is empty."""
        masks = resize(self.masks.float(), (prev_mask.shape[-2], prev_mask.shape[-1])).sigmoid()
        apart = (masks - prev_mask).abs().mean((2, 3))
        empty = (prev_mask == 0).flatten(1).all(1, keepdim=True)
        return torch.where(empty, self.score.float(), -apart).argmax(1)


class Chosen(NamedTuple):
    """What later clicks need; the state after them. It never changes until the first click does.

    Attributes:
        features: (B, D, h, w), the same as in `Proposals`.
        query: (B, D) of the chosen proposal.
        prior: (B, h, w) its logits.
    """

    features: Tensor
    query: Tensor
    prior: Tensor
