"""A person's session runs without the quirks of official code; an evaluation keeps them."""

import numpy as np
import pytest
import torch
from focus_toys import TwoPass

from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.options import InferenceOptions
from clicklab.inference.predictor import predictor_for
from clicklab.inference.session import Session
from clicklab.nn.network import ClickNetwork
from clicklab.records import Prediction
from clicklab.views.zoom_in import ZoomIn

IMAGE = np.full((96, 96, 3), 90, np.uint8)


class Empty(TwoPass):
    """Never finds anything."""

    def step(self, state, clicks, prev_mask):
        return Prediction(torch.full_like(prev_mask, -9.0), state=state)


def after_an_empty_mask(session):
    session.set_image(IMAGE)
    session.set_mask(np.zeros((96, 96), bool))
    return session.add_click(40, 40, positive=False)


def test_a_negative_click_on_an_empty_mask_does_not_flood_focalclick():
    for session in (Session(Empty()), Session(predictor_for(Empty()))):
        assert not after_an_empty_mask(session).any()
    official = Session(predictor_for(Empty(), EvaluationProtocol()))
    assert after_an_empty_mask(official).sum() == 9216  # as the official code's progressive merge


class Vanishing(ClickNetwork):
    """A square at the first click, nothing at the second, everything at the third."""

    zoom_in = ZoomIn(64, skip_clicks=1, min_crop_size=10)
    flip = False

    def step(self, state, clicks, prev_mask):
        logits = torch.full_like(prev_mask, 9.0 if clicks.slots == 3 else -9.0)
        if clicks.slots == 1:
            logits[..., 10:30, 10:30] = 9.0
        return Prediction(logits, state=state)


@pytest.mark.parametrize(("options", "filled"), [(None, 9216), (InferenceOptions(preset="official"), 29 * 29)])
def test_a_vanished_mask_of_ritm_does_not_come_back_at_its_old_region(options, filled):
    session = Session(Vanishing(), options)
    session.set_image(IMAGE)
    session.add_click(20, 20)
    assert not session.add_click(21, 21).any()
    assert abs(int(session.add_click(70, 70).sum()) - filled) <= 2 * 29  # the old region: 1.4 times 20 pixels


def test_the_presets_of_sessions_and_evaluations():
    assert InferenceOptions().preset == "clean" and EvaluationProtocol().preset == "official"
