"""Masks by cells, and a view of what was laid back, against laying everything back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from clicklab.annotate import masks
from clicklab.inference import mask_prediction
from clicklab.inference.cell_mask import CellMask
from clicklab.inference.mask_prediction import ViewPrediction
from clicklab.inference.partial_mask import RegionMask
from clicklab.views.bilinear import equals_resize, values_at
from clicklab.views.boxes import Box, filled_lines
from clicklab.views.frames import Frame, View, resize


def blobs(generator, size, spread):
    """(h, w) float32 in [0, 1], smooth over `spread` pixels; some places are exactly 0, 0.5 and 1."""
    noise = generator.normal(size=size).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), spread)
    return torch.from_numpy(np.clip(np.round(smooth / smooth.std() * 20) / 40 + 0.5, 0, 1))


def placed(grid, box, size):
    """(H, W) probability of all of the image, 0 outside the box."""
    full = torch.zeros(size)
    full[box.window] = resize(grid[None], box.size)[0]
    return full


def cases(count):
    """Grids on boxes of images, from the same size on, at the rim and inside, one row or column among them."""
    generator = np.random.default_rng(0)
    for number in range(count):
        grid = blobs(generator, generator.integers(1, 40, 2), generator.uniform(0.3, 6))
        height, width = (int(side * generator.choice([1, generator.uniform(1, 20)])) for side in grid.shape)
        above, below, before, behind = generator.integers(0, 30, 4) * generator.integers(0, 2, 4)
        size = (int(height + above + below), int(width + before + behind))
        box = Box(int(above), int(before), int(above) + height - 1, int(before) + width - 1)
        yield grid, box, size, (0.5, 0.49, 0.2, 0.999)[number % 4]


def test_this_machine_resizes_as_is_computed_here():
    assert equals_resize()


def test_values_at_some_places_are_those_of_the_whole_resize():
    generator = torch.Generator().manual_seed(0)
    grid = torch.rand(50, 70, generator=generator)
    rows, columns = torch.randint(800, (200,), generator=generator), torch.randint(400, (300,), generator=generator)
    whole = resize(grid[None], (800, 400))[0]
    assert torch.equal(values_at(grid, (800, 400), rows, columns), whole[rows][:, columns])


def test_cells_give_the_mask_its_lines_and_its_runs(monkeypatch):
    monkeypatch.setattr("clicklab.inference.cell_mask.MOST_CROSSED", 2.0)
    for grid, box, size, threshold in cases(300):
        if sum(box.size) <= 128:  # resized by another kernel, whose last bit differs: such views are never large
            continue
        expected = (placed(grid, box, size) > threshold).numpy()
        found = CellMask.above(grid, box, size, threshold)
        np.testing.assert_array_equal(found.whole(), expected)
        np.testing.assert_array_equal(found.filled_lines(), filled_lines(torch.from_numpy(expected)).numpy())
        np.testing.assert_array_equal(found.run_starts(), RegionMask.of(expected).run_starts())
        official = coco.encode(np.asfortranarray(expected.astype(np.uint8)))["counts"].decode()
        assert masks.encode_partial(found)["counts"] == official


def test_too_many_crossed_cells_are_left_to_the_whole_resize():
    noise = torch.rand(40, 40, generator=torch.Generator().manual_seed(0))
    assert CellMask.above(noise, Box.full((400, 400)), (400, 400), 0.5) is None


@pytest.mark.parametrize("box", [Box(0, 0, 699, 899), Box(100, 50, 499, 749), Box(600, 800, 699, 899)])
def test_a_large_answer_is_seen_in_another_view_as_if_it_had_been_laid_back(monkeypatch, box):
    monkeypatch.setattr(mask_prediction, "LARGE", 0)
    generator = np.random.default_rng(1)
    grid = blobs(generator, (60, 80), 4.0)
    place = Box(200, 300, 650, 899)
    answer = ViewPrediction(grid[None], View((Frame((700, 900), place, (60, 80), place),)))
    whole = placed(grid, place, (700, 900))
    view = View((Frame((700, 900), box, (96, 128), box),))
    assert torch.equal(answer.seen_in(0, view), view.image(whole[None]))
    np.testing.assert_array_equal(answer.mask(0, 0.5).whole(), (whole > 0.5).numpy())
    assert torch.equal(answer.filled_lines(0, 0.5), filled_lines(whole > 0.5))
    assert not answer._maps  # nothing of the photo's size was made
    assert torch.equal(answer.map(0), whole)
