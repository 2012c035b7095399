"""Cascade-forward refinement: as the official predictor, alone or in a batch, through journal, ranks and sessions.

`golden/cascade.json` was made by CFR-ICL's own `get_predictor(net, "NoBRS", ...)`, its `predictor_params` cascade_step
(n + 1), cascade_adaptive and cascade_clicks (1, or 20 for all clicks), and `evaluate_sample` (IPP off, OpenCV 5.0,
torch 2.15) on the analytic network and drawn objects of `toys.py`: view 128 x 128, 6 clicks, target IoU 0.98. `passes`
counts its forwards.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from toys import Analytic, Staged, drawn_object

from clicklab.commands.main import main
from clicklab.evaluation.journal import Journal
from clicklab.evaluation.noc import NoCMetric
from clicklab.evaluation.object_result import from_tensors
from clicklab.evaluation.play import evaluate_objects, play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.results import table
from clicklab.inference.predictor import Predictor, predictor_for
from clicklab.inference.session import Session
from clicklab.records import Prediction
from clicklab.views.zoom_in import ZoomIn

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "cascade.json").read_text())
CASES = {
    "cfr1": {"cascade": 1},
    "acfr4": {"cascade": 4, "cascade_adaptive": True},
    "cfr2_all": {"cascade": 2, "cascade_once": False},
    "acfr4_all": {"cascade": 4, "cascade_adaptive": True, "preset": "clean"},
}
PLAIN = EvaluationProtocol(max_clicks=6, target_iou=0.98, zoom_in=ZoomIn((128, 128)))
OBJECTS = [drawn_object(seed) for seed in range(4)]


def played(protocol, batch_size=4, network=None):
    results = play(predictor_for(network or Analytic(), protocol), OBJECTS, batch_size)
    return sorted(results, key=lambda result: result.index)


def facts(results):
    return [replace(result, seconds=0.0) for result in results]


@pytest.mark.parametrize("case", CASES)
def test_as_officially(case):
    for ours, official in zip(played(replace(PLAIN, **CASES[case])), GOLDEN[case], strict=True):
        assert [list(click) for click in ours.clicks] == official["clicks"]
        assert ours.ious == pytest.approx(official["ious"], abs=1e-4)
        assert sum(1 + len(changed) for changed in ours.changes) == official["passes"]


@pytest.mark.parametrize("network", [Analytic, Staged])
def test_the_batch_size_changes_nothing_and_settled_sessions_leave_the_batch(network):
    protocol = replace(PLAIN, cascade=4, cascade_adaptive=True, cascade_once=False)
    alone, together = played(protocol, 1, network()), played(protocol, 4, network())
    assert facts(alone) == facts(together)
    asked = Analytic()
    played(protocol, 4, asked)
    passes = sum(1 + len(changed) for result in together for changed in result.changes)
    assert sum(asked.calls) == 2 * passes and max(asked.calls) == 8  # with mirror images, four sessions together


def test_what_a_pass_changed_is_counted_on_the_mask_of_the_full_image():
    session = Session(Predictor(Analytic(), replace(PLAIN, cascade=3)))
    by_hand = Session(Predictor(Analytic(), PLAIN))
    for one in (session, by_hand):
        one.set_image(OBJECTS[2].image)
    y, x, _ = played(PLAIN)[2].clicks[0]
    mask, expected = session.add_click(y, x), []
    shown = by_hand.add_click(y, x)
    for _ in range(3):
        by_hand.history[-1:] = by_hand.predictor.predict([by_hand.state])  # the same click again, from the mask before
        expected.append(int((by_hand.mask != shown).sum()))
        shown = by_hand.mask
    assert session.state.changes == tuple(expected) and any(expected)
    assert (mask == shown).all()
    session.add_click(0, 0, positive=False)
    assert session.state.changes == ()  # the official preset refines the first click only
    session.undo()
    assert session.state.changes == tuple(expected)


class Settling(torch.nn.Module):
    """Every pass adds a row of pixels to the mask, ten at most."""

    zoom_in = None

    def forward(self, image, clicks, prev_mask):
        rows = (prev_mask > 0.5).any(dim=-1, keepdim=True).sum(dim=-2, keepdim=True)
        filled = torch.arange(image.shape[-2])[:, None] <= rows.clamp(max=9)
        return Prediction(torch.where(filled, 9.0, -9.0).expand_as(prev_mask))


@pytest.mark.parametrize(("pixels", "changes"), [(29, (30,) * 9 + (0,)), (30, (30,))])
def test_adaptive_refinement_stops_where_no_more_than_the_threshold_changes(pixels, changes):
    protocol = EvaluationProtocol(cascade=12, cascade_adaptive=True, cascade_pixels=pixels)
    session = Session(predictor_for(Settling(), protocol))
    session.set_image(drawn_object(0, (40, 30)).image)
    session.add_click(5, 5)
    assert session.state.changes == changes


class Wavering(torch.nn.Module):
    """Everything at 0.45, then at 0.55 and back: above 0.3 nothing ever changes, above 0.49 all of it."""

    zoom_in = None

    def forward(self, image, clicks, prev_mask):
        low = prev_mask.amax(dim=(1, 2, 3), keepdim=True) != prev_mask.new_tensor(0.45).logit().sigmoid()
        return Prediction(torch.where(low, 0.45, 0.55).logit().expand_as(prev_mask))


def test_changes_are_counted_at_049_whatever_the_threshold_of_the_mask():
    session = Session(
        predictor_for(Wavering(), EvaluationProtocol(mask_threshold=0.3, cascade=3, cascade_adaptive=True))
    )
    session.set_image(drawn_object(0, (40, 30)).image)
    assert session.add_click(5, 5).all()
    assert session.state.changes == (1200, 1200, 1200)


def test_without_cascade_nothing_is_recorded():
    results = played(PLAIN)
    assert all(result.changes is None for result in results)
    assert facts(results) == facts(played(replace(PLAIN, cascade_once=False)))
    record = evaluate_objects(Analytic(), {"A": OBJECTS}, PLAIN)["datasets"]["A"]
    assert "passes" not in record and not any("changes" in row for row in record["objects"])


def test_results_and_journal_keep_the_changes(tmp_path):
    protocol = replace(PLAIN, cascade=2, cascade_once=False)
    results = evaluate_objects(Analytic(), {"A": OBJECTS}, protocol, output=tmp_path)
    saved = json.loads((tmp_path / "results.json").read_text())
    record = saved["datasets"]["A"]
    assert [row["changes"] for row in record["objects"]] == [result.changes for result in played(protocol)]
    assert record["passes"] == 3 and saved["protocol"]["cascade"] == 2
    assert "CFR-2 after every click" in table(results)
    settings = json.loads((tmp_path / "progress.jsonl").read_text().splitlines()[0])["settings"]
    finished = Journal(tmp_path / "progress.jsonl", settings).finished["A"]
    assert facts(finished[index] for index in range(4)) == facts(played(protocol))
    again = evaluate_objects(Analytic(), {"A": OBJECTS}, protocol, output=tmp_path)
    assert again["datasets"]["A"]["objects"] == record["objects"]
    with pytest.raises(ValueError, match="cascade: 2 there, 1 now"):
        evaluate_objects(Analytic(), {"A": OBJECTS}, replace(protocol, cascade=1), output=tmp_path)


@pytest.mark.parametrize("protocol", [replace(PLAIN, cascade=3, cascade_adaptive=True), PLAIN])
def test_rows_of_the_metric_come_back_with_the_changes(protocol):
    results = played(protocol)
    for given in (results, results[:1]):
        metric = NoCMetric(protocol)
        metric.update(given)
        back = from_tensors(metric.compute(), {result.index: result.name for result in given})
        assert [result.changes for result in back] == [result.changes for result in given]


def test_impossible_settings():
    with pytest.raises(ValueError, match="cascade is -1, expected 0"):
        EvaluationProtocol(cascade=-1)
    with pytest.raises(ValueError, match="cascade_adaptive is True, expected false, or cascade=N"):
        EvaluationProtocol(cascade_adaptive=True)
    with pytest.raises(ValueError, match="cascade_pixels is -5"):
        EvaluationProtocol(cascade=1, cascade_pixels=-5)


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ([], {}),
        (["--cfr", "2"], {"cascade": 2, "cascade_adaptive": False}),
        (["--a-cfr", "4", "--cfr-pixels", "7"], {"cascade": 4, "cascade_adaptive": True, "cascade_pixels": 7}),
        (["--cfr", "1", "--cfr-clicks", "all"], {"cascade": 1, "cascade_once": False}),
        (["--cfr", "1", "--cfr-clicks", "first", "--preset", "clean"], {"cascade_once": True, "preset": "clean"}),
    ],
)
def test_flags_of_the_command(flags, wanted, monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr("clicklab.checkpoint.load", lambda *args, **kwargs: Analytic())
    monkeypatch.setattr("clicklab.api.evaluate", lambda *args, **kwargs: asked.update(kwargs) or {"datasets": {}})
    monkeypatch.setattr("clicklab.evaluation.results.table", lambda results: "")
    assert main(["evaluate", "net.pth", "--data", "Shapes=", "--output", str(tmp_path), "--device", "cpu", *flags]) == 0
    assert asked.items() >= wanted.items()
    settings = {field.name: asked[field.name] for field in fields(EvaluationProtocol) if field.name in asked}
    assert EvaluationProtocol(**settings).refines(2) == (wanted.get("cascade_once") is False)
    assert asked["source"] == "net.pth"


def test_which_clicks_are_refined_is_no_question_without_refinement(tmp_path, capsys):
    assert main(["evaluate", "x", "--data", "Shapes=", "--output", str(tmp_path), "--cfr-clicks", "all"]) == 2
    assert "give --cfr N" in capsys.readouterr().err
