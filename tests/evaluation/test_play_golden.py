"""Whole dialogues against the official code: same clicks, same IoUs.

`golden/evaluation_play.json` was made by the official `get_predictor(net, 'NoBRS', ...)` and `evaluate_sample` of
SimpleClick (IPP off, OpenCV 5.0, torch 2.15) on the analytic networks of `toys.py`, 8 clicks, target IoU 0.98. `moody`
loses its mask at clicks 3 and 7, which shows the stale region of RITM's mode. Our side of it is `played` below.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toys import Analytic, drawn_object

from clicklab.evaluation.play import play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.predictor import Predictor
from clicklab.nn.network import as_click_network
from clicklab.views.zoom_in import ZoomIn

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "evaluation_play.json").read_text())
VIEWS = {"colour": ZoomIn((128, 128), skip_clicks=-1), "moody": ZoomIn(120, skip_clicks=1)}


def played(kind, objects, **options):
    protocol = EvaluationProtocol(max_clicks=8, target_iou=0.98, zoom_in=VIEWS[kind], **options)
    results = play(Predictor(Analytic(kind), protocol), objects, batch_size=3)
    return sorted(results, key=lambda result: result.index)


def compare(results, expected):
    for result, official in zip(results, expected, strict=True):
        assert result.name == official["name"]
        assert [list(click) for click in result.clicks] == official["clicks"]
        assert result.ious == pytest.approx(official["ious"], abs=1e-3)


@pytest.mark.parametrize("kind", ["colour", "moody"])
def test_drawn_objects_play_as_officially(kind):
    expected = GOLDEN[f"drawn/{kind}"]
    compare(played(kind, [drawn_object(seed) for seed in range(len(expected))]), expected)


@pytest.mark.parametrize("kind", ["colour", "moody"])
def test_grabcut_plays_as_officially(kind, shared_data):
    from data_modules.datasets import open_dataset
    from data_modules.scenes import EvaluationObjects

    expected = GOLDEN[f"grabcut/{kind}"]
    objects = EvaluationObjects(open_dataset("GrabCut", shared_data / "GrabCut"), limit=len(expected))
    compare(played(kind, [objects[index] for index in range(len(objects))]), expected)


def test_a_shrunk_view_and_few_clicks_for_the_network_play_as_officially():
    protocol = EvaluationProtocol(max_clicks=8, target_iou=0.98, zoom=False, longest_side=150, net_clicks_limit=3)
    expected = GOLDEN["drawn/limited"]
    results = play(Predictor(Analytic(), protocol), [drawn_object(seed) for seed in range(len(expected))])
    compare(sorted(results, key=lambda result: result.index), expected)


def test_the_clean_preset_has_no_stale_region():
    objects = [drawn_object(seed) for seed in range(4)]
    official, clean = played("moody", objects), played("moody", objects, preset="clean")
    assert [result.ious[:3] for result in official] == [result.ious[:3] for result in clean]
    assert [result.ious[3:] for result in official] != [result.ious[3:] for result in clean]
    assert played("moody", objects, preset="clean", stale_region=True)[0].ious == official[0].ious


def test_the_official_mode_fixed_sees_a_view_of_its_size_from_the_first_click_on():
    """A network that looks as RITM does, untouched at first, in the official mode `fixed128`."""
    expected = GOLDEN["drawn/colour"]
    network = Analytic("colour")
    network.zoom_in = ZoomIn(120, skip_clicks=1)
    protocol = EvaluationProtocol(max_clicks=8, target_iou=0.98, eval_mode="fixed128")
    results = play(Predictor(network, protocol), [drawn_object(seed) for seed in range(len(expected))])
    compare(sorted(results, key=lambda result: result.index), expected)


@pytest.mark.parametrize(("mode", "size", "skipped"), [("cvpr", 600, 1), ("fixed400", (400, 400), -1)])
def test_official_modes_of_ritm(mode, size, skipped):
    """`cvpr` follows the dataset (DAVIS 1.5), `fixed<N>` does not."""
    network = as_click_network(Analytic(), zoom_in=ZoomIn(400, skip_clicks=1))
    rule = EvaluationProtocol(eval_mode=mode).zoom_for(network, view_scale=1.5)
    assert (rule.target_size, rule.skip_clicks) == (size, skipped)


def test_other_modes_are_named():
    for mode in ("brs", "fixed", "fixed0", "fixed40x"):
        with pytest.raises(ValueError, match="eval_mode is"):
            EvaluationProtocol(eval_mode=mode)
    with pytest.raises(ValueError, match="left out together"):
        EvaluationProtocol(eval_mode="fixed400", zoom_size=300)
    assert EvaluationProtocol(eval_mode="fixed300,400").zoom_for(as_click_network(Analytic())).target_size == (300, 400)
