"""Networks of others behind the contract: real encoders, and states and objects that nobody here thought of."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toys import drawn_object

from clicklab.clicks.maps import disk_maps
from clicklab.evaluation.play import evaluate_objects
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.options import InferenceOptions
from clicklab.inference.predictor import predictor_for
from clicklab.inference.session import Session
from clicklab.nn.network import ClickNetwork, as_click_network
from clicklab.nn.network_state import PerSample
from clicklab.records import Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn

ENCODERS = ["tf_efficientnet_lite0", "densenet121", "repvit_m1", "regnetx_002", "mobilenetv3_small_050", "resnet18"]
OBJECT = drawn_object(0, (60, 80))
CLICKS = [(30, 40, True), (10, 10, False)]


class TimmNetwork(nn.Module):
    """A pretrained-style encoder of timm over image, clicks and mask, with a small head."""

    zoom_in = ZoomIn((64, 64))

    def __init__(self, name: str) -> None:
        super().__init__()
        self.encoder = timm.create_model(name, pretrained=False, features_only=True, in_chans=6)
        self.head = nn.Conv2d(self.encoder.feature_info.channels()[-1], 1, 1)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):  # as after a training: no norm is the identity
                nn.init.normal_(layer.running_mean, std=0.1)
                nn.init.uniform_(layer.running_var, 0.5, 2.0)

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        maps = disk_maps(clicks, tuple(image.shape[-2:]), 5.0)
        deep = self.encoder(torch.cat([image, maps, prev_mask], dim=1))[-1]
        return Prediction(F.interpolate(self.head(deep), image.shape[-2:], mode="bilinear"))


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_of_timm_answers_in_a_session_what_it_answers_alone(name):
    torch.manual_seed(0)
    network = TimmNetwork(name).eval()
    session = Session(network, InferenceOptions(flip=False, zoom_size=(64, 64)))
    session.set_image(np.ascontiguousarray(OBJECT.image[:60, :60]))
    session.add_click(30, 40)
    view = session.state.view
    image = view.image(session.pixels)[None]
    clicks = view.clicks(Clicks.from_list([[(30, 40, 1)]]))
    with torch.no_grad():
        alone = network(image, clicks, torch.zeros(1, 1, 64, 64)).logits.sigmoid()
    torch.testing.assert_close(view.back(alone[0]), torch.from_numpy(session.candidates))


class Uncopyable(nn.Module):
    """Holds a lock, which `copy.deepcopy` refuses, beside a convolution and its norm."""

    zoom_in = None

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.lock = nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1), threading.Lock()

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        with self.lock:
            return Prediction(self.norm(self.convolution(image)))


def test_a_network_that_cannot_be_copied_answers():
    session = Session(Uncopyable())
    session.set_image(OBJECT.image)
    assert session.add_click(30, 40).shape == (60, 80)


class Stateful(ClickNetwork):
    """Answers the mean colour that it noted in `start`, kept as `kind` says."""

    zoom_in = None
    flip = False

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def start(self, image: Tensor) -> object:
        means = image.mean(dim=(1, 2, 3))
        if self.kind == "numpy":
            return means.numpy()
        if self.kind == "per sample":
            return PerSample(means.numpy())
        return {"means": means, "scale": torch.ones(7)}

    def step(self, state: object, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        means = torch.as_tensor(np.array(state), dtype=torch.float32)
        return Prediction(means.logit()[:, None, None, None].expand_as(prev_mask).clone(), state=state)


def test_states_of_any_kind_stay_with_their_session():
    predictor = predictor_for(Stateful("per sample"))
    sessions = [Session(predictor) for _ in range(3)]
    for value, session in enumerate(sessions):
        session.set_image(np.full((20, 30, 3), 50 + 50 * value, np.uint8))
        session.add_click(5, 5)
    for session in reversed(sessions):
        session.add_click(6, 6)
    for value, session in enumerate(sessions):
        np.testing.assert_allclose(session.probability, (50 + 50 * value) / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "words"), [("numpy", "state is a ndarray"), ("unbatched", r"\['scale'\] is a tensor")]
)
def test_a_state_that_nobody_can_share_out_is_named(kind, words):
    session = Session(Stateful(kind))
    session.set_image(OBJECT.image)
    with pytest.raises(ValueError, match=words):
        session.add_click(5, 5)
    assert session.clicks == ()


class Weightless(nn.Module):
    """No weights; answers everything or nothing."""

    zoom_in = None

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        return Prediction(torch.full_like(prev_mask, self.logit))


def test_two_networks_without_weights_do_not_continue_each_other(tmp_path):
    protocol = EvaluationProtocol(max_clicks=1)
    evaluate_objects(Weightless(-9.0), {"A": [OBJECT]}, protocol, output=tmp_path)
    evaluate_objects(Weightless(-9.0), {"A": [OBJECT]}, protocol, output=tmp_path)
    with pytest.raises(ValueError, match="probe"):
        evaluate_objects(Weightless(9.0), {"A": [OBJECT]}, protocol, output=tmp_path)


class PrevAware(ClickNetwork):
    """Notes whether a mask was shown before."""

    zoom_in = None
    flip = False

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bool] = []

    def step(self, state: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        return Prediction(torch.full_like(prev_mask, -9.0))

    def answer(self, state: Tensor, clicks: Clicks, prev_mask: Tensor, has_prev: Tensor) -> Prediction:
        self.told += has_prev.tolist()
        return self.step(state, clicks, prev_mask)


def test_no_mask_yet_and_an_empty_mask_are_told_apart():
    network = PrevAware()
    session = Session(network)
    session.set_image(OBJECT.image)
    session.add_click(5, 5)
    session.add_click(6, 6)
    session.reset()
    session.set_mask(np.zeros((60, 80), bool))
    session.add_click(5, 5)
    assert network.told == [False, True, True]


class SomeValid(ClickNetwork):
    """Three masks, of which the last, with the best score, counts from the second click on only."""

    zoom_in = None
    flip = False
    num_candidates = 3

    def step(self, state: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        logits = torch.arange(3.0)[None, :, None, None].expand(len(state), 3, *state.shape[-2:]) - 1
        late = clicks.valid.sum(1, keepdim=True) > 1
        valid = torch.cat([torch.ones(len(state), 2, dtype=torch.bool), late], dim=1)
        return Prediction(logits.clone(), torch.arange(3.0).expand(len(state), 3).clone(), valid=valid)


def test_candidates_that_do_not_exist_for_a_click_are_not_shown():
    session = Session(SomeValid())
    session.set_image(OBJECT.image)
    session.add_click(5, 5)
    assert len(session.candidates) == len(session.scores) == 2 and session.probability.max() == 0.5
    session.add_click(6, 6)
    assert len(session.candidates) == 3 and session.probability.max() > 0.7


def test_settings_of_a_plain_module_may_be_given_or_are_its_own():
    module = TimmNetwork("resnet18")
    assert as_click_network(module).zoom_in == module.zoom_in
    assert as_click_network(module, zoom_in=None, num_candidates=3).num_candidates == 3
    with pytest.raises(TypeError, match="no setting zoom_im"):
        as_click_network(module, zoom_im=None)
    network = as_click_network(module)
    assert as_click_network(network) is network
