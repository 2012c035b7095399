"""DISNet's sessions: those at their first click are answered by P, all others by R, in batches of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from clicklab.inference.predictor import Predictor
from clicklab.inference.state import SessionState
from clicklab.losses.matching import assign, mask_cost
from clicklab.methods.disnet.state import Proposals
from clicklab.nn.network_state import split_state
from clicklab.records import POSITIVE, Prediction


class DISNetPredictor(Predictor):
    """Keeps the proposals in `SessionState.network_state`: later clicks never run P again, unless the view changes.

    The candidate chosen after the first click (`Session.choose`) goes on without a new pass. When the view changes, P
    runs on the new one with the first click; the proposal most like the mask shown last goes on.
    """

    def _predict_group(self, states: Sequence[SessionState]) -> list[SessionState]:
        parts: dict[tuple[type, bool], list[int]] = {}
        for row, state in enumerate(states):
            parts.setdefault(self._kind(state), []).append(row)
        answered = list(states)
        for rows in parts.values():
            for row, state in zip(rows, super()._predict_group([states[row] for row in rows]), strict=True):
                answered[row] = state
        return answered

    def _kind(self, state: SessionState) -> tuple[type, bool]:
        """What may share a batch: the same kind of network state, and all or none of them at the first click.

        Raises:
            ValueError: a dialogue without a mask begins with a negative click.
        """
        if state.prediction is None and state.clicks[0][2] != POSITIVE:
            raise ValueError("DISNet makes its proposals from the first click: it has to be a positive one")
        return type(state.network_state), self._is_first(state)

    def _is_first(self, state: SessionState) -> bool:
        return len(state.clicks[: self.options.net_clicks_limit]) == 1

    def network_input(self, state: SessionState) -> Any:
        """As `Predictor.network_input`; after the first click, of the proposal that was chosen."""
        given = super().network_input(state)
        if not isinstance(given, Proposals) or self._is_first(state):
            return given
        return given.choose(torch.full((len(given.masks),), state.chosen, device=given.masks.device))

    def _run_network(self, states: Sequence[SessionState]) -> tuple[Prediction, list[Any]]:
        prediction, network_states = super()._run_network(states)
        if self.options.flip and isinstance(prediction.state, Proposals):
            prediction = like_the_view(prediction, self.mask_threshold)
            network_states = split_state(prediction.state, len(prediction.logits), len(states))
        return prediction, network_states


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
