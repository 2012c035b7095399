"""From clicks to masks for many sessions in one go: view, one batched step per view size, back to the full image."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from clicklab.device import usable_device
from clicklab.inference.cascade import refine
from clicklab.inference.mask_prediction import Given, Seen
from clicklab.inference.options import InferenceOptions
from clicklab.inference.state import SessionState
from clicklab.nn.fold_norms import fold_norms
from clicklab.nn.network import as_click_network
from clicklab.nn.network_state import join_states, split_state
from clicklab.records import Clicks, Prediction
from clicklab.views.boxes import filled_lines, flip_clicks
from clicklab.views.frames import Frame, Size, View, average_flip, clicks_in_views, limit_longest_side, look

if TYPE_CHECKING:
    from clicklab.inference.session import Session

# Pixels of views in one call of the network on a CPU: one view of 448 x 448 and its mirror. Larger batches outgrow the
# caches (ViT-xtiny, HRNet18s: 1.2 times as long per view in batches of 16 as in pairs); small views still go together.
CPU_PIXELS = 2 * 448 * 448
LOWERED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Predictor:
    """Answers clicks as the official predictors of RITM and SimpleClick do. It has no memory of its own.

    A method that merges views or candidates in its own way overrides `merge`; one that looks elsewhere overrides
    `view_of`; one whose zoom-in goes by something else than probabilities overrides `answered` and `remembered`; one
    with a pipeline of its own overrides `answer_once`. A network names its predictor in the class attribute
    `predictor`, and `predictor_for` finds it; with the class attribute `exact_clicks` it gets clicks in float64 (see
    `exact_clicks`).

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
    def answer(self, sessions: Sequence[Session]) -> None:
        """Replaces the last turn of every session by the answered one, refined as often as the options say.

        Raises:
            ValueError: the network's answer is no `Prediction` of the right shape, or no number. Numbers are looked at
                after the first click of a dialogue, and in float16, whose range a network may outgrow later on, after
                every click.
        """
        with in_eval_mode(self.network):
            self.answer_once(sessions)
            refine(sessions, self.answer_once, self.options)
        lowered = self.options.precision == "16-mixed"
        suspects = sessions if lowered else [session for session in sessions if len(session.clicks) == 1]
        if suspects and not torch.stack([self.previous(session).sum() for session in suspects]).isfinite().all():
            reason = "the network's weights are broken: train with a lower learning rate, from an earlier checkpoint"
            if lowered:
                reason = "with precision 16-mixed values end at 65504: evaluate with precision bf16-mixed or 32-true"
            raise ValueError(f"an answer is no number; {reason}")

    def answer_once(self, sessions: Sequence[Session]) -> None:
        """One pass for every session: its last turn is replaced; the network runs once per view size (CPU: in pieces).

        May come again with the same clicks (cascade-forward refinement); the turn then holds the earlier pass's map.
        """
        groups: dict[Size, list[tuple[Session, View]]] = {}
        for session, lines in zip(sessions, self.mask_extents(sessions), strict=True):
            turn, view = self.look(session, lines)
            session.turns[-1] = turn
            groups.setdefault(view.size, []).append((session, view))
        for size, group in groups.items():
            most = max(1, CPU_PIXELS // (2 * size[0] * size[1])) if self.device.type == "cpu" else len(group)
            for first in range(0, len(group), most):
                self._answer_group(*zip(*group[first : first + most], strict=True))

    def mask_extents(self, sessions: Sequence[Session]) -> list[np.ndarray | None]:
        """(H + W,) `filled_lines` of what the zoom-in takes for the object; one wait for the device for all sessions.

        None without an answer of the network or a zoom-in.
        """
        if self.zoom_in is None:
            return [None] * len(sessions)
        found = [
            None
            if session.turn.answer is None or isinstance(session.turn.answer, Given)
            else filled_lines(self.remembered(session) > self.zoom_in.probability)
            for session in sessions
        ]
        known = [lines for lines in found if lines is not None]
        read = iter(torch.cat(known).cpu().split([len(lines) for lines in known])) if known else iter(())
        return [None if lines is None else next(read).numpy() for lines in found]

    def look(self, session: Session, lines: np.ndarray | None) -> tuple[SessionState, View]:
        """The turn with the region and view for its clicks; the state is dropped when the view has changed.

        Args:
            session: with the click to answer.
            lines: its `mask_extents`.
        """
        turn, size = session.turn, session.size
        region, frame = turn.region, Frame.whole(size)
        if self.zoom_in is not None:
            stale = self.options.quirk("stale_region")
            region, frame = look(self.zoom_in, size, turn.clicks, lines, turn.region, stale)
        view = self.view_of(frame)
        return replace(turn, region=region, view=view, state=turn.state if turn.view == view else None), view

    def view_of(self, frame: Frame) -> View:
        """What the network sees of a zoomed frame: all of it, unless the options limit its size."""
        limit = self.options.longest_side
        return View((frame,) if limit is None else (frame, limit_longest_side(frame.size, limit)))

    def previous(self, session: Session) -> Tensor:
        """(H, W) probability of the mask that the network is shown with the next click: its own last answer."""
        return session.map

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

    def answered(self, logits: Tensor, probability: Tensor, view: View) -> Seen:
        """What a session keeps of the network's answer (K, h, w) in a view."""
        return Seen(probability, view)

    def remembered(self, session: Session) -> Tensor:
        """(H, W) map of the last answer's mask that the zoom-in goes by."""
        return session.map

    def _answer_group(self, sessions: Sequence[Session], views: Sequence[View]) -> None:
        """Sessions whose views have the same size."""
        prediction, states = self._run_network(sessions, views)
        per_session = (len(sessions), 2 if self.options.flip else 1)
        score = None if prediction.score is None else prediction.score.unflatten(0, per_session)
        logits, score = self.merge(prediction.logits.float().unflatten(0, per_session), score, prediction.extras)
        best = [0] * len(sessions) if score is None else score.argmax(dim=1).tolist()
        probability = logits.sigmoid()
        for row, (session, view) in enumerate(zip(sessions, views, strict=True)):
            session.turns[-1] = replace(
                session.turn,
                answer=self.answered(logits[row], probability[row], view),
                score=None if score is None else score[row],
                chosen=best[row],
                state=states[row],
            )

    def _run_network(self, sessions: Sequence[Session], views: Sequence[View]) -> tuple[Prediction, list[Any]]:
        """Prediction for (B * V) rows, a view and its mirror next to each other; and the state of each session."""
        clicks = self._clicks(sessions, views)
        size = views[0].size
        previous = self._seen([self.previous(session)[None] for session in sessions], views)
        states = self._states(sessions, views)
        joined = join_states(states)
        with self.context():
            answered = self.network.answer(joined, clicks, previous, self._has_previous(sessions))
        prediction = checked(answered, len(previous), size)
        if prediction.state is not None and prediction.state is not joined:
            states = split_state(prediction.state, len(previous), len(sessions))
        return prediction, states

    def _states(self, sessions: Sequence[Session], views: Sequence[View]) -> list[Any]:
        """The state of each session; `start` runs once, for those whose view is new."""
        states = [session.turn.state for session in sessions]
        fresh = [row for row, state in enumerate(states) if state is None]
        if fresh:
            images = self._seen([sessions[row].pixels for row in fresh], [views[row] for row in fresh])
            with self.context():
                started = self.network.start(images)
            for row, state in zip(fresh, split_state(started, len(images), len(fresh)), strict=True):
                states[row] = state
        return states

    def _has_previous(self, sessions: Sequence[Session]) -> Tensor:
        """(B * V,) bool on the device: a mask was answered or given before."""
        has_previous = torch.tensor([session.turn.answer is not None for session in sessions])
        return has_previous.repeat_interleave(2 if self.options.flip else 1).to(self.device)

    def _seen(self, maps: Sequence[Tensor], views: Sequence[View]) -> Tensor:
        """Maps (C, H, W) of full images through their views: (B * V, C, h, w) in the network's number type."""
        seen = torch.stack([view.image(one) for view, one in zip(views, maps, strict=True)])
        if self.options.flip:
            seen = torch.stack([seen, seen.flip(-1)], dim=1).flatten(0, 1)
        return seen.to(self.dtype)

    def _clicks(self, sessions: Sequence[Session], views: Sequence[View]) -> Clicks:
        """(B * V, N) clicks in pixels of the views, on the device; float32 unless the network has `exact_clicks`."""
        clicks = clicks_in_views(exact_clicks(sessions, self.options.net_clicks_limit), views)
        if self.options.flip:
            mirrored = flip_clicks(clicks, views[0].size[1])
            yx = torch.stack([clicks.yx, mirrored.yx], dim=1).flatten(0, 1)
            clicks = Clicks(yx, clicks.label.repeat_interleave(2, dim=0))
        if not self.network.exact_clicks or self.device.type == "mps":  # which has no float64
            clicks = Clicks(clicks.yx.float(), clicks.label)
        return clicks.to(self.device)


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
        raise TypeError(f"options are a {type(options).__name__}, wanted a clicklab.inference.options.InferenceOptions")
    module, _, name = network.predictor.rpartition(".")
    kind: type[Predictor] = getattr(import_module(module), name)
    return kind(network, options, view_scale, device, context)


def checked(prediction: Any, rows: int, size: Size) -> Prediction:
    """What a network answered to `rows` images of `size` (h, w). Raises ValueError where it is not as promised."""
    if not isinstance(prediction, Prediction):
        raise ValueError(f"the network answered a {type(prediction).__name__}, wanted: clicklab.Prediction(logits)")
    logits, score = prediction.logits, prediction.score
    shape = tuple(getattr(logits, "shape", ()))
    if not isinstance(logits, Tensor) or len(shape) != 4 or shape[1] < 1 or (shape[0], *shape[2:]) != (rows, *size):
        raise ValueError(
            f"the network answered logits {type(logits).__name__} {shape}, wanted: a tensor ({rows}, K, {size[0]}, "
            f"{size[1]}), K masks for each image, at its size"
        )
    if score is None and shape[1] > 1:
        raise ValueError(
            f"the network answered {shape[1]} masks for each image without a score, which says which of them is the "
            f"mask; wanted: clicklab.Prediction(logits, score), score a tensor {shape[:2]}, or one mask"
        )
    if score is not None and not (isinstance(score, Tensor) and score.shape == shape[:2]):
        found = f"{type(score).__name__} {tuple(getattr(score, 'shape', ()))}"
        raise ValueError(f"the network answered score {found}, wanted: a tensor {shape[:2]}, one number for each mask")
    return prediction


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


def exact_clicks(sessions: Sequence[Session], limit: int | None = None) -> Clicks:
    """The sessions' first clicks in float64, as official code hands them to its networks.

    After zooming a rim pixel of a disk may depend on it: 448 x 448 of an image of 480 x 640 moves most coordinates to
    fifths, and of the clicks there 1 in 40 has a pixel at a distance of 5 exactly (1.4 and 4.8).
    """
    clicks = Clicks.from_list([session.clicks[:limit] for session in sessions])
    return Clicks(clicks.yx.double(), clicks.label)


@contextmanager
def _lowered(
    context: Callable[[], AbstractContextManager[Any]], device_type: str, dtype: torch.dtype
) -> Generator[None]:
    """`context` and autocast together."""
    with context(), torch.autocast(device_type, dtype=dtype):
        yield
