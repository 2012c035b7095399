"""DISNet's sessions: those at their first click are answered by P, all others by R, in batches of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from clicklab.inference.predictor import Predictor
from clicklab.losses.matching import assign, mask_cost
from clicklab.methods.disnet.state import Proposals
from clicklab.nn.network_state import split_state
from clicklab.records import POSITIVE, Prediction
from clicklab.views.frames import View

if TYPE_CHECKING:
    from clicklab.inference.session import Session


class DISNetPredictor(Predictor):
    """Keeps the proposals in `Turn.state`: later clicks never run P again, unless the view changes.

    The candidate chosen after the first click (`Session.choose`) goes on without a new pass. When the view changes, P
    runs on the new one with the first click; the proposal most like the mask shown last goes on.
    """

    def _answer_group(self, sessions: Sequence[Session], views: Sequence[View]) -> None:
        parts: dict[tuple[type, bool], list[tuple[Session, View]]] = {}
        for session, view in zip(sessions, views, strict=True):
            parts.setdefault(self._kind(session), []).append((session, view))
        for part in parts.values():
            super()._answer_group(*zip(*part, strict=True))

    def _kind(self, session: Session) -> tuple[type, bool]:
        """What may share a batch: the same kind of state, and all or none of them at the first click.

        Raises:
            ValueError: a dialogue without a mask begins with a negative click.
        """
        if session.turn.answer is None and session.clicks[0][2] != POSITIVE:
            raise ValueError("DISNet makes its proposals from the first click: it has to be a positive one")
        return type(session.turn.state), self._is_first(session)

    def _is_first(self, session: Session) -> bool:
        return len(session.clicks[: self.options.net_clicks_limit]) == 1

    def _states(self, sessions: Sequence[Session], views: Sequence[View]) -> list[Any]:
        states = super()._states(sessions, views)
        for row, (session, state) in enumerate(zip(sessions, states, strict=True)):
            if isinstance(state, Proposals) and not self._is_first(session):
                chosen = torch.full((len(state.masks),), session.turn.chosen, device=state.masks.device)
                states[row] = state.choose(chosen)
        return states

    def _run_network(self, sessions: Sequence[Session], views: Sequence[View]) -> tuple[Prediction, list[Any]]:
        prediction, states = super()._run_network(sessions, views)
        if self.options.flip and isinstance(prediction.state, Proposals):
            prediction = like_the_view(prediction, self.mask_threshold)
            states = split_state(prediction.state, len(prediction.logits), len(sessions))
        return prediction, states


def like_the_view(prediction: Prediction, threshold: float) -> Prediction:
    """Proposals of views and mirrored views, which have no common order, in that of the views.

    Args:
        prediction: of B * 2 rows, a view and its mirror next to each other, with `Proposals` as its state.
        threshold: a pixel belongs to a mask when its probability is larger.
    """
    straight, mirrored = prediction.logits.float().unflatten(0, (-1, 2)).unbind(1)
    cost = mask_cost(straight, mirrored.flip(-1).sigmoid() > threshold)
    everyone = torch.ones(cost.shape[:2], dtype=torch.bool, device=cost.device)
    pair = assign(cost[None], everyone)[3].view(len(cost), -1)
    order = torch.stack([torch.arange(pair.shape[1], device=pair.device).expand_as(pair), pair], dim=1).flatten(0, 1)
    rows = torch.arange(len(order), device=order.device)[:, None]
    state: Proposals = prediction.state
    state = Proposals(state.features, state.queries[rows, order], state.masks[rows, order], state.score[rows, order])
    return replace(prediction, logits=prediction.logits[rows, order], score=state.score, state=state)
