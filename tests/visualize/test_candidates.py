"""The picture of all candidates: the right click, the right overlap, a file that can be opened."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from toys import Analytic, Staged, drawn_object

from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.predictor import Predictor
from clicklab.views.zoom_in import ZoomIn
from clicklab.visualize.candidates import candidate_sheet, first_answer, overlap

PROTOCOL = EvaluationProtocol(zoom_in=ZoomIn(target_size=(96, 96), skip_clicks=-1))


def test_overlap_leaves_ignored_pixels_out():
    target = np.array([[1, 1, 0, 0, -1, -1]])
    assert overlap(np.array([[1, 0, 1, 0, 1, 0]]) == 1, target) == pytest.approx(1 / 3)
    assert overlap(np.zeros((1, 6), bool), np.zeros((1, 6))) == 0


def test_the_click_lies_in_the_middle_of_the_target():
    target = np.zeros((60, 80), np.int8)
    target[10:41, 20:51] = 1
    item = replace(drawn_object(0, (60, 80)), target=target)
    session = first_answer(Predictor(Analytic(), PROTOCOL), item)
    assert session.clicks == ((25, 35, 1),)
    assert session.candidates.shape == (1, 60, 80)


@pytest.mark.parametrize("network", [Staged(4), Analytic()])
def test_the_sheet_has_a_row_per_object_and_a_cell_per_candidate(network, tmp_path):
    objects = [drawn_object(n, (60, 80)) for n in range(3)]
    sizes = []
    for count in (1, 3):
        path = tmp_path / f"{count}.png"
        candidate_sheet(objects[:count], network, path, PROTOCOL)
        sizes.append(cv2.imread(str(path)).shape)
    assert sizes[1][0] > 2 * sizes[0][0]
    assert sizes[1][1] == sizes[0][1] == (1020 if isinstance(network, Staged) else 510)
