"""Lockstep play: the batch size changes nothing, robots stop when they should, broken objects pass through."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toys import Analytic, Staged, drawn_object

from clicklab.evaluation import lockstep
from clicklab.evaluation.lockstep import LockstepPlayer
from clicklab.evaluation.object_result import ObjectResult
from clicklab.evaluation.play import play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.predictor import Predictor
from clicklab.inference.session import Session
from clicklab.records import EvaluationObject, Prediction, SkippedObject
from clicklab.views.zoom_in import ZoomIn

SMALL = ZoomIn((48, 48))
SIZES = [(60, 80), (80, 60), (120, 90), (61, 83), (64, 64), (200, 220)]


def objects(count):
    return [drawn_object(seed, SIZES[seed % len(SIZES)]) for seed in range(count)]


def facts(results):
    return sorted((r.index, r.name, r.clicks, r.ious) for r in results)


@pytest.mark.parametrize("zoom_in", [SMALL, ZoomIn(40, skip_clicks=1)])
@pytest.mark.parametrize("network", [Analytic, Staged])
def test_the_batch_size_changes_nothing(network, zoom_in):
    protocol = EvaluationProtocol(max_clicks=5, zoom_in=zoom_in)
    alone, four, sixteen = (
        facts(play(Predictor(network(), protocol), objects(10), batch_size=size)) for size in (1, 4, 16)
    )
    assert alone == four == sixteen and len(alone) == 10


def test_one_batched_call_per_round_and_late_objects_fill_the_gaps():
    network = Analytic()
    done = list(
        play(Predictor(network, EvaluationProtocol(max_clicks=4, target_iou=1.01, zoom_in=SMALL)), objects(6), 3)
    )
    assert len(done) == 6
    assert network.calls == [6] * 8  # 3 objects with their mirror images, 2 x 4 rounds


def test_large_views_go_through_a_cpu_one_after_the_other():
    network = Analytic()
    done = list(
        play(
            Predictor(network, EvaluationProtocol(max_clicks=2, target_iou=1.01, zoom_in=ZoomIn((448, 448)))),
            objects(3),
            3,
        )
    )
    assert len(done) == 3
    assert network.calls == [2] * 6


def test_clicks_are_those_of_a_session_played_by_hand():
    protocol, item = EvaluationProtocol(max_clicks=4, target_iou=1.01, zoom_in=SMALL), objects(3)[2]
    (result,) = play(Predictor(Analytic(), protocol), [item])
    session = Session(Predictor(Analytic(), protocol))
    session.set_image(item.image)
    for (y, x, label), iou in zip(result.clicks, result.ious, strict=True):
        mask, known = session.add_click(y, x, bool(label)), item.target != -1
        union = (mask | (item.target == 1)) & known
        assert iou == pytest.approx((mask & (item.target == 1)).sum() / union.sum(), abs=1e-7)
    assert result.clicks[0][2] == 1 and item.target[result.clicks[0][:2]] == 1


def test_an_object_stops_at_its_target_but_not_before_the_first_clicks():
    item = objects(1)[0]
    (free,) = play(Predictor(Analytic(), EvaluationProtocol(max_clicks=8, target_iou=1.01, zoom_in=SMALL)), [item])
    reach = float(np.max(free.ious)) - 1e-6
    expected = next(k for k, iou in enumerate(free.ious, start=1) if iou >= reach)
    (stopped,) = play(
        Predictor(Analytic(), EvaluationProtocol(max_clicks=8, thresholds=(reach,), zoom_in=SMALL)), [item]
    )
    assert stopped.ious == free.ious[:expected]
    later = EvaluationProtocol(max_clicks=8, min_clicks=8, thresholds=(reach,), zoom_in=SMALL)
    assert next(iter(play(Predictor(Analytic(), later), [item]))).ious == free.ious


def test_unplayable_objects_pass_through_with_their_reason():
    fine, broken = objects(2)
    empty = replace(broken, target=np.zeros_like(broken.target))
    cut = replace(broken, target=broken.target[:-1])
    missing = SkippedObject("x", 1, 7, "unreadable")
    done = list(
        play(Predictor(Analytic(), EvaluationProtocol(max_clicks=2, zoom_in=SMALL)), [empty, missing, cut, fine])
    )
    reasons = [outcome.reason for outcome in done if isinstance(outcome, SkippedObject)]
    assert reasons[:2] == ["empty mask", "unreadable"] and "mask is (79, 60)" in reasons[2]
    assert [outcome.name for outcome in done if isinstance(outcome, ObjectResult)] == [fine.name]


def test_an_initial_mask_is_where_the_robot_starts():
    item = objects(6)[5]
    given = item.target == 1
    given[:20, :20] = True
    item = replace(item, initial_mask=given)
    protocol = EvaluationProtocol(max_clicks=1, zoom_in=SMALL, initial_masks=True)
    (result,) = play(Predictor(Analytic(), protocol), [item])
    y, x, label = result.clicks[0]
    assert label == 0 and y < 20 and x < 20


def test_a_player_keeps_objects_until_there_is_no_room():
    player = LockstepPlayer(Predictor(Analytic(), EvaluationProtocol(max_clicks=2, target_iou=1.01, zoom_in=SMALL)), 3)
    first, second, third = objects(3)
    assert player.submit(first) == [] and player.submit(second) == []
    assert len(player.submit(third)) == 3
    assert list(player.drain()) == []


def test_wall_time_is_shared_out():
    results = list(play(Predictor(Analytic(), EvaluationProtocol(max_clicks=3, zoom_in=SMALL)), objects(4), 2))
    assert all(result.seconds > 0 for result in results)


def test_numbers_of_another_type_reach_a_network_of_that_type():
    class Half(Staged):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))

        def step(self, state, clicks, prev_mask):
            assert state["image"].dtype == prev_mask.dtype == torch.bfloat16 and clicks.yx.dtype == torch.float32
            return super().step(state, clicks, prev_mask)

    (result,) = play(Predictor(Half(), EvaluationProtocol(max_clicks=2, target_iou=1.01, zoom_in=SMALL)), objects(1))
    assert len(result.ious) == 2


def test_impossible_batch_size():
    with pytest.raises(ValueError, match="batch_size"):
        list(play(Predictor(Analytic()), [], 0))


def test_a_lower_precision_reaches_the_network_and_is_recorded():
    seen = []

    class Asks(Analytic):
        def forward(self, image, clicks, prev_mask):
            seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
            return super().forward(image, clicks, prev_mask)

    for precision, wanted in (("32-true", None), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)):
        protocol = EvaluationProtocol(max_clicks=1, zoom_in=SMALL, precision=precision)
        list(play(Predictor(Asks(), protocol), objects(1)))
        assert seen.pop() is wanted
        assert protocol.to_dict()["precision"] == precision
    with pytest.raises(ValueError, match="precision is 'half', expected 32-true or bf16-mixed or 16-mixed"):
        EvaluationProtocol(precision="half")


def test_a_network_that_outgrows_float16_is_an_error():
    class Large(Analytic):
        def forward(self, image, clicks, prev_mask):
            answer = super().forward(image, clicks, prev_mask)
            large = torch.full((4, 4), 300.0)
            return replace(answer, logits=answer.logits + 0 * (large @ large).sum())

    for precision in ("bf16-mixed", "16-mixed"):
        predictor = Predictor(Large(), EvaluationProtocol(max_clicks=2, zoom_in=SMALL, precision=precision))
        if precision == "bf16-mixed":
            assert len(list(play(predictor, objects(2)))) == 2
        else:
            with pytest.raises(ValueError, match="NaN or Inf; with precision 16-mixed"):
                list(play(predictor, objects(2)))


def test_every_round_is_shared_out_over_its_objects(monkeypatch):
    """A clock that is one second later whenever it is read, which is when play begins and after every round."""
    ticks = count()
    monkeypatch.setattr(lockstep, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    objects = [drawn_object(seed, (60, 80)) for seed in range(3)]
    results = list(
        play(Predictor(Analytic(), EvaluationProtocol(max_clicks=3, target_iou=1.01, zoom_in=SMALL)), objects, 2)
    )
    seconds = {result.index: (result.seconds, result.first_seconds) for result in results}
    # two objects for three rounds, then the third one alone; the clock is read once more as it enters
    assert seconds == {0: (1.5, 0.5), 1: (1.5, 0.5), 2: (3.0, 1.0)}


class Fixed(torch.nn.Module):
    """Answers the first nine of ten pixels of a row, whatever is clicked."""

    zoom_in = None
    flip = False

    def forward(self, image, clicks, prev_mask):
        logits = torch.full_like(prev_mask, -9.0)
        logits[..., 4, 5:14] = 9.0
        return Prediction(logits)


def test_an_iou_that_equals_the_threshold_has_reached_it():
    target = np.zeros((20, 30), np.int8)
    target[4, 5:15] = 1
    item = EvaluationObject(np.zeros((20, 30, 3), np.uint8), target, "row", 1, 0)
    (result,) = play(Predictor(Fixed(), EvaluationProtocol(max_clicks=5, thresholds=(0.9,))), [item])
    assert result.ious == [np.float32(0.9)]


class Faint(Fixed):
    """As `Fixed`, with probabilities of 0.4 for the row."""

    def forward(self, image, clicks, prev_mask):
        return Prediction(super().forward(image, clicks, prev_mask).logits.clamp_max(math.log(0.4 / 0.6)))


def test_boundary_iou_is_that_of_the_mask():
    target = np.zeros((20, 30), np.int8)
    target[4, 5:15] = 1
    item = EvaluationObject(np.zeros((20, 30, 3), np.uint8), target, "row", 1, 0)
    protocol = EvaluationProtocol(max_clicks=1, mask_threshold=0.3, boundary_iou=True)
    (result,) = play(Predictor(Faint(), protocol), [item])
    assert result.ious == [np.float32(0.9)] and result.boundary_ious == [0.9]  # rows are all outline
