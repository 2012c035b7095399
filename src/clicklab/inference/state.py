"""What a dialogue knows at one moment: clicks, masks, and where the network looked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from clicklab.inference.mask_prediction import Answer
from clicklab.views.boxes import Box
from clicklab.views.frames import Click, View


@dataclass(frozen=True)
class SessionState:
    """Everything a dialogue knows after some clicks. Immutable: undo goes back to the record before.

    Attributes:
        clicks: (y, x, label) in pixels of the full image, in click order.
        answer: the masks answered, or the one given from outside; None before the first.
        score: (K,) trust in each candidate, None when there is one.
        chosen: the candidate that is the mask.
        region: what the zoom-in keeps looking at.
        view: what the network saw last.
        state: the network's state for that view.
        changes: pixels of the mask that each refinement pass after the last click has changed (CFR).
    """

    clicks: tuple[Click, ...] = ()
    answer: Answer | None = None
    score: Tensor | None = None
    chosen: int = 0
    region: Box | None = None
    view: View | None = None
    state: Any = None
    changes: tuple[int, ...] = ()

    def without_cache(self) -> SessionState:
        """As history keeps it: maps of a large photo for every click would soon fill the memory."""
        return self if self.answer is None else replace(self, answer=self.answer.without_cache())
