"""Close views to learn from: official edge targets, crops against OpenCV, boxes within their law."""

import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
from blobs import blobs

from clicklab.records import Batch, Clicks
from clicklab.views.focus_views import (
    _edge_box,
    clicks_in_boxes,
    cut_out,
    draw_boxes,
    edge_target,
    focus_views,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "focalclick.json").read_text())


def as_target(*masks):
    return torch.from_numpy(np.stack(masks)).float()[:, None]


def test_official_edge_targets():
    masks = [blobs(case["seed"], (256, 256)) for case in GOLDEN["edges"]]
    edges = edge_target(as_target(*masks)).bool().numpy()[:, 0]
    assert [int(edge.sum()) for edge in edges] == [case["pixels"] for case in GOLDEN["edges"]]
    assert [zlib.crc32(edge.tobytes()) for edge in edges] == [case["crc32"] for case in GOLDEN["edges"]]


def test_views_are_what_opencv_cuts_and_resizes():
    rng = np.random.default_rng(0)
    image, mask = rng.random((2, 64, 64, 3), dtype=np.float32), [blobs(seed, (64, 64)) for seed in (1, 2)]
    boxes = torch.tensor([[5.0, 10.0, 30.0, 64.0], [0.0, 0.0, 64.0, 64.0]])
    clicks = Clicks.from_list([[(12, 7, 1), (3, 3, 0)], [(40, 41, 1)]])
    target = as_target(*mask)
    batch = Batch(torch.from_numpy(image).permute(0, 3, 1, 2), target, clicks, torch.zeros(2, 1, 64, 64))
    views = focus_views(batch, boxes)
    for row, (x0, y0, x1, y1) in enumerate(boxes.int().tolist()):
        wanted = cv2.resize(image[row, y0:y1, x0:x1], (64, 64))
        np.testing.assert_allclose(views.image[row].permute(1, 2, 0), wanted, atol=2e-5)
        # as bytes and compared with 128, as officially
        byte = cv2.resize(mask[row][y0:y1, x0:x1].astype(np.uint8) * 255, (64, 64)) > 128
        np.testing.assert_array_equal(views.target[row, 0].numpy() == 1, byte)
        edge = edge_target(target)[row, 0].numpy().astype(np.uint8) * 255
        np.testing.assert_array_equal(views.edge[row, 0].numpy() == 1, cv2.resize(edge[y0:y1, x0:x1], (64, 64)) > 128)
    assert torch.equal(views.boxes, boxes)
    torch.testing.assert_close(views.clicks.yx[0, 0], torch.tensor([2 * 64 / 54, 2 * 64 / 25]))
    assert views.clicks.yx[1].tolist() == [[40, 41], [-1, -1]]


def test_ignored_pixels_stay_ignored():
    target = as_target(blobs(1, (64, 64)))
    target[:, :, :, 40:] = -1
    batch = Batch(torch.zeros(1, 3, 64, 64), target, Clicks.empty(1), torch.zeros(1, 1, 64, 64))
    views = focus_views(batch, torch.tensor([[32.0, 0.0, 64.0, 64.0]]))
    assert (views.target[..., 16:] == -1).all()
    assert (views.target[..., :14] != -1).all()
    assert torch.equal(views.edge == -1, views.target == -1) and (views.edge == 1).any()


def test_boxes_follow_their_law():
    rng = np.random.default_rng(0)
    small = np.zeros((256, 256), bool)
    small[100:120, 60:110] = True  # 1000 pixels: always seen whole
    small[5:8, 5:8] = True  # not the largest part
    for _ in range(100):
        x0, y0, x1, y1 = draw_boxes(as_target(small), rng)[0].tolist()
        assert 0 <= x0 < x1 <= 256 and 0 <= y0 < y1 <= 256
        assert 54 <= x1 - x0 <= 81 and 31 <= y1 - y0 <= 33  # 1.1 to 1.6 times 50; 20 is raised to 32
        assert abs((x0 + x1) / 2 - 84.5) <= 0.3 * 80 + 1 and abs((y0 + y1) / 2 - 109.5) <= 0.3 * 32 + 1


def test_large_objects_are_sometimes_seen_at_their_edge():
    rng = np.random.default_rng(0)
    mask = np.zeros((256, 256), bool)
    mask[40:210, 30:220] = True
    edge = 0
    for _ in range(300):
        x0, y0, x1, y1 = (int(v) for v in draw_boxes(as_target(mask), rng)[0])
        assert 0 <= x0 < x1 <= 256 and 0 <= y0 < y1 <= 256
        inner = mask[y0:y1, x0:x1]
        assert inner.any() and not inner.all()
        edge += y1 - y0 <= 170 and x1 - x0 <= 170
    assert 0.3 < edge / 300 < 0.5  # 0.4 officially; crops round the object are larger


def test_degenerate_targets_have_boxes_too():
    rng = np.random.default_rng(0)
    empty, full, pixel = np.zeros((64, 64), bool), np.ones((64, 64), bool), np.zeros((64, 64), bool)
    pixel[63, 0] = True
    for _ in range(30):
        boxes = draw_boxes(as_target(empty, full, pixel), rng)
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= 64).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_a_whole_box_changes_nothing():
    maps = torch.rand(2, 3, 20, 30)
    whole = torch.tensor([[0.0, 0.0, 30.0, 20.0]]).repeat(2, 1)
    torch.testing.assert_close(cut_out(maps, whole), maps, atol=1e-5, rtol=0)
    clicks = Clicks.from_list([[(3, 4, 1)], [(5, 6, 0)]])
    assert torch.equal(clicks_in_boxes(clicks, whole, (20, 30)).yx, clicks.yx)


def test_boxes_round_objects_have_all_sizes_and_places_of_their_law():
    rng = np.random.default_rng(0)
    small = np.zeros((256, 256), bool)
    small[100:120, 100:150] = True
    boxes = np.stack([draw_boxes(as_target(small), rng)[0].numpy() for _ in range(600)])
    sides = boxes[:, 2] - boxes[:, 0]
    assert set(sides.tolist()) == {55, 60, 65, 70, 75, 80}  # 1.1 to 1.6 times 50
    middles = (boxes[:, 0] + boxes[:, 2]) / 2 - 124.5
    for side in (55, 80):  # moved by up to 0.3 of the side, either way
        shifts = middles[sides == side]
        assert int(0.3 * side) - 2 <= shifts.max() <= 0.3 * side + 1
        assert -0.3 * side - 1 <= shifts.min() <= 2 - int(0.3 * side)


def test_parts_that_touch_at_a_corner_are_one_object():
    rng = np.random.default_rng(0)
    mask = np.zeros((256, 256), bool)
    mask[80:100, 80:100] = mask[100:120, 100:120] = True
    for _ in range(20):
        x0, y0, x1, y1 = draw_boxes(as_target(mask), rng)[0].tolist()
        assert 43 <= x1 - x0 <= 65 and 43 <= y1 - y0 <= 65  # 1.1 to 1.6 times 40


def test_boxes_at_edges_have_all_sizes_of_their_law():
    rng = np.random.default_rng(0)
    mask = np.zeros((256, 192), bool)
    mask[40:210, 30:160] = True
    boxes = np.array([_edge_box(mask, rng) for _ in range(1200)])
    for side, lengths in ((192, boxes[:, 2] - boxes[:, 0]), (256, boxes[:, 3] - boxes[:, 1])):
        assert set(lengths.tolist()) == {int(side / (tenths / 10)) for tenths in range(15, 40)}


def test_a_pixel_with_a_trace_of_ignored_ones_is_ignored():
    target = as_target(blobs(1, (64, 64)))
    target[torch.from_numpy(blobs(2, (64, 64), level=0.6))[None, None]] = -1
    batch = Batch(torch.zeros(1, 3, 64, 64), target, Clicks.empty(1), torch.zeros(1, 1, 64, 64))
    views = focus_views(batch, torch.tensor([[8.0, 4.0, 40.0, 20.0]]))
    share = cv2.resize((target[0, 0, 4:20, 8:40] == -1).numpy().astype(np.float32), (64, 64))
    inner = np.s_[4:-4, 4:-4]  # rounding lets a trace of what lies beyond the box into its rim
    assert ((share > 0) & (share < 0.5)).any()
    np.testing.assert_array_equal((views.target[0, 0] == -1)[inner], (share > 0)[inner])
