"""From clicks to masks for many sessions in one go: view, one batched step per view size, back to the full image."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clicklab.device import usable_device
from clicklab.inference.answer_checks import best_of_valid, checked
from clicklab.inference.cascade import refine
from clicklab.inference.mask_prediction import InitialMask, MaskPrediction, ViewPrediction
from clicklab.inference.options import InferenceOptions
from clicklab.inference.state import Encoding, SessionState
from clicklab.nn.fold_norms import fold_norms
from clicklab.nn.network import as_click_network
from clicklab.nn.network_state import join_states, split_state
from clicklab.records import Clicks, Prediction
from clicklab.views.boxes import flip_clicks
from clicklab.views.frames import Frame, Size, View, average_flip, clicks_in_views, limit_longest_side, look

# Pixels of views in one call of the network on a CPU: one view of 448 x 448 and its mirror. Larger batches outgrow the
# caches (ViT-xtiny, HRNet18s: 1.2 times as long per view in batches of 16 as in pairs); small views still go together.
CPU_PIXELS = 2 * 448 * 448
LOWERED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Predictor:
    """Answers clicks as the official predictors of RITM and SimpleClick do. It has no memory of its own.

    A method that merges views or candidates in its own way overrides `merge`; one that looks elsewhere overrides
    `view_of`; one whose zoom-in goes by something else than probabilities overrides `make_prediction` and
    `zoom_lines`; one with a pipeline of its own overrides `predict_once`. A network names its predictor in the class
    attribute `predictor`, and `predictor_for` finds it; with the class attribute `exact_clicks` it gets clicks in
    float64 (see `exact_clicks`).

    Args:
        network: keeps the network contract (`start` and `step`, or only `forward`). It answers in eval mode, whatever
            its mode is. One with batch norms in eval mode is copied to fold them, so that later changes of its
            weights want a new predictor.
        options: the settings; default: those of a person's session, without quirks of official code.
        view_scale: what the dataset asks for (DAVIS 1.5); the options may overrule it.
        device: where the sessions live; default: where the network is.
        context: entered round every call of the network, for example autocast.
    """

    def __init__(
        self,
        network: nn.Module,
        options: InferenceOptions | None = None,
        view_scale: float = 1.0,
        device: torch.device | str | None = None,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        network = as_click_network(network)
        weight = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(()))
        self.network = fold_norms(network)
        self.options = (options or InferenceOptions()).for_network(network)
        self.device = weight.device if device is None else usable_device(device)
        self.dtype = weight.dtype
        self.zoom_in = self.options.zoom_for(network, view_scale)
        lowered = LOWERED.get(self.options.precision)
        self.context = context if lowered is None else partial(_lowered, context, self.device.type, lowered)

    @property
    def mask_threshold(self) -> float:
        """A pixel belongs to the mask when its probability is larger."""
        threshold = self.options.mask_threshold
        assert threshold is not None  # `for_network` has filled it in
        return threshold

    @torch.no_grad()
    def predict(self, states: Sequence[SessionState]) -> list[SessionState]:
        """The answered state of each dialogue, refined as often as the options say. The states given stay as they are.

        Args:
            states: each with a click that is to be answered.

        Raises:
            ValueError: the network's answer is no `Prediction` of the right shape, or holds NaN or Inf. Values are
                looked at after the first click of a dialogue, and in float16, whose range a network may outgrow later
                on, after every click.
        """
        with in_eval_mode(self.network):
            answered = refine(self.predict_once(states), self.predict_once, self.options)
        self._check_finite(answered)
        return answered

    def predict_once(self, states: Sequence[SessionState]) -> list[SessionState]:
        """One pass for every state; the network runs once per view size (on a CPU in pieces).

        May come again with the same clicks (cascade-forward refinement); a state then holds the earlier pass's masks.
        """
        answered = self.look(states)
        by_size: dict[Size, list[int]] = {}
        for row, state in enumerate(answered):
            by_size.setdefault(view_of(state).size, []).append(row)
        for size, rows in by_size.items():
            most = max(1, CPU_PIXELS // (2 * size[0] * size[1])) if self.device.type == "cpu" else len(rows)
            for first in range(0, len(rows), most):
                some = rows[first : first + most]
                for row, state in zip(some, self._predict_group([answered[row] for row in some]), strict=True):
                    answered[row] = state
        return answered

    def look(self, states: Sequence[SessionState]) -> list[SessionState]:
        """The states with the region and view for their clicks; what was known of another view is dropped."""
        looking = []
        for state, extents in zip(states, self.mask_extents(states), strict=True):
            region, frame = state.region, Frame.whole(state.image.size)
            if self.zoom_in is not None:
                stale = self.options.quirk("stale_region")
                region, frame = look(self.zoom_in, state.image.size, state.clicks, extents, state.region, stale)
            view = self.view_of(frame)
            same = state.view == view
            looking.append(
                replace(
                    state,
                    region=region,
                    view=view,
                    encoding=state.encoding if same else None,
                    network_state=state.network_state if same else None,
                )
            )
        return looking

    def mask_extents(self, states: Sequence[SessionState]) -> list[np.ndarray | None]:
        """(H + W,) `filled_lines` of what the zoom-in takes for the object; one wait for the device for all states.

        None without an answer of the network or a zoom-in.
        """
        if self.zoom_in is None:
            return [None] * len(states)
        found = [
            None
            if state.prediction is None or isinstance(state.prediction, InitialMask)
            else self.zoom_lines(state, self.zoom_in.probability)
            for state in states
        ]
        known = [lines for lines in found if lines is not None]
        read = iter(torch.cat(known).cpu().split([len(lines) for lines in known])) if known else iter(())
        return [None if lines is None else next(read).numpy() for lines in found]

    def view_of(self, frame: Frame) -> View:
        """What the network sees of a zoomed frame: all of it, unless the options limit its size."""
        limit = self.options.longest_side
        return View((frame,) if limit is None else (frame, limit_longest_side(frame.size, limit)))

    def encode(self, states: Sequence[SessionState]) -> list[SessionState]:
        """The states with the encoding of their view.

        `start` runs once, for the views that no session on the same image has encoded yet.
        """
        fresh: dict[tuple[int, Any], SessionState] = {}
        held: list[Encoding] = []  # until every state that needs one has it: images do not keep them alive
        for state in states:
            known = state.encoding or state.image.encodings.get(view_of(state).key)
            if known is None:
                fresh.setdefault((id(state.image), view_of(state).key), state)
            else:
                held.append(known)
        if fresh:
            views = [view_of(state) for state in fresh.values()]
            images = self._through_views([state.image.pixels for state in fresh.values()], views)
            with self.context():
                started = self.network.start(images)
            pieces = split_state(started, len(images), len(views))
            for state, view, piece in zip(fresh.values(), views, pieces, strict=True):
                held.append(Encoding(piece))
                state.image.remember(view, held[-1])
        return [
            replace(state, encoding=state.encoding or state.image.encodings[view_of(state).key]) for state in states
        ]

    def network_input(self, state: SessionState) -> Any:
        """The state that the network's next step goes on from: what the last one left, or the encoding."""
        if state.network_state is not None or state.encoding is None:
            return state.network_state
        return state.encoding.network_state

    def previous(self, state: SessionState) -> MaskPrediction | None:
        """What was answered last, of which the network is shown the chosen mask with the next click; None: nothing."""
        return state.prediction

    def previous_in_view(self, state: SessionState, view: View) -> Tensor:
        """(1, h, w) probability of the mask that the network is shown with the next click."""
        prediction = self.previous(state)
        if prediction is None:
            return torch.zeros((1, *view.size), device=self.device)
        return prediction.seen_in(state.chosen, view)

    def merge(self, logits: Tensor, score: Tensor | None, extras: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Views of each session into one answer: mean of the logits and of the scores, candidate by candidate.

        Args:
            logits: (B, V, K, h, w), V = 2 with the mirrored view second, or 1 without flip.
            score: (B, V, K) or None.
            extras: what else the network answered, for B * V rows.

        Returns:
            logits (B, K, h, w) and score (B, K) or None.
        """
        merged = average_flip(logits) if logits.shape[1] == 2 else logits[:, 0]
        return merged, None if score is None else score.float().mean(dim=1)

    def make_prediction(self, logits: Tensor, probability: Tensor, view: View) -> ViewPrediction:
        """What a session keeps of the network's answer (K, h, w) in a view."""
        return ViewPrediction(probability, view)

    def zoom_lines(self, state: SessionState, level: float) -> Tensor:
        """(H + W,) `filled_lines` of the last answer's mask, as the zoom-in finds it: what is larger than `level`."""
        assert state.prediction is not None  # `mask_extents` asks for no other
        return state.prediction.filled_lines(state.chosen, level)

    def _predict_group(self, states: Sequence[SessionState]) -> list[SessionState]:
        """States whose views have the same size."""
        states = self.encode(states)
        prediction, network_states = self._run_network(states)
        per_session = (len(states), 2 if self.options.flip else 1)
        # logits (B, V, K, h, w) and score (B, V, K) of the views; then (B, K, h, w) and (B, K) of the sessions
        logits = prediction.logits.float().unflatten(0, per_session)
        score = None if prediction.score is None else prediction.score.unflatten(0, per_session)
        logits, score = self.merge(logits, score, prediction.extras)
        probability = logits.sigmoid()
        answered = []
        if prediction.valid is None:
            best = [0] * len(states) if score is None else score.argmax(dim=1).tolist()
            picks: list[Any] = [slice(None)] * len(states)
        else:
            best, picks = best_of_valid(prediction.valid.unflatten(0, per_session).all(dim=1), score)
        for row, (state, pick) in enumerate(zip(states, picks, strict=True)):
            answered.append(
                replace(
                    state,
                    prediction=self.make_prediction(logits[row][pick], probability[row][pick], view_of(state)),
                    score=None if score is None else score[row][pick],
                    chosen=best[row],
                    network_state=network_states[row],
                )
            )
        return answered

    def _run_network(self, states: Sequence[SessionState]) -> tuple[Prediction, list[Any]]:
        """Prediction for (B * V) rows, a view and its mirror next to each other; and each session's network state."""
        views = [view_of(state) for state in states]
        clicks = self._clicks(states, views)
        previous = self._previous_in_views(states, views)
        inputs = [self.network_input(state) for state in states]
        joined = join_states(inputs)
        with self.context():
            answered = self.network.answer(joined, clicks, previous, self._has_previous(states))
        prediction = checked(answered, len(previous), views[0].size)
        if prediction.state is None or prediction.state is joined:
            return prediction, inputs
        return prediction, split_state(prediction.state, len(previous), len(states))

    def _has_previous(self, states: Sequence[SessionState]) -> Tensor:
        """(B * V,) bool on the device: a mask was answered or given before."""
        has_previous = torch.tensor([state.prediction is not None for state in states])
        return has_previous.repeat_interleave(2 if self.options.flip else 1).to(self.device)

    def _through_views(self, maps: Sequence[Tensor], views: Sequence[View]) -> Tensor:
        """Maps (C, H, W) of full images through their views: (B * V, C, h, w) in the network's dtype."""
        return self._with_mirrors([view.image(one) for view, one in zip(views, maps, strict=True)])

    def _previous_in_views(self, states: Sequence[SessionState], views: Sequence[View]) -> Tensor:
        """`previous_in_view` of all: (B * V, 1, h, w) in the network's dtype."""
        return self._with_mirrors([self.previous_in_view(*pair) for pair in zip(states, views, strict=True)])

    def _with_mirrors(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (C, h, w) of views, each followed by its mirror image where the options ask for one."""
        seen = torch.stack(list(maps))
        if self.options.flip:
            seen = torch.stack([seen, seen.flip(-1)], dim=1).flatten(0, 1)
        return seen.to(self.dtype)

    def _clicks(self, states: Sequence[SessionState], views: Sequence[View]) -> Clicks:
        """(B * V, N) clicks in pixels of the views, on the device; float32 unless the network has `exact_clicks`."""
        clicks = clicks_in_views(exact_clicks(states, self.options.net_clicks_limit), views)
        if self.options.flip:
            mirrored = flip_clicks(clicks, views[0].size[1])
            yx = torch.stack([clicks.yx, mirrored.yx], dim=1).flatten(0, 1)
            clicks = Clicks(yx, clicks.label.repeat_interleave(2, dim=0))
        if not self.network.exact_clicks or self.device.type == "mps":  # which has no float64
            clicks = Clicks(clicks.yx.float(), clicks.label)
        return clicks.to(self.device)

    def _check_finite(self, states: Sequence[SessionState]) -> None:
        """Raises ValueError where an answer that has to be looked at holds NaN or Inf."""
        lowered = self.options.precision == "16-mixed"
        suspects = [state for state in states if lowered or len(state.clicks) == 1]
        sums = [answer.sum(state.chosen) for state in suspects if (answer := self.previous(state)) is not None]
        if not sums or torch.stack(sums).isfinite().all():
            return
        reason = "the network's weights are broken: train with a lower learning rate, from an earlier checkpoint"
        if lowered:
            reason = "with precision 16-mixed values end at 65504: evaluate with precision bf16-mixed or 32-true"
        raise ValueError(f"the network returned NaN or Inf; {reason}")


def predictor_for(
    network: nn.Module,
    options: InferenceOptions | None = None,
    view_scale: float = 1.0,
    device: torch.device | str | None = None,
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Predictor:
    """The predictor that the network brings (its attribute `predictor`), or the default one; arguments as there.

    Raises:
        TypeError: no network, or no options.
        ValueError: no such device.
    """
    network = as_click_network(network)
    if not isinstance(options, (InferenceOptions, type(None))):
        raise TypeError(
            f"options are a {type(options).__name__}, expected a clicklab.inference.options.InferenceOptions"
        )
    module, _, name = network.predictor.rpartition(".")
    kind: type[Predictor] = getattr(import_module(module), name)
    return kind(network, options, view_scale, device, context)


@contextmanager
def in_eval_mode(network: nn.Module) -> Generator[None]:
    """Every part in eval mode; afterwards each in its own again, frozen norms frozen."""
    training = [part for part in network.modules() if part.training]
    if training:
        network.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def view_of(state: SessionState) -> View:
    """The view of a state that `Predictor.look` has given one."""
    assert state.view is not None
    return state.view


def exact_clicks(states: Sequence[SessionState], limit: int | None = None) -> Clicks:
    """The first clicks of dialogues in float64, as official code hands them to its networks.

    After zooming a rim pixel of a disk may depend on it: 448 x 448 of an image of 480 x 640 moves most coordinates to
    fifths, and of the clicks there 1 in 40 has a pixel at a distance of 5 exactly (1.4 and 4.8).
    """
    clicks = Clicks.from_list([state.clicks[:limit] for state in states])
    return Clicks(clicks.yx.double(), clicks.label)


@contextmanager
def _lowered(
    context: Callable[[], AbstractContextManager[Any]], device_type: str, dtype: torch.dtype
) -> Generator[None]:
    """`context` and autocast together."""
    with context(), torch.autocast(device_type, dtype=dtype):
        yield
