"""`click_spread`: where clicks may fall, against a brute-force reading; repeats, batches and the record."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from toys import Analytic

from clicklab.clicks.next_click import robot_click, spread_click
from clicklab.evaluation.metrics import noc
from clicklab.evaluation.play import evaluate_objects
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.results import table
from clicklab.records import EvaluationObject


def allowed_pixels(pred, target, clicked, spread):
    """(pixels that may be clicked, positive), by one distance transform of each error."""
    missed, excess = (target == 1) & ~pred, (target == 0) & pred
    depths = [distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1] * ~clicked for error in (missed, excess)]
    positive = depths[0].max() > depths[1].max()
    depth = depths[0] if positive else depths[1]
    return (depth > 0) & (depth >= (1 - spread) * depth.max() - 1e-6), positive


@pytest.mark.parametrize("spread", [0.3, 0.7, 1.0])
def test_clicks_fall_everywhere_where_they_may_and_nowhere_else(spread):
    rng = np.random.default_rng(0)
    target = (np.kron(rng.random((4, 5)) > 0.5, np.ones((6, 6))) > 0).astype(np.int8)
    target[:2] = -1
    pred = np.kron(rng.random((4, 5)) > 0.5, np.ones((6, 6))) > 0
    clicked = rng.random(pred.shape) < 0.05
    allowed, positive = allowed_pixels(pred, target, clicked, spread)
    count = int(allowed.sum())
    chances = (torch.arange(count, dtype=torch.float64) + 0.5) / count  # one in each pixel's share of [0, 1)
    batch = [torch.from_numpy(one)[None].expand(count, -1, -1) for one in (pred, target, clicked)]
    yx, label = spread_click(*batch, spread, chances)
    assert sorted(map(tuple, yx.long().tolist())) == list(map(tuple, np.argwhere(allowed)))
    assert (label == int(positive)).all()


def test_without_an_error_it_clicks_as_the_official_robot():
    target = torch.zeros(1, 5, 6)
    nothing = torch.zeros(1, 5, 6, dtype=torch.bool)
    chance = torch.tensor([0.7], dtype=torch.float64)
    ours = spread_click(nothing, target, nothing, 0.5, chance)
    official = robot_click(nothing, target, nothing)
    assert all(torch.equal(one, other) for one, other in zip(ours, official, strict=True))


def drawn_objects() -> list[EvaluationObject]:
    rng = np.random.default_rng(1)
    items = []
    for index in range(3):
        target = np.zeros((40, 50), dtype=np.int8)
        top, left = rng.integers(2, 15, 2)
        target[top : top + 20, left : left + 25] = 1
        image = np.where(target[..., None] == 1, 180, 70) + rng.integers(-40, 41, (40, 50, 3))
        items.append(EvaluationObject(image.clip(0, 255).astype(np.uint8), target, f"drawn{index}", 1, index))
    return items


PROTOCOL = EvaluationProtocol(max_clicks=5, click_spread=0.8, repeats=4, zoom=False, flip=False)


def played(protocol=PROTOCOL, **more):
    return evaluate_objects(Analytic(), {"Drawn": drawn_objects()}, protocol, **more)


def test_repeats_differ_and_their_numbers_stand_in_the_record():
    results = played()
    record = results["datasets"]["Drawn"]
    rows = record["objects"]
    assert [row["index"] for row in rows] == list(range(12))
    assert [row["name"] for row in rows] == [f"drawn{number}" for number in range(3) for _ in range(4)]
    assert len({str(row["clicks"]) for row in rows[:4]}) > 1
    by_hand = [noc([row["ious"] for row in rows[repeat::4]], 0.9, 5) for repeat in range(4)]
    assert record["spread"]["90"] == pytest.approx(
        {"mean": np.mean(by_hand), "std": np.std(by_hand), "worst": max(by_hand)}
    )
    assert record["spread"]["90"]["mean"] == pytest.approx(record["noc"]["90"])
    assert results["protocol"]["click_spread"] == 0.8
    assert "worst" in table(results)
    assert "4 runs of every object" in table(results)
    json.dumps(results)


def test_clicks_depend_on_neither_batch_nor_interruption(tmp_path):
    def clicks(results):
        return [(row["index"], row["clicks"], row["ious"]) for row in results["datasets"]["Drawn"]["objects"]]

    alone = clicks(played(batch_size=1))
    assert clicks(played(batch_size=5)) == alone
    played(output=tmp_path)
    journal = tmp_path / "progress.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:6]))  # as if stopped after five runs
    assert clicks(played(output=tmp_path)) == alone


def test_spread_0_is_the_deepest_pixel_once():
    plain = played(EvaluationProtocol(max_clicks=5, zoom=False, flip=False))["datasets"]["Drawn"]
    assert len(plain["objects"]) == 3
    assert "spread" not in plain


def test_a_spread_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match=r"click_spread is 1\.5"):
        EvaluationProtocol(click_spread=1.5)
