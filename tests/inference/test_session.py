"""Sessions: undo, reset, choose, existing masks, reuse of states, bad input."""

from __future__ import annotations

import warnings
from decimal import Decimal

import numpy as np
import pytest
import torch
from torch import nn
from toys import Analytic, Staged, drawn_object, tensors_of

from clicklab.clicks.maps import disk_maps
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.options import InferenceOptions
from clicklab.inference.predictor import Predictor
from clicklab.inference.session import Session
from clicklab.methods import method_package
from clicklab.records import Clicks, Prediction
from clicklab.views.zoom_in import ZoomIn

PROTOCOL = EvaluationProtocol(zoom_in=ZoomIn((64, 64)))
OBJECT = drawn_object(0)
CLICKS = [(100, 100, True), (160, 190, True), (20, 30, False), (30, 300, False)]


def session_of(network: nn.Module, protocol: EvaluationProtocol = PROTOCOL) -> Session:
    session = Session(Predictor(network, protocol))
    session.set_image(OBJECT.image)
    return session


def full_maps(answer: object, size: tuple[int, int]) -> int:
    """Number of maps of the image's size that an answer holds."""
    maps = {tensor.data_ptr(): tensor for tensor in tensors_of(answer) if tensor.shape[-2:] == size}
    return sum(tensor.numel() // (size[0] * size[1]) for tensor in maps.values())


def test_undo_restores_everything():
    session = session_of(Staged())
    assert not session.mask.any()
    masks = [session.add_click(*click) for click in CLICKS]
    turns = list(session.history)
    session.undo()
    session.undo()
    assert session.state.network_state is turns[2].network_state and len(session.clicks) == 2
    np.testing.assert_array_equal(session.mask, masks[1])
    replayed = [session.add_click(*click) for click in CLICKS[2:]]
    np.testing.assert_array_equal(replayed, masks[2:])
    assert session.state.region == turns[4].region
    for _ in CLICKS:
        session.undo()
    assert not session.mask.any()
    with pytest.raises(ValueError, match="nothing to undo"):
        session.undo()


def test_history_keeps_candidates_as_the_network_saw_them():
    """Seven maps of a large photo for each of many clicks would fill the memory. Undo brings them back to the bit."""
    session = session_of(Staged(candidates=3))
    shown = []
    for click in CLICKS:
        session.add_click(*click)
        shown.append(session.candidates)
    maps = [
        0 if turn.prediction is None else full_maps(turn.prediction, OBJECT.target.shape) for turn in session.history
    ]
    assert maps == [0] * len(CLICKS) + [3]
    assert session.history[1].prediction.probability.shape == (3, 64, 64)
    for candidates in shown[-2::-1]:
        session.undo()
        np.testing.assert_array_equal(session.candidates, candidates)
    session.choose(0)
    np.testing.assert_array_equal(session.mask, shown[0][0] > 0.49)


def test_a_candidate_is_brought_to_the_size_of_the_photo_when_somebody_asks():
    """Of seven maps of a large photo one is looked at, and the others cost the most of a click's time."""
    session = session_of(Staged(candidates=3))
    session.add_click(*CLICKS[0])
    session.add_click(*CLICKS[1])
    assert full_maps(session.state.prediction, OBJECT.target.shape) == 1
    shown = session.probability
    other = session.choose(0)
    assert full_maps(session.state.prediction, OBJECT.target.shape) == 2
    np.testing.assert_array_equal(session.candidates[2], shown)
    np.testing.assert_array_equal(session.candidates[0] > 0.49, other)
    np.testing.assert_array_equal(session.mask, other)


def test_reset_and_a_new_image_start_anew():
    session = session_of(Analytic())
    first = session.add_click(*CLICKS[0])
    session.reset()
    assert not session.mask.any() and session.clicks == ()
    np.testing.assert_array_equal(session.add_click(*CLICKS[0]), first)
    session.set_image(OBJECT.image[:200, :150].copy())
    assert session.mask.shape == (200, 150) and not session.mask.any()


def test_candidates_and_choice():
    session = session_of(Staged(candidates=3))
    best = session.add_click(*CLICKS[0])
    assert session.candidates.shape == (3, *OBJECT.target.shape)
    assert session.scores.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(best, session.candidates[2] > 0.49)
    other = session.choose(0)
    assert other.sum() > best.sum()
    np.testing.assert_array_equal(session.probability, session.candidates[0])
    after_choice = session.add_click(*CLICKS[1])
    session.undo()
    np.testing.assert_array_equal(session.mask, other)  # the choice is part of what undo restores
    session.choose(2)
    assert (session.add_click(*CLICKS[1]) != after_choice).any()  # and the network reads the chosen mask
    for index in (3, -1, 0.5):
        with pytest.raises(ValueError, match=f"no candidate {index}"):
            session.choose(index)
    assert session.mask.any()


def test_an_existing_mask_is_the_previous_mask_of_the_next_click():
    session, plain = session_of(Analytic()), session_of(Analytic())
    session.set_mask(OBJECT.target == 1)
    np.testing.assert_array_equal(session.mask, OBJECT.target == 1)
    assert (session.add_click(*CLICKS[0]) != plain.add_click(*CLICKS[0])).any()
    session.undo()
    np.testing.assert_array_equal(session.mask, OBJECT.target == 1)
    session.undo()
    assert not session.mask.any()


def test_arrays_given_out_and_taken_in_are_the_callers_own():
    """On a CPU they were the session's memory: writing into one changed the mask, and what undo went back to."""
    session = session_of(Staged(candidates=3))
    given = np.zeros(OBJECT.target.shape, dtype=np.float32)
    session.set_mask(given)
    given[:] = 1
    assert not session.mask.any()
    session.add_click(*CLICKS[0])
    for name in ("probability", "candidates", "scores", "mask"):
        kept = getattr(session, name).copy()
        getattr(session, name)[:] = 0
        np.testing.assert_array_equal(getattr(session, name), kept)


def test_a_read_only_image_is_taken_without_a_warning():
    """As `np.asarray` of a PIL image gives it."""
    image = OBJECT.image.copy()
    image.flags.writeable = False
    session = Session(Predictor(Analytic(), PROTOCOL))
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # otherwise one test of a process sees it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            session.set_image(image)
    finally:
        torch.set_warn_always(always)
    np.testing.assert_allclose(session.pixels[1].numpy(), image[..., 1] / 255, atol=1e-6)


def test_start_runs_only_when_the_view_changes():
    network = Staged()
    session = session_of(network, EvaluationProtocol(zoom=False))
    for click in CLICKS:
        session.add_click(*click)
    assert network.started == [2] and network.stepped == [2, 2, 2, 2]


def test_start_and_step_equal_forward():
    staged, whole = session_of(Staged()), session_of(Analytic())
    for click in CLICKS:
        np.testing.assert_array_equal(staged.add_click(*click), whole.add_click(*click))


class Disks(nn.Module):
    """Notes how many pixels the disk of the first click has in the view and in its mirror image."""

    def __init__(self, exact: bool) -> None:
        super().__init__()
        self.exact_clicks = exact
        self.pixels: list[list[int]] = []
        self.types: set[torch.dtype] = set()

    def forward(self, image: torch.Tensor, clicks: Clicks, prev_mask: torch.Tensor) -> Prediction:
        self.types.add(clicks.yx.dtype)
        self.pixels.append(disk_maps(clicks, (448, 448), 5.0)[:, 0].sum((1, 2)).int().tolist())
        return Prediction(torch.zeros_like(prev_mask))


@pytest.mark.parametrize(
    ("click", "official"),
    [
        ((21, 126), [80, 80]),  # float32 clicks: 79 in the view
        ((351, 204), [80, 80]),  # the same
        ((174, 406), [80, 80]),  # 79 in the mirror image
        ((66, 132), [79, 79]),
        ((399, 352), [79, 79]),
    ],
)
def test_disks_have_the_official_pixels_where_the_rim_is_a_near_tie(click, official):
    """480 x 640 seen at 448 x 448: coordinates in fifths, pixels at a distance of 5 but for rounding."""
    network = Disks(exact=True)
    session = Session(Predictor(network))
    session.set_image(np.zeros((480, 640, 3), np.uint8))
    session.add_click(*click)
    assert network.pixels == [official]


def test_float64_clicks_are_for_networks_that_ask_for_them():
    for exact, wanted in ((True, torch.float64), (False, torch.float32)):
        session = session_of(network := Disks(exact), EvaluationProtocol(max_clicks=1))
        session.add_click(100, 100)
        assert network.types == {wanted}
    for method in ("ritm", "simpleclick", "icmformer", "piclick"):  # whose official code zooms in float64
        assert method_package(method).build({"variant": "mini"}).exact_clicks


@pytest.mark.parametrize(("y", "x"), [(-1, 5), (5, -0.5), (260, 5), (5, 330), (float("nan"), 5), (5, float("inf"))])
def test_clicks_outside_the_image_are_refused(y, x):
    session = session_of(Analytic())
    with pytest.raises(ValueError, match="outside the image of height 260 and width 330"):
        session.add_click(y, x)
    assert session.clicks == ()


def test_a_failing_network_leaves_the_session_as_it_was():
    class Failing(nn.Module):
        def forward(self, image, clicks, prev_mask):
            raise RuntimeError("out of memory")

    session = session_of(Failing())
    with pytest.raises(RuntimeError):
        session.add_click(*CLICKS[0])
    assert session.clicks == () and not session.mask.any()


def test_a_network_in_training_answers_as_in_eval_mode_and_learns_nothing():
    class Learning(Analytic):
        def __init__(self):
            super().__init__()
            self.norm, self.dropout = nn.BatchNorm2d(3), nn.Dropout(0.5)

        def forward(self, image, clicks, prev_mask):
            return super().forward(self.dropout(self.norm(image)), clicks, prev_mask)

    network = Learning()
    network.dropout.eval()
    masks = [session_of(network).add_click(*CLICKS[0]) for _ in range(2)]
    assert network.training and network.norm.training and not network.dropout.training
    assert not network.norm.running_mean.any()  # an answer is no training step
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], session_of(Learning().eval()).add_click(*CLICKS[0]))


def test_bad_input_is_named():
    session = Session(Predictor(Analytic()))
    with pytest.raises(ValueError, match="set_image first"):
        session.add_click(1, 1)
    with pytest.raises(ValueError, match="uint8 RGB"):
        session.set_image(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"uint8 RGB, got \(0, 5, 3\)"):
        session.set_image(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="got a list"):
        session.set_image([[1, 2, 3]])
    session.set_image(OBJECT.image)
    with pytest.raises(ValueError, match="same height and width"):
        session.set_mask(np.zeros((3, 3), bool))
    with pytest.raises(ValueError, match="between 0 and 1"):
        session.set_mask(np.full((260, 330), 255, np.uint8))
    for mask, name in (([[True]], "list"), (np.zeros((260, 330), complex), "complex128")):
        with pytest.raises(ValueError, match=f"bools or probabilities, got {name}"):
            session.set_mask(mask)


def test_redo_brings_back_what_undo_took():
    session = session_of(Staged(candidates=3))
    with pytest.raises(ValueError, match="nothing to redo"):
        session.redo()
    masks = [session.mask] + [session.add_click(*click) for click in CLICKS]
    other = session.choose(0)
    for mask in masks[-2::-1]:
        np.testing.assert_array_equal(session.undo(), mask)
    for mask in [*masks[1:-1], other]:  # the choice comes back too
        np.testing.assert_array_equal(session.redo(), mask)
    session.undo()
    session.add_click(*CLICKS[0])
    with pytest.raises(ValueError, match="nothing to redo"):
        session.redo()


def test_a_session_of_a_network_is_one_of_its_predictor():
    plain, made = Session(Analytic(), InferenceOptions(zoom_in=ZoomIn((64, 64)))), session_of(Analytic())
    plain.set_image(OBJECT.image)
    for click in CLICKS:
        np.testing.assert_array_equal(plain.add_click(*click), made.add_click(*click))
    with pytest.raises(TypeError, match="made with its own"):
        Session(made.predictor, InferenceOptions())


def test_objects_of_one_image_share_its_encodings():
    network = Staged()
    session = session_of(network)
    first = session.add_click(*CLICKS[0])
    other = session.new_object()
    np.testing.assert_array_equal(other.add_click(*CLICKS[0]), first)
    other.add_click(*CLICKS[1])
    assert len(session.clicks) == 1 and len(other.clicks) == 2
    started = list(network.started)
    other.reset()
    session.new_object().add_click(*CLICKS[0])
    other.add_click(*CLICKS[0])
    assert network.started == started  # the first view of an image is kept
    assert started[0] == 2 and len(started) <= 2
    with pytest.raises(ValueError, match="set_image first"):
        Session(network).new_object()


def test_clicks_in_the_last_half_pixel_are_inside():
    session = session_of(Analytic())
    session.add_click(259.5, 329.75)
    assert session.clicks == ((259.5, 329.75, 1),)


@pytest.mark.parametrize("wrong", [Decimal("3.5"), torch.tensor(3.0), torch.tensor([3, 4]), "3", None, True, [3]])
def test_coordinates_are_numbers(wrong):
    session = session_of(Analytic())
    for place in ((wrong, 5), (5, wrong)):
        with pytest.raises(ValueError, match="two numbers: got y="):
            session.add_click(*place)
    assert session.clicks == ()


def test_a_click_is_positive_or_not():
    session = session_of(Analytic())
    for wrong in ("no", None, 2, 0.5, torch.tensor(True)):
        with pytest.raises(ValueError, match=r"positive is .*, expected True or False"):
            session.add_click(5, 5, positive=wrong)
    session.add_click(np.int64(5), np.float32(5.5), positive=np.bool_(False))
    session.add_click(5, 5, 1)
    assert [label for *_, label in session.clicks] == [0, 1]
