"""Views: frames and their inverses, the zoom-in rule on cases worked out by hand, mirror averaging."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import Analytic

from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.predictor import Predictor
from clicklab.records import Clicks
from clicklab.views.boxes import Box, filled_lines, flip_clicks
from clicklab.views.frames import (
    Frame,
    View,
    ZoomIn,
    average_flip,
    clicks_in_views,
    limit_longest_side,
    look,
)
from clicklab.views.warped_frame import TargetFrame
from clicklab.views.zoom_warp import TargetZoom

SIZE = (300, 400)


def ramp(size):
    """Two channels, the row and the column index: bilinear resizes keep them exact."""
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    return torch.stack([rows, columns])


def blob(box):
    mask = torch.zeros(SIZE)
    mask[box.window] = 0.9
    return mask


def looked(rule, clicks, remembered=None, kept=None, stale=True):
    extents = None if remembered is None else filled_lines(remembered > rule.probability).numpy()
    return look(rule, SIZE, clicks, extents, kept, stale)


def test_a_frame_crops_and_its_inverse_pastes():
    frame = Frame(SIZE, box := Box(20, 40, 119, 239), (64, 96), box)
    seen = frame.image(ramp(SIZE))
    assert seen.shape == (2, 64, 96)
    assert seen[:, 0, 0].tolist() == [20, 40] and seen[:, -1, -1].tolist() == pytest.approx([119, 239])
    back = frame.back(seen)
    torch.testing.assert_close(back[(..., *box.window)], ramp(SIZE)[(..., *box.window)])
    back[(..., *box.window)] = 0
    assert not back.any()


def test_clicks_of_nested_frames_follow_the_official_formula():
    box = Box(20, 40, 119, 239)
    view = View((Frame(SIZE, box, (64, 96), box), limit_longest_side((64, 96), 48)))
    assert view.size == (32, 48)
    moved = view.clicks(Clicks.from_list([[(70.0, 40.0, 1), (5.0, 399.0, 0)]]))
    expected = [[32 / 64 * 64 * (70 - 20) / 100, 0.0], [0.5 * 64 * (5 - 20) / 100, 0.5 * 96 * (399 - 40) / 200]]
    torch.testing.assert_close(moved.yx[0], torch.tensor(expected))


def test_clicks_of_many_images_in_one_go():
    generator = np.random.default_rng(0)
    views, samples = [], []
    for count in (1, 4, 0, 7):
        y, x = sorted(generator.integers(0, 250, 2)), sorted(generator.integers(0, 350, 2))
        box = Box(int(y[0]), int(x[0]), int(y[1]) + 30, int(x[1]) + 30)
        views.append(View((Frame(SIZE, box, (64, 96), box), limit_longest_side((64, 96), 48))))
        samples.append([(*place, int(place[0]) % 2) for place in generator.uniform(0, 300, (count, 2)).tolist()])
    together = clicks_in_views(Clicks.from_list(samples), views)
    assert together.slots == 7
    for row, (view, sample) in enumerate(zip(views, samples, strict=True)):
        alone = view.clicks(Clicks.from_list([sample])).padded(7)
        assert torch.equal(together.yx[row], alone.yx[0]) and torch.equal(together.label[row], alone.label[0])


def test_first_click_sees_the_whole_image_resized_or_untouched():
    assert looked(ZoomIn((448, 448)), [(1, 1, 1)]) == (
        Box.full(SIZE),
        Frame(SIZE, Box.full(SIZE), (448, 448), Box.full(SIZE)),
    )
    assert looked(ZoomIn(400, skip_clicks=1), [(1, 1, 1)]) == (None, Frame.whole(SIZE))


def test_the_view_may_be_smaller_until_an_object_is_found():
    rule = ZoomIn(200, first_size=100)
    assert looked(rule, [(1, 1, 1)])[1].size == (75, 100)
    assert max(looked(rule, [(150, 200, 1)], blob(Box(100, 199, 150, 299)))[1].size) == 200
    assert rule.scaled(1.5) == ZoomIn(300, first_size=150)
    with pytest.raises(ValueError, match="first_size must be a positive number, got 0"):
        ZoomIn(200, first_size=0)


def test_the_object_is_widened_to_an_inclusive_box_inside_the_image():
    kept, frame = looked(ZoomIn(400, skip_clicks=1), [(110, 60, 1), (0, 0, 0)], blob(Box(100, 50, 119, 69)))
    assert kept == Box(
        10, 0, 210, 160
    )  # centre 109.5 and 59.5, at least 200 long, so 201 pixels; the left side is clamped
    assert frame.size == (400, round(161 * 400 / 201))


def test_a_region_is_kept_until_it_gets_wrong():
    rule, far = ZoomIn((448, 448)), blob(Box(150, 250, 169, 269))
    kept = Box(50, 150, 269, 369)
    assert looked(rule, [(160, 260, 1)], far, kept)[0] == kept
    assert looked(rule, [(160, 260, 1), (269, 200, 1)], far, kept)[0] != kept  # the last row counts as outside
    assert looked(rule, [(160, 260, 1), (269, 200, 0)], far, kept)[0] == kept  # negative clicks do not matter
    assert looked(rule, [(160, 260, 1)], far, Box(140, 240, 180, 280))[0] != Box(140, 240, 180, 280)  # too small now


def test_an_empty_mask_leaves_the_stale_region_only_in_the_official_int_mode():
    kept, clicks, empty = Box(10, 10, 210, 210), [(50, 50, 1), (60, 60, 0)], torch.zeros(SIZE)
    assert looked(ZoomIn(400, skip_clicks=1), clicks, empty, kept) == (kept, Frame.whole(SIZE, paste_box=kept))
    assert looked(ZoomIn(400, skip_clicks=1), clicks, empty, kept, stale=False) == (None, Frame.whole(SIZE))
    assert looked(ZoomIn((448, 448)), clicks, empty, kept)[0] == Box.full(SIZE)


def test_mirrored_logits_are_averaged_in_the_straight_frame():
    straight, mirrored = torch.rand(3, 2, 4, 5), torch.rand(3, 2, 4, 5)
    expected = (straight + mirrored.flip(-1)) / 2
    torch.testing.assert_close(average_flip(torch.stack([straight, mirrored], dim=1)), expected)
    assert flip_clicks(Clicks.from_list([[(1.5, 0.25, 1)]]), 5).yx.tolist() == [[[1.5, 3.75]]]


def test_a_larger_view():
    assert ZoomIn(400).scaled(1.5).target_size == 600
    assert ZoomIn((448, 448)).scaled(1.5).target_size == (672, 672)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"target_size": 0}, "target_size"),
        ({"target_size": (3, 4, 5)}, "target_size"),
        ({"skip_clicks": -2}, "skip_clicks"),
        ({"expansion_ratio": 0.5}, "expansion_ratio"),
        ({"min_crop_size": 0}, "min_crop_size"),
    ],
)
def test_impossible_zooms_name_the_field(options, field):
    with pytest.raises(ValueError, match=field):
        ZoomIn(**options)


def test_a_zoomed_view_is_shrunk_to_the_longest_side():
    box = Box(10, 20, 49, 99)
    predictor = Predictor(Analytic(), EvaluationProtocol(longest_side=32))
    view = predictor.view_of(Frame((60, 120), box, (64, 128), box))
    assert view.size == (16, 32)
    back = view.back(torch.ones(1, 16, 32))[0]
    assert back[box.window].all() and back.sum() == 40 * 80
    assert view.clicks(Clicks.from_list([[(30, 60, 1)]])).yx.tolist() == [[[8.0, 16.0]]]


def frames():
    """All kinds of frames of an image of SIZE, with the part of it that they bring back."""
    crop, full = Box(20, 40, 219, 339), Box.full(SIZE)
    mask = torch.zeros(SIZE)
    mask[100:160, 150:260] = 1
    clicks = Clicks.from_list([[(120, 180, 1)]])
    warped = TargetFrame.towards(TargetZoom(128), mask[crop.window], Frame(SIZE, crop, crop.size, crop).clicks(clicks))
    return {
        "whole": (View((Frame.whole(SIZE),)), full),
        "crop": (View((Frame(SIZE, crop, (150, 240), crop),)), crop),
        "shrunk": (View((limit_longest_side(SIZE, 250),)), full),
        "crop, shrunk": (View((Frame(SIZE, crop, (180, 260), crop), limit_longest_side((180, 260), 200))), crop),
        "crop, warped": (View((Frame(SIZE, crop, crop.size, crop), warped)), crop),
        "warped": (View((TargetFrame.towards(TargetZoom(160), mask, clicks),)), full),
    }


@pytest.mark.parametrize("kind", list(frames()))
def test_every_frame_has_an_inverse(kind):
    """A ramp comes back as it was, and what a click lies on is seen where the click is seen."""
    view, shown = frames()[kind]
    seen = view.image(ramp(SIZE))
    assert seen.shape == (2, *view.size)
    back = view.back(seen).clone()
    inside = (slice(None), *shown.window)
    torch.testing.assert_close(back[inside], ramp(SIZE)[inside], atol=0.05, rtol=0)
    back[inside] = 0
    assert not back.any()
    points = [(120.0, 180.0, 1), (60.0, 300.0, 0), (200.0, 60.0, 1)]
    for (y, x, _), (row, column, _) in zip(points, view.clicks(Clicks.from_list([points])).to_list()[0], strict=True):
        under = seen[:, round(row), round(column)]  # what the view shows there, up to a pixel of the view
        step = max(a / b for a, b in zip(shown.size, view.size, strict=True))
        assert (under - torch.tensor([y, x])).abs().max() <= 3 * step
    assert (view.key == view.key and view.key != frames()["whole"][0].key) or kind == "whole"


def test_clicks_of_views_with_any_frames_in_one_go():
    views = [view for view, _ in frames().values() if len(view.frames) == 1]
    clicks = Clicks.from_list([[(120.0, 180.0, 1), (60.0, 300.0, 0)]] * len(views))
    together = clicks_in_views(clicks, views)
    for row, view in enumerate(views):
        torch.testing.assert_close(together.yx[row], view.clicks(clicks[row : row + 1]).yx[0])
