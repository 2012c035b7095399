"""VTMR's late clicks: FocalClick's answer and that of a target-aware zoom, mixed more and more in favour of the latter.

Source: VTMR, "Target-Aware Image Zooming", inference; docs/methods/vtmr.md#inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clicklab.inference.focus_predictor import FocusPredictor, target_box
from clicklab.inference.patched import Painting
from clicklab.inference.predictor import exact_clicks
from clicklab.methods.vtmr.net import VTMRNet
from clicklab.records import Clicks
from clicklab.views.boxes import Box
from clicklab.views.frames import Frame, View
from clicklab.views.warped_frame import TargetFrame
from clicklab.views.zoom_warp import TargetZoom

if TYPE_CHECKING:
    from clicklab.inference.session import Session

ROUNDS = 20  # T of the paper; not `max_clicks`, so that a shorter evaluation is the beginning of a longer one
LIMIT = 12.0  # of logits: where a probability is 0 or 1 they would be infinite, and 0 times infinity no number


@dataclass(frozen=True, eq=False)
class ZoomPatch:
    """The zoom's answer, mixed into the mask that it looked at.

    Attributes:
        logits: (1, h, w) float32 of the zoomed view.
        frame: from the target crop to that view.
        box: the target crop.
        share: how much of the mixture comes from the zoom, in (0, 1].
    """

    logits: Tensor
    frame: TargetFrame
    box: Box
    share: float

    def paint(self, probability: Tensor) -> None:
        """As `clicklab.inference.patched.Patch.paint`."""
        part = probability[self.box.window]
        zoomed = self.frame.back(self.logits)[0].clamp(-LIMIT, LIMIT)
        probability[self.box.window] = torch.lerp(part.logit().clamp(-LIMIT, LIMIT), zoomed, self.share).sigmoid()


class VTMRPredictor(FocusPredictor):
    """`FocusPredictor`, and from click 10 on one more coarse pass over the target crop, zoomed in on the target.

    A network without `target_zoom` is asked as FocalClick is.
    """

    def masks(self, sessions: Sequence[Session], views: Sequence[View]) -> list[Painting]:
        """As `FocusPredictor.masks`, with the logits of both passes mixed inside the target crop."""
        answers = super().masks(sessions, views)
        rule = self._target_zoom
        late = [row for row, session in enumerate(sessions) if zoom_share(len(session.clicks)) > 0]
        if rule is None or not late:
            return answers
        zoomed = [sessions[row] for row in late], [views[row] for row in late], [answers[row] for row in late]
        patches = self._zoomed(rule, *zoomed)
        for row, patch in zip(late, patches, strict=True):
            answers[row] = Painting.over(answers[row], patch)
        return answers

    @property
    def _target_zoom(self) -> TargetZoom | None:
        """The network's late second look."""
        return self.network.target_zoom if isinstance(self.network, VTMRNet) else None

    def _zoomed(
        self, rule: TargetZoom, sessions: Sequence[Session], views: Sequence[View], answers: Sequence[Painting]
    ) -> list[ZoomPatch]:
        """The coarse pass over each zoomed target crop."""
        rule = replace(rule, size=self.view_size)
        images, clicks, masks, frames = [], [], [], []
        for session, view, answer in zip(sessions, views, answers, strict=True):
            box = target_box(view)
            crop = Frame(session.size, box, box.size, box)
            mask = answer.map(0)[box.window] > 0.5
            placed = crop.clicks(exact_clicks([session], self.options.net_clicks_limit))
            frame = TargetFrame.towards(rule, mask, placed)
            frames.append(frame)
            images.append(frame.image(crop.image(session.pixels)))
            masks.append(frame.image(mask[None].float()))
            clicks.append(frame.clicks(placed))
        with self.context():
            prediction = self.network(
                torch.stack(images).to(self.dtype),
                Clicks.stack(clicks).to(self.device),
                torch.stack(masks).to(self.dtype),
            )
        return [
            ZoomPatch(logits, frame, target_box(view), zoom_share(len(session.clicks)))
            for session, view, frame, logits in zip(sessions, views, frames, prediction.logits.float(), strict=True)
        ]


def zoom_share(click: int, rounds: int = ROUNDS) -> float:
    """How much of the answer to click `click` (from 1) comes from the zoom: none in the first half of T, then t / T."""
    return 0.0 if 2 * click < rounds else min(1.0, click / rounds)
