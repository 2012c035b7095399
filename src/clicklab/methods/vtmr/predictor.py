"""VTMR's late clicks: FocalClick's answer and that of a target-aware zoom, mixed more and more in favour of the latter.

Source: VTMR, "Target-Aware Image Zooming", inference; docs/methods/vtmr.md#inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clicklab.inference.focus_predictor import FocusPredictor, target_box
from clicklab.inference.patched import Patch, PatchedPrediction
from clicklab.inference.predictor import exact_clicks, view_of
from clicklab.inference.state import SessionState
from clicklab.methods.vtmr.net import VTMRNet
from clicklab.records import Clicks
from clicklab.views.boxes import Box
from clicklab.views.frames import AnyFrame, Frame, View
from clicklab.views.warped_frame import TargetFrame
from clicklab.views.zoom_warp import TargetZoom

ROUNDS = 20  # T of the paper; not `max_clicks`, so that a shorter evaluation is the beginning of a longer one
LIMIT = 12.0  # of logits: where a probability is 0 or 1 they would be infinite, and 0 times infinity no number


@dataclass(frozen=True, eq=False)
class ZoomPatch(Patch):
    """The zoom's answer, mixed into the mask that it looked at.

    Attributes:
        logits: (1, h, w) float32 of the zoomed view.
        frame: from the target crop to that view.
        box: the target crop.
        share: how much of the mixture comes from the zoom, in (0, 1].
    """

    logits: Tensor
    frame: AnyFrame
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

    def masks(self, states: Sequence[SessionState]) -> list[PatchedPrediction]:
        """As `FocusPredictor.masks`, with the logits of both passes mixed inside the target crop."""
        masks = super().masks(states)
        rule = self._target_zoom
        late = [row for row, state in enumerate(states) if zoom_share(len(state.clicks)) > 0]
        if rule is None or not late:
            return masks
        patches = self._zoomed(rule, [states[row] for row in late], [masks[row] for row in late])
        for row, patch in zip(late, patches, strict=True):
            masks[row] = PatchedPrediction.over(masks[row], patch)
        return masks

    @property
    def _target_zoom(self) -> TargetZoom | None:
        """The network's late second look."""
        return self.network.target_zoom if isinstance(self.network, VTMRNet) else None

    def _zoomed(
        self, rule: TargetZoom, states: Sequence[SessionState], masks: Sequence[PatchedPrediction]
    ) -> list[ZoomPatch]:
        """The coarse pass over each zoomed target crop."""
        rule = replace(rule, size=self.view_size)
        views, shown, clicks = [], [], []
        for state, mask in zip(states, masks, strict=True):
            box = target_box(view_of(state))
            crop = Frame(state.image.size, box, box.size, box)
            placed = crop.clicks(exact_clicks([state], self.options.net_clicks_limit))
            filled = mask.map(0)[box.window] > 0.5  # (h, w) of the target crop
            frame = TargetFrame.towards(rule, filled, placed)
            views.append(View((crop, frame)))
            shown.append(frame.image(filled[None].float()))
            clicks.append(frame.clicks(placed))
        with self.context():
            prediction = self.network(
                self._through_views([state.image.pixels for state in states], views),
                Clicks.stack(clicks).to(self.device),
                torch.stack(shown).to(self.dtype),
            )
        return [
            ZoomPatch(logits, view.frames[1], target_box(view_of(state)), zoom_share(len(state.clicks)))
            for state, view, logits in zip(states, views, prediction.logits.float(), strict=True)
        ]


def zoom_share(click: int, rounds: int = ROUNDS) -> float:
    """How much of the answer to click `click` (from 1) comes from the zoom: none in the first half of T, then t / T."""
    return 0.0 if 2 * click < rounds else min(1.0, click / rounds)
