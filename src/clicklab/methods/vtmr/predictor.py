"""VTMR's late clicks: FocalClick's answer and that of a target-aware zoom, mixed more and more in favour of the latter.

Source: VTMR, "Target-Aware Image Zooming", inference; cards/vtmr.md, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from clicklab.clicks.zoom_warp import TargetZoom
from clicklab.evaluation.focus_predictor import FocusPredictor, target_box
from clicklab.evaluation.predictor import exact_clicks
from clicklab.evaluation.session import Session
from clicklab.evaluation.taiz import TargetFrame
from clicklab.evaluation.transforms import Frame, View
from clicklab.records import Clicks

ROUNDS = 20  # T of the paper; not `max_clicks`, so that a shorter evaluation is the beginning of a longer one
LIMIT = 12.0  # of logits: where a probability is 0 or 1 they would be infinite, and 0 times infinity no number


class VTMRPredictor(FocusPredictor):
    """`FocusPredictor`, and from click 10 on one more coarse pass over the target crop, zoomed in on the target.

    A network without `target_zoom` is asked as FocalClick is.
    """

    def masks(self, sessions: Sequence[Session], views: Sequence[View]) -> list[Tensor]:
        """As `FocusPredictor.masks`, with the logits of both passes mixed inside the target crop."""
        answers = super().masks(sessions, views)
        rule = getattr(self.network, "target_zoom", None)
        late = [row for row, session in enumerate(sessions) if zoom_share(len(session.clicks)) > 0]
        if rule is None or not late:
            return answers
        zoomed = self._zoomed(rule, [sessions[row] for row in late], [views[row] for row in late], answers, late)
        for row, logits in zip(late, zoomed, strict=True):
            share, window = zoom_share(len(sessions[row].clicks)), target_box(views[row]).window
            answers[row][window] = torch.lerp(_logits(answers[row][window]), logits, share).sigmoid()
        return answers

    def _zoomed(
        self,
        rule: TargetZoom,
        sessions: Sequence[Session],
        views: Sequence[View],
        answers: list[Tensor],
        rows: list[int],
    ) -> list[Tensor]:
        """(h, w) logits of the coarse pass over each zoomed target crop, in pixels of the crop."""
        rule = replace(rule, size=self.view_size)
        images, clicks, masks, frames = [], [], [], []
        for session, view, row in zip(sessions, views, rows, strict=True):
            box = target_box(view)
            crop = Frame(session.size, box, box.size, box)
            mask = answers[row][box.window] > 0.5
            placed = crop.clicks(exact_clicks([session], self.protocol.net_clicks_limit))
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
            frame.back(logits.float())[0].clamp(-LIMIT, LIMIT)
            for frame, logits in zip(frames, prediction.logits, strict=True)
        ]


def zoom_share(click: int, rounds: int = ROUNDS) -> float:
    """How much of the answer to click `click` (from 1) comes from the zoom: none in the first half of T, then t / T."""
    return 0.0 if 2 * click < rounds else min(1.0, click / rounds)


def _logits(probability: Tensor) -> Tensor:
    return probability.logit().clamp(-LIMIT, LIMIT)
