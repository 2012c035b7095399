"""Metrics against closed forms and brute force; the protocol's own checks."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from toys import Analytic

from clicklab.evaluation.metrics import boundary_iou, clicks_needed, iou_at, miou_curve, noc, nof, seconds_per_click
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.options import QUIRKS
from clicklab.nn.network import as_click_network
from clicklab.views.zoom_in import ZoomIn

CURVES = [[0.5, 0.9, 0.7], [0.95], [0.2, 0.3, 0.85, 0.9]]


def test_noc_counts_the_first_crossing():
    assert clicks_needed([0.5, 0.9, 0.7, 0.95], 0.9) == 2
    assert clicks_needed([0.5], 0.9) is None
    assert noc(CURVES, 0.9, max_clicks=4) == pytest.approx((2 + 1 + 4) / 3)
    assert noc(CURVES, 0.96, max_clicks=4) == 4
    assert math.isnan(noc([], 0.9, 20))


def test_thresholds_are_compared_in_float32():
    stored = float(np.float32(0.9))
    assert stored < 0.9 and clicks_needed([stored], 0.9) == 1


def test_nof_counts_late_success_as_failure_only_officially():
    assert nof(CURVES, 0.9, max_clicks=4) == 1
    assert nof(CURVES, 0.9, max_clicks=4, late_success_fails=False) == 0
    assert nof(CURVES, 0.96, max_clicks=4, late_success_fails=False) == 3


def test_mean_curves_hold_the_last_iou():
    assert iou_at(CURVES, 1) == pytest.approx((0.5 + 0.95 + 0.2) / 3)
    assert miou_curve(CURVES, 4) == pytest.approx([1.65 / 3, 2.15 / 3, 2.5 / 3, 2.55 / 3])


def test_seconds_of_first_and_later_clicks():
    """Two objects: 3 s for 4 clicks, 1 s until the first answer; 2 s for 1 click."""
    assert seconds_per_click([3.0, 2.0], [1.0, 2.0], [4, 1]) == (5 / 5, 3 / 2, 2 / 3)
    every, first, later = seconds_per_click([2.0], [2.0], [1])
    assert every == first == 2.0 and math.isnan(later)
    assert all(map(math.isnan, seconds_per_click([], [], [])))


def test_boundary_iou_equals_iterated_erosion():
    rng = np.random.default_rng(0)
    for size in [(40, 60), (150, 170), (9, 7)]:
        noise = [cv2.GaussianBlur(rng.random(size), (0, 0), 3) for _ in range(2)]
        pred, wanted = (n > np.median(n) for n in noise)
        target = wanted.astype(np.int8)
        target[rng.random(size) < 0.1] = -1
        depth = max(1, round(0.02 * math.hypot(*size)))
        bands = []
        for mask in (pred, target == 1):
            padded = np.pad(mask, 1)
            eroded = binary_erosion(padded, np.ones((3, 3)), iterations=depth)[1:-1, 1:-1]
            bands.append(mask & ~eroded & (target != -1))
        expected = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
        assert boundary_iou(torch.from_numpy(pred), torch.from_numpy(target)) == pytest.approx(expected)


def test_boundary_iou_of_nothing_is_one():
    assert boundary_iou(torch.zeros(5, 5, dtype=torch.bool), torch.zeros(5, 5, dtype=torch.int8)) == 1.0


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"preset": "clear"}, "preset"),
        ({"mask_threshold": 1.0}, "mask_threshold"),
        ({"max_clicks": 0}, "max_clicks"),
        ({"min_clicks": 21}, "min_clicks"),
        ({"thresholds": ()}, "thresholds"),
        ({"thresholds": (90,)}, "thresholds"),
        ({"target_iou": 0.8}, "target_iou"),
        ({"zoom": False, "zoom_size": 400}, "zoom_size"),
        ({"zoom_size": -3}, "target_size"),
        ({"view_scale": 0.0}, "view_scale"),
        ({"longest_side": 0}, "longest_side"),
        ({"net_clicks_limit": 0}, "net_clicks_limit"),
    ],
)
def test_impossible_settings_name_the_field(options, field):
    with pytest.raises(ValueError, match=field):
        EvaluationProtocol(**options)


def test_presets_and_single_quirks():
    assert all(EvaluationProtocol().quirk(name) for name in QUIRKS)
    assert not any(EvaluationProtocol(preset="clean").quirk(name) for name in QUIRKS)
    assert EvaluationProtocol(preset="clean", stale_region=True).quirk("stale_region")


def test_the_view_of_a_network_and_what_overrules_it():
    network = as_click_network(Analytic())
    assert EvaluationProtocol().zoom_for(network) == ZoomIn((448, 448), skip_clicks=-1)
    network.zoom_in = ZoomIn(400, skip_clicks=1)
    assert EvaluationProtocol().zoom_for(network, view_scale=1.5) == ZoomIn(600, skip_clicks=1)
    assert EvaluationProtocol(view_scale=1.0).zoom_for(network, view_scale=1.5) == ZoomIn(400, skip_clicks=1)
    assert EvaluationProtocol(zoom_size=(300, 300)).zoom_for(network, 1.5) == ZoomIn((300, 300), skip_clicks=1)
    assert EvaluationProtocol(zoom=False).zoom_for(network) is None


def test_the_printed_record_is_complete_and_plain():
    import json

    record = EvaluationProtocol(zoom_size=[64, 64], preset="clean").to_dict(as_click_network(Analytic()))
    assert record == json.loads(json.dumps(record))
    assert record["zoom_in"]["target_size"] == [64, 64] and record["network"] == "Analytic"
    assert record["stale_region"] is False and record["target_iou"] == 0.95 and "torch" in record["versions"]


def test_clicks_beyond_the_limit_do_not_count():
    curve = [0.1, 0.2, 0.95]
    assert noc([curve], 0.9, max_clicks=2) == 2 and noc([curve], 0.9, max_clicks=3) == 3
    assert nof([curve], 0.9, max_clicks=2, late_success_fails=False) == 1
    assert nof([curve], 0.9, max_clicks=3, late_success_fails=False) == 0
