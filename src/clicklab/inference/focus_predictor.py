"""FocalClick's two passes for many sessions in one go: coarse mask of the target crop, a closer look at the change.

Source: Chen et al., "FocalClick", CVPR 2022; docs/methods/focalclick.md#inference. VTMR adds a pass of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clicklab.inference.mask_prediction import Answer, Given, Seen
from clicklab.inference.options import InferenceOptions
from clicklab.inference.patched import Correction, FocusPatch, Painting
from clicklab.inference.predictor import Predictor, exact_clicks
from clicklab.nn.network_state import join_states
from clicklab.nn.two_pass import TwoPassNetwork
from clicklab.records import Prediction
from clicklab.views.boxes import Box
from clicklab.views.focus_crop import focus_crop
from clicklab.views.frames import Frame, Size, View, clicks_in_frames, clicks_in_views

if TYPE_CHECKING:
    from clicklab.inference.session import Session

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

    def answer_once(self, sessions: Sequence[Session]) -> None:
        """As `Predictor.answer_once`: one forward of the segmentor and one of the refiner for all sessions."""
        views = []
        for session, lines in zip(sessions, self.mask_extents(sessions), strict=True):
            session.turns[-1], view = self.look(session, lines)
            views.append(view)
        for session, painting in zip(sessions, self.masks(sessions, views), strict=True):
            self._settle(session, painting)

    def masks(self, sessions: Sequence[Session], views: Sequence[View]) -> list[Painting]:
        """The mask of every session after both passes, before any merge with a given mask.

        Args:
            sessions: with their clicks; `previous` gives the mask that the network is shown.
            views: what the segmentor sees; `target_box` tells which part of the image the answer belongs to.
        """
        coarse = self._coarse(sessions, views)
        probability = coarse.logits.float().sigmoid()
        first = [Seen(seen, view) for seen, view in zip(probability, views, strict=True)]
        boxes = [self._focus(*triple) for triple in zip(sessions, views, [one.map(0) for one in first], strict=True)]
        refined = self._refined(sessions, views, boxes, coarse)
        answers = []
        for session, seen, box, logits in zip(sessions, first, boxes, refined, strict=True):
            ground = self._previous(session) if len(session.clicks) > LATE else seen
            answers.append(Painting.over(ground, FocusPatch(logits, box)))
        return answers

    def previous(self, session: Session) -> Tensor:
        """As `Predictor.previous`; where a given mask is corrected, not the mask that the user sees."""
        return self._previous(session).map(0)

    def view_of(self, frame: Frame) -> View:
        """The target crop at the one size of all views."""
        full = Box.full(frame.size)
        return View((frame, Frame(frame.size, full, self.view_size, full)))

    def _coarse(self, sessions: Sequence[Session], views: Sequence[View]) -> Prediction:
        """The segmentor's answer for all sessions; their states are kept in their turns."""
        limit = self.options.net_clicks_limit
        clicks = clicks_in_views(exact_clicks(sessions, limit), views)
        previous = self._seen([self.previous(session)[None] for session in sessions], views)
        states = self._states(sessions, views)
        with self.context():
            coarse = self.network.step(join_states(states), clicks.to(self.device), previous)
        for session, state in zip(sessions, states, strict=True):
            session.turns[-1] = replace(session.turn, state=state)
        return coarse

    def _previous(self, session: Session) -> Answer:
        answer = session.turn.answer
        if isinstance(answer, Correction):
            return answer.own
        return Given(session.map) if answer is None else answer

    def _focus(self, session: Session, view: View, mask: Tensor) -> Box:
        """The focus crop in the full image, from the coarse probability (H, W)."""
        seen = mask.logit() if self.options.quirk("focus_on_logits") else mask
        before = self.previous(session) > FOCUS_THRESHOLD
        everything_else = self.options.quirk("unchanged_click")
        click = session.clicks[-1][:2]
        return focus_crop(seen > FOCUS_THRESHOLD, before, click, target_box(view), FOCUS_RATIO, everything_else)

    def _refined(
        self, sessions: Sequence[Session], views: Sequence[View], boxes: Sequence[Box], coarse: Prediction
    ) -> Tensor:
        """(B, 1, h, w) refined logits of the focus views. As officially a limit of clicks does not hold here."""
        frames = [Frame(session.size, box, self.view_size, box) for session, box in zip(sessions, boxes, strict=True)]
        images = [frame.image(session.pixels) for session, frame in zip(sessions, frames, strict=True)]
        clicks = clicks_in_frames(exact_clicks(sessions), frames)
        places = [inside(target_box(view), box, self.view_size) for view, box in zip(views, boxes, strict=True)]
        with self.context():
            return self.network.refine(
                torch.stack(images).to(self.dtype),
                clicks.to(self.device),
                coarse,
                torch.tensor(places, device=self.device),
            ).logits.float()

    def _settle(self, session: Session, painting: Painting) -> None:
        """The answered turn: the network's mask itself, or the given mask with the change at the last click."""
        turn, earlier = session.turn, session.turn.answer
        answer: Answer = painting
        if isinstance(earlier, (Given, Correction)):
            again = isinstance(earlier, Correction) and earlier.clicks == turn.clicks  # another pass for this click
            before = earlier.before if again else session.map > self.mask_threshold
            everything_else = self.options.quirk("unchanged_click")
            answer = Correction(painting, before, turn.clicks, self.mask_threshold, everything_else)
        session.turns[-1] = replace(turn, answer=answer)


def target_box(view: View) -> Box:
    """The part of the full image that a view's answer is put back to."""
    return view.frames[0].paste_box


def inside(target: Box, focus: Box, size: Size) -> tuple[float, float, float, float]:
    """The focus crop in the coarse view of `size` (h, w): x0, y0, x1, y1, ends outside."""
    y0, y1 = _inside(target.y0, target.size[0], focus.y0, focus.y1 + 1, size[0])
    x0, x1 = _inside(target.x0, target.size[1], focus.x0, focus.x1 + 1, size[1])
    return x0, y0, x1, y1


def _inside(origin: int, length: int, first: int, end: int, side: int) -> tuple[float, float]:
    scale = side / length
    return max((first - origin) * scale, 0.0), min((end - origin) * scale, float(side))
