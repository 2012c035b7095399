"""Networks with several candidates: chosen by score and by the ground truth, both reported."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import Analytic, Staged, drawn_object

from clicklab.evaluation.play import evaluate_objects, play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.results import table
from clicklab.inference.predictor import Predictor
from clicklab.inference.session import Session
from clicklab.records import EvaluationObject, Prediction
from clicklab.views.boxes import filled_lines
from clicklab.views.zoom_in import ZoomIn

SMALL = ZoomIn(target_size=(96, 96), skip_clicks=-1)


def played(choice, candidates=3, count=6):
    protocol = EvaluationProtocol(max_clicks=3, target_iou=1.01, zoom_in=SMALL, choice=choice)
    objects = [replace(drawn_object(n, (120, 140)), index=n) for n in range(count)]
    return sorted(play(Predictor(Staged(candidates), protocol), objects), key=lambda result: result.index)


def test_the_oracle_takes_the_best_and_counts():
    """Candidate 0 is the plain answer, the score prefers the last one, which is shifted down."""
    automatic, oracle, single = played("automatic"), played("oracle"), played("oracle", candidates=1)
    assert not any(result.selections for result in automatic)
    rows = zip(automatic, oracle, single, strict=True)
    first = np.array([[result.ious[0] for result in row] for row in rows])
    assert (first[:, 1] >= first.max(1)).all()
    assert (first[:, 1] > first[:, 0]).any()
    assert 1 <= sum(result.selections for result in oracle) <= 18
    assert [result.ious for result in single] == [result.ious for result in played("automatic", candidates=1)]


def test_both_ways_stand_in_one_record():
    objects = [drawn_object(n, (120, 140)) for n in range(2)]
    objects = [replace(item, index=n) for n, item in enumerate(objects)]
    protocol = EvaluationProtocol(max_clicks=2, target_iou=1.01, zoom_in=SMALL)
    results = evaluate_objects(Staged(3), {"Drawn": objects}, protocol)
    assert list(results["datasets"]) == ["Drawn", "Drawn-oracle"]
    best, own = results["datasets"]["Drawn-oracle"], results["datasets"]["Drawn"]
    assert np.all(np.array(best["miou"][0]) >= own["miou"][0])
    assert best["selections"] == np.mean([row.get("selections", 0) for row in best["objects"]])
    assert "selections" not in own
    assert "picks" in table(results)
    assert list(evaluate_objects(Analytic(), {"Drawn": objects}, protocol)["datasets"]) == ["Drawn"]
    oracle = replace(protocol, choice="oracle")  # never under the plain name
    assert list(evaluate_objects(Staged(3), {"Drawn": objects}, oracle)["datasets"]) == ["Drawn-oracle"]
    assert list(evaluate_objects(Analytic(), {"Drawn": objects}, oracle)["datasets"]) == ["Drawn"]
    with pytest.raises(ValueError, match="choice is 'random', expected both, automatic or oracle"):
        EvaluationProtocol(choice="random")


class Pair(torch.nn.Module):
    """Two candidates: nothing, and a row of ten pixels; the score prefers one of them."""

    zoom_in = None
    flip = False
    candidates = 2

    def __init__(self, preferred):
        super().__init__()
        self.score = torch.eye(2)[preferred]

    def forward(self, image, clicks, prev_mask):
        logits = torch.full_like(prev_mask, -9.0).repeat(1, 2, 1, 1)
        logits[:, 1, 4, 5:15] = 9.0
        return Prediction(logits, self.score.expand(len(image), -1))


@pytest.mark.parametrize(("preferred", "selections"), [(0, 3), (1, 0)])
def test_selections_are_picks_other_than_the_networks_own(preferred, selections):
    target = np.zeros((20, 30), np.int8)
    target[4, 5:15], target[4, 18] = 1, 1
    item = EvaluationObject(np.zeros((20, 30, 3), np.uint8), target, "row", 1, 0)
    (result,) = play(Predictor(Pair(preferred), EvaluationProtocol(max_clicks=3, choice="oracle")), [item])
    assert (result.selections, result.ious) == (selections, [np.float32(10 / 11)] * 3)


def test_scores_are_means_over_view_and_mirror():
    score = torch.tensor([[[0.2, 0.9], [0.6, 0.1]]])
    logits = torch.rand(1, 2, 2, 3, 4)
    _, merged = Predictor(Analytic()).merge(logits, score, {})
    torch.testing.assert_close(merged, torch.tensor([[0.4, 0.5]]))


def test_the_zoom_looks_at_the_candidate_that_is_the_mask():
    session = Session(Predictor(Staged(3), EvaluationProtocol(zoom_in=SMALL)))
    session.set_image(drawn_object(0, (60, 80)).image)
    session.add_click(30, 40)
    for index in range(3):
        session.choose(index)
        (lines,) = session.predictor.mask_extents([session.state])
        assert torch.equal(torch.from_numpy(lines), filled_lines(torch.from_numpy(session.candidates[index]) > 0.5))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_both_ways_encode_every_image_once(batch_size):
    objects = [replace(drawn_object(n, (60, 80)), index=n) for n in range(3)]
    network = Staged(3)
    protocol = EvaluationProtocol(max_clicks=1, zoom_in=SMALL)
    results = evaluate_objects(network, {"Drawn": objects}, protocol, batch_size=batch_size)
    assert sum(network.started) == 3 * 2  # each with its mirror image
    assert sum(network.stepped) == 2 * 3 * 2
    for row, choice in (("Drawn", "automatic"), ("Drawn-oracle", "oracle")):
        alone = play(Predictor(Staged(3), replace(protocol, choice=choice)), objects)
        found = {result.index: result.ious for result in alone}
        assert [entry["ious"] for entry in results["datasets"][row]["objects"]] == [found[n] for n in range(3)]
