"""Dialogues clicked once more: every IoU of the record comes again, and outlines enclose what they are drawn round."""

from __future__ import annotations

import re

import numpy as np
import pytest
from blobs import blobs
from toys import Analytic, Staged, drawn_object

from clicklab.evaluation.play import evaluate_objects
from clicklab.evaluation.protocol import ORACLE, EvaluationProtocol
from clicklab.views.zoom_in import ZoomIn
from clicklab.visualize.outlines import outline_path
from clicklab.visualize.replay import object_of_row, predictor_of_record, replay, unlike


class Drawn:
    """Three drawn objects."""

    view_scale = 1.5  # as DAVIS asks

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return drawn_object(index, (60, 80))


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        (Analytic(), {}),
        (Analytic("moody"), {"preset": "clean", "flip": False, "mask_threshold": 0.4}),
        (Staged(3), {}),
        (Analytic(), {"perturb_iou": 0.7, "repeats": 2}),
        (Analytic(), {"cascade": 2, "cascade_once": False}),
        (Analytic(), {"zoom": False, "zoom_in": None}),
    ],
    ids=["one mask", "other settings", "candidates", "from spoilt masks", "refined", "whole image"],
)
def test_the_masks_are_those_that_were_measured(network, settings):
    protocol = EvaluationProtocol(**{"max_clicks": 4, "target_iou": 1.01, "zoom_in": ZoomIn((40, 40))} | settings)
    results = evaluate_objects(network, {"A": Drawn()}, protocol)
    assert len(results["datasets"]) == (2 if isinstance(network, Staged) else 1)
    for name, record in results["datasets"].items():
        predictor = predictor_of_record(network, results["protocol"], record)
        for row in record["objects"]:
            item = object_of_row(Drawn(), row, results["protocol"])
            steps = replay(predictor, item, row["clicks"], oracle=name.endswith(ORACLE))
            assert [step.iou for step in steps] == pytest.approx(row["ious"], abs=1e-6)
            assert not list(unlike(steps, row["ious"]))
            assert all(np.array_equal(step.mask, step.masks[step.chosen]) for step in steps)


def test_other_data_is_noticed():
    with pytest.raises(ValueError, match="was drawn9, object 1; now the data holds drawn0, 1 in its place"):
        object_of_row(Drawn(), {"index": 0, "name": "drawn9", "object": 1}, {})


def area(path: str) -> float:
    """Of the outline by the shoelace formula; holes run the other way round and are subtracted."""
    total = 0.0
    for ring in path.strip("Z").split("Z"):
        places = np.array([[float(n) for n in place.split()] for place in re.sub("^M", "", ring).split("L") if place])
        x, y = places.T
        total += (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
    return abs(total)


@pytest.mark.parametrize("seed", range(4))
def test_an_outline_encloses_its_mask(seed):
    mask = blobs(seed)
    ring = 0.02 * mask.sum() + 0.5 * (np.diff(mask.astype(int), axis=0) != 0).sum()  # half a pixel along the border
    assert area(outline_path(mask)) == pytest.approx(mask.sum(), abs=ring)
    assert area(outline_path(mask, 0.5)) == pytest.approx(mask.sum() / 4, abs=ring / 4 + 2)


def test_small_and_empty_masks_have_outlines_too():
    one = np.zeros((9, 9), bool)
    assert outline_path(one) == ""
    one[4, 4] = True
    assert area(outline_path(one)) == pytest.approx(1, abs=0.6)
    assert area(outline_path(np.ones((6, 8), bool))) == pytest.approx(48, rel=0.1)
