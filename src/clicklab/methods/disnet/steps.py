"""DISNet's dialogue: proposals for the first click, corrections of the chosen one for later clicks."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from clicklab.methods.disnet.state import Chosen, Proposals
from clicklab.nn.network import ClickNetwork
from clicklab.nn.resize import resize
from clicklab.records import Clicks, Prediction


class ProposeAndRefine(ClickNetwork):
    """Who is asked when: the proposal network P or the refinement network R, in torch or as exported graphs.

    Attributes:
        refine_first: see `DISNetNet`.
    """

    refine_first: bool = False

    def step(self, state: Any, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """Proposals for one click, the corrected mask for more.

        Args:
            state: of `start`, or of an earlier step on the same image with the same first click: P runs only after
                `start`, and not again.
            clicks: B samples, pixels of the image, the first one in slot 0. With one slot the proposals are the answer,
                with more the chosen one is corrected by all clicks.
            prev_mask: (B, 1, H, W) the mask shown last. It tells which proposal was chosen where the state does not,
                and is not looked at again.

        Returns:
            logits (B, Q, H, W) and score (B, Q) after one click, logits (B, 1, H, W) after more.
        """
        size = (prev_mask.shape[-2], prev_mask.shape[-1])
        if not isinstance(state, (Proposals, Chosen)):
            answer = self.propose(state, clicks, size)
            state = answer.state
            if clicks.slots <= 1 and not self.refine_first:
                return answer
        if isinstance(state, Proposals):
            if clicks.slots <= 1:
                return Prediction(self._first_answer(state, clicks, size), state.score, state)
            state = state.choose(state.nearest(prev_mask))
        return Prediction(self.refine(state, clicks, size), None, state)

    @abstractmethod
    def propose(self, tokens: Any, clicks: Clicks, size: tuple[int, int]) -> Prediction:
        """P: see `DISNetNet.propose`."""

    @abstractmethod
    def refine(self, chosen: Chosen, clicks: Clicks, size: tuple[int, int]) -> Tensor:
        """R: see `DISNetNet.refine`."""

    def _first_answer(self, state: Proposals, clicks: Clicks, size: tuple[int, int]) -> Tensor:
        """(B, Q, H, W): the proposals, or with `refine_first` what R makes of each."""
        if not self.refine_first:
            return resize(state.masks, size)
        places = torch.arange(state.masks.shape[1], device=state.masks.device)
        each = [self.refine(state.choose(place.expand(len(state.masks))), clicks, size) for place in places]
        return torch.cat(each, dim=1)
