"""FocalClick's two passes for many sessions in one go: coarse mask of the target crop, a closer look at the change.

Source: Chen et al., "FocalClick", CVPR 2022; docs/methods/focalclick.md#inference. VTMR adds a pass of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from clicklab.inference.mask_prediction import InitialMask, MaskPrediction, ViewPrediction
from clicklab.inference.options import InferenceOptions
from clicklab.inference.patched import FocusPatch, MergedPrediction, PatchedPrediction
from clicklab.inference.predictor import Predictor, exact_clicks, view_of
from clicklab.inference.state import SessionState
from clicklab.nn.network_state import join_states
from clicklab.nn.two_pass import TwoPassNetwork
from clicklab.records import Prediction
from clicklab.views.boxes import Box
from clicklab.views.focus_crop import focus_crop
from clicklab.views.frames import Frame, Size, View, clicks_in_frames, clicks_in_views

FOCUS_RATIO = 1.4
FOCUS_THRESHOLD = 0.49
LATE = 10  # after so many clicks only the focus crop changes


class FocusPredictor(Predictor):
    """Answers clicks with a `clicklab.nn.coarse_to_fine.CoarseToFine`.

    A session that starts from a given mask is corrected part by part (progressive merge): its mask is binary, while
    the network goes on seeing its own probabilities.

    Args:
        network: answers in two passes.
        options: the settings. `longest_side` has no meaning, because all views have one size.
        view_scale: not obeyed: officially the views have one size on all datasets.
        device: where the sessions live; default: where the network is.
        context: entered round every call of the network, for example autocast.

    Raises:
        ValueError: the options ask for flip averaging, which two passes have no use for.
    """

    network: TwoPassNetwork

    def __init__(
        self,
        network: TwoPassNetwork,
        options: InferenceOptions | None = None,
        view_scale: float = 1.0,
        device: torch.device | str | None = None,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        del view_scale
        super().__init__(network, options, 1.0, device, context)
        if self.options.flip:
            raise ValueError("flip is True, but a network of two passes has no mirrored view: leave it out")

    @property
    def view_size(self) -> Size:
        """(h, w) of the coarse and of the focus views."""
        size = self.network.image_size if self.zoom_in is None else self.zoom_in.target_size
        return (size, size) if isinstance(size, int) else size

    def predict_once(self, states: Sequence[SessionState]) -> list[SessionState]:
        """As `Predictor.predict_once`: one forward of the segmentor and one of the refiner for all states."""
        looking = self.encode(self.look(states))
        return [self._merged(state, mask) for state, mask in zip(looking, self.masks(looking), strict=True)]

    def masks(self, states: Sequence[SessionState]) -> list[PatchedPrediction]:
        """The mask of every dialogue after both passes, before any merge with a given mask.

        Args:
            states: with their clicks, view and encoding; `previous` gives the mask that the network is shown.
        """
        coarse = self._coarse(states)
        probability = coarse.logits.float().sigmoid()  # (B, 1, h, w)
        first = [ViewPrediction(one, view_of(state)) for one, state in zip(probability, states, strict=True)]
        boxes = [self._focus(state, mask.map(0)) for state, mask in zip(states, first, strict=True)]
        refined = self._refined(states, boxes, coarse)
        masks = []
        for state, mask, box, logits in zip(states, first, boxes, refined, strict=True):
            ground = self.previous(state) if len(state.clicks) > LATE else mask
            masks.append(PatchedPrediction.over(ground, FocusPatch(logits, box)))
        return masks

    def previous(self, state: SessionState) -> MaskPrediction:
        """As `Predictor.previous`; where a given mask is corrected, not the mask that the user sees."""
        if isinstance(state.prediction, MergedPrediction):
            return state.prediction.own
        return InitialMask(state.probability_tensor) if state.prediction is None else state.prediction

    def view_of(self, frame: Frame) -> View:
        """The target crop at the one size of all views."""
        full = Box.full(frame.size)
        return View((frame, Frame(frame.size, full, self.view_size, full)))

    def _coarse(self, states: Sequence[SessionState]) -> Prediction:
        """The segmentor's answer for all dialogues."""
        views = [view_of(state) for state in states]
        clicks = clicks_in_views(exact_clicks(states, self.options.net_clicks_limit), views)
        previous = self._previous_in_views(states, views)
        joined = join_states([self.network_input(state) for state in states])
        with self.context():
            return self.network.step(joined, clicks.to(self.device), previous)

    def _focus(self, state: SessionState, mask: Tensor) -> Box:
        """The focus crop in the full image, from the coarse probability (H, W)."""
        seen = mask.logit() if self.options.quirk("focus_on_logits") else mask
        before = self.previous(state).map(0) > FOCUS_THRESHOLD
        everything_else = self.options.quirk("unchanged_click")
        click = state.clicks[-1][:2]
        target = target_box(view_of(state))
        return focus_crop(seen > FOCUS_THRESHOLD, before, click, target, FOCUS_RATIO, everything_else)

    def _refined(self, states: Sequence[SessionState], boxes: Sequence[Box], coarse: Prediction) -> Tensor:
        """(B, 1, h, w) refined logits of the focus views. As officially a limit of clicks does not hold here."""
        frames = [Frame(state.image.size, box, self.view_size, box) for state, box in zip(states, boxes, strict=True)]
        images = [frame.image(state.image.pixels) for state, frame in zip(states, frames, strict=True)]
        clicks = clicks_in_frames(exact_clicks(states), frames)
        targets = [target_box(view_of(state)) for state in states]
        places = [inside(target, box, self.view_size) for target, box in zip(targets, boxes, strict=True)]
        with self.context():
            return self.network.refine(
                torch.stack(images).to(self.dtype),
                clicks.to(self.device),
                coarse,
                torch.tensor(places, device=self.device),
            ).logits.float()

    def _merged(self, state: SessionState, mask: PatchedPrediction) -> SessionState:
        """The answered state: the network's mask itself, or the given mask with the change at the last click."""
        earlier = state.prediction
        prediction: MaskPrediction = mask
        if isinstance(earlier, (InitialMask, MergedPrediction)):
            again = isinstance(earlier, MergedPrediction) and earlier.clicks == state.clicks  # another pass
            before = earlier.before if again else state.probability_tensor > self.mask_threshold
            everything_else = self.options.quirk("unchanged_click")
            prediction = MergedPrediction(mask, before, state.clicks, self.mask_threshold, everything_else)
        return replace(state, prediction=prediction)


def target_box(view: View) -> Box:
    """The part of the full image that a view's answer is put back to."""
    outermost = view.frames[0]
    assert isinstance(outermost, Frame)  # as `FocusPredictor.view_of` makes it
    return outermost.paste_box


def inside(target: Box, focus: Box, size: Size) -> tuple[float, float, float, float]:
    """The focus crop in the coarse view of `size` (h, w): x0, y0, x1, y1, ends outside."""
    y0, y1 = _inside(target.y0, target.size[0], focus.y0, focus.y1 + 1, size[0])
    x0, x1 = _inside(target.x0, target.size[1], focus.x0, focus.x1 + 1, size[1])
    return x0, y0, x1, y1


def _inside(origin: int, length: int, first: int, end: int, side: int) -> tuple[float, float]:
    scale = side / length
    return max((first - origin) * scale, 0.0), min((end - origin) * scale, float(side))
