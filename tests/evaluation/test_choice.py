"""Networks with several candidates: chosen by score and by the ground truth, both reported."""

from dataclasses import replace

import numpy as np
import pytest
from toys import Analytic, Staged, drawn_object

from clicklab.evaluation.play import evaluate_objects, play
from clicklab.evaluation.predictor import Predictor
from clicklab.evaluation.protocol import Protocol
from clicklab.evaluation.report import table
from clicklab.evaluation.transforms import ZoomIn

SMALL = ZoomIn(target_size=(96, 96), skip_clicks=-1)


def played(choice, candidates=3, count=6):
    protocol = Protocol(max_clicks=3, target_iou=1.01, zoom_in=SMALL, choice=choice)
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
    protocol = Protocol(max_clicks=2, target_iou=1.01, zoom_in=SMALL)
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
    with pytest.raises(ValueError, match="choice is 'random', wanted: both, automatic or oracle"):
        Protocol(choice="random")
