"""TAIZ: monotone, invertible, never NaN, larger targets, and masks that survive the way there and back better."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.records import Clicks
from clicklab.views.boxes import Box, filled_lines
from clicklab.views.zoom_warp import TargetZoom, ZoomWarp
from data_modules.datasets import open_dataset
from data_modules.scenes import EvaluationObjects


def square(size: tuple[int, int], y: slice, x: slice) -> Tensor:
    mask = torch.zeros(1, 1, *size)
    mask[..., y, x] = 1
    return mask


MASKS = {
    "empty": torch.zeros(1, 1, 90, 120),
    "full": torch.ones(1, 1, 90, 120),
    "one pixel": square((90, 120), slice(89, 90), slice(0, 1)),
    "ignored": torch.full((1, 1, 90, 120), -1.0),
    "two parts": square((90, 120), slice(4, 30), slice(3, 9)) + square((90, 120), slice(60, 88), slice(100, 119)),
    "larger than the view": square((300, 500), slice(100, 280), slice(30, 200)),
    "smaller than the view": square((20, 31), slice(5, 12), slice(3, 20)),
}
CLICKS = {
    "none": Clicks.empty(1),
    "one": Clicks.from_list([[(3.0, 4.0, 1)]]),
    "many": Clicks.from_list([[(3.0, 4.0, 1), (19.0, 30.0, 0), (10.5, 11.25, 1)]]),
}


@pytest.mark.parametrize("clicks", CLICKS, ids=str)
@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_every_warp_increases_and_can_be_undone(mask, clicks):
    for rule in (TargetZoom(64), TargetZoom(64, floor=1e-9, dilation=0), TargetZoom((48, 64), sigma=1.0)):
        warp = rule.warp(MASKS[mask], CLICKS[clicks])
        for axis in (warp.rows, warp.columns):
            assert axis.isfinite().all()
            assert (axis.diff(dim=1) > 0).all()
            assert axis[0, 0] == 0 and axis[0, -1] == 1
        size = tuple(MASKS[mask].shape[-2:])
        there = warp.zoom(torch.rand(1, 3, *size))
        back = warp.unzoom(there, size)
        assert there.shape == (1, 3, *warp.size) and back.shape == (1, 3, *size)
        assert there.isfinite().all() and back.isfinite().all()


def test_the_map_is_the_formula_of_the_paper():
    """Eq. 4 written out in numpy, with the mirrored margin."""
    mask = square((64, 64), slice(20, 33), slice(40, 50))
    rule = TargetZoom(64, sigma=44.0, dilation=0, floor=0.05)  # 11 pixels of a view four times as large as this one
    weight = mask[0, 0].numpy().astype(float).mean(axis=1)
    weight = 0.95 * weight / weight.mean() + 0.05
    weight = np.concatenate([weight[:0:-1], weight, weight[-2::-1]])
    place = np.arange(-63, 127)
    kernel = np.exp(-((np.arange(64)[:, None] - place) ** 2) / (2 * 11.0**2))
    wanted = (kernel * weight * place).sum(1) / (kernel * weight).sum(1) / 63
    assert np.allclose(rule.warp(mask).rows[0].numpy(), wanted, atol=1e-9)


def test_without_target_or_with_a_full_floor_the_view_is_an_ordinary_resize():
    image = torch.rand(1, 3, 90, 120)
    wanted = F.interpolate(image, size=(64, 64), mode="bilinear", align_corners=True)
    target = square((90, 120), slice(4, 30), slice(3, 9))
    for warp in (TargetZoom(64).warp(torch.zeros(1, 1, 90, 120)), TargetZoom(64, floor=1.0).warp(target)):
        assert torch.allclose(warp.zoom(image), wanted, atol=1e-4)


@pytest.mark.parametrize("side", [1, 3, 12, 40])
def test_the_target_gets_more_pixels(side):
    mask = square((256, 256), slice(100, 100 + side), slice(60, 60 + side))
    seen = TargetZoom(256).warp(mask).zoom(mask)
    assert seen.sum() > 1.2 * mask.sum()


def test_clicks_go_where_their_pixels_go():
    mask = square((200, 300), slice(50, 90), slice(200, 260))
    clicks = Clicks.from_list([[(70, 230, 1), (10, 20, 0), (0, 299, 0), (250, 30, 1)]])
    warp = TargetZoom(128).warp(mask, clicks)
    seen = warp.clicks(clicks, (200, 300))
    assert seen.label.tolist() == [[1, 0, 0, -1]]  # the last one lies outside of the source
    assert seen.yx[0, 3].tolist() == [-1, -1]
    rows, columns = (
        warp.zoom(torch.arange(200.0)[None, None, :, None].expand(1, 1, 200, 300)),
        warp.zoom(torch.arange(300.0)[None, None, None].expand(1, 1, 200, 300)),
    )
    for (y, x), (row, column) in zip(seen.yx[0, :3].tolist(), [(70, 230), (10, 20), (0, 299)], strict=True):
        near = (slice(max(0, int(y) - 1), int(y) + 3), slice(max(0, int(x) - 1), int(x) + 3))
        assert rows[0, 0][near].min() <= row <= rows[0, 0][near].max()
        assert columns[0, 0][near].min() <= column <= columns[0, 0][near].max()


def test_guidance_is_the_union_asked_for():
    mask, clicks = square((128, 128), slice(10, 20), slice(10, 20)), Clicks.from_list([[(100, 100, 0)]])
    views = {name: TargetZoom(128, guided_by=name).guidance(mask, clicks)[0, 0] for name in ("mask", "clicks", "both")}
    assert views["mask"][15, 15] == 1 and views["mask"][100, 100] == 0
    assert views["clicks"][15, 15] == 0 and views["clicks"][100, 100] == 1
    assert torch.equal(views["both"], torch.maximum(views["mask"], views["clicks"]))
    assert (views["clicks"] > 0).sum() < 25**2  # radius 5 and 6 pixels round it
    assert torch.equal(TargetZoom(128).guidance(mask > 0)[0, 0], views["mask"])  # bool, and no clicks at all


def test_samples_of_a_batch_are_warped_one_by_one():
    masks = torch.cat([MASKS["two parts"], MASKS["empty"], MASKS["one pixel"]])
    clicks = Clicks.stack([CLICKS["one"], CLICKS["none"], CLICKS["many"]])
    together = TargetZoom(64).warp(masks, clicks)
    for n in range(3):
        alone = TargetZoom(64).warp(masks[n : n + 1], clicks[n : n + 1])
        assert torch.equal(together[n : n + 1].rows, alone.rows)
        assert torch.equal(together[n : n + 1].columns, alone.columns)


def test_half_precision_maps_keep_their_place():
    warp = TargetZoom(64).warp(MASKS["two parts"])
    image = torch.rand(1, 1, 90, 120)
    assert torch.allclose(warp.zoom(image.half()).float(), warp.zoom(image), atol=2e-3)
    assert warp.zoom(image.half()).dtype == torch.float16


def test_impossible_rules_are_named():
    for options, word in (({"sigma": 0}, "sigma"), ({"floor": 0}, "floor"), ({"size": 1}, "size")):
        with pytest.raises(ValueError, match=word):
            TargetZoom(**options)
    with pytest.raises(ValueError, match="points"):
        TargetZoom(guided_by="points")


def real_targets(folder, count: int) -> list[Tensor]:
    """Masks (H, W) bool, cut out as FocalClick's target crop does."""
    objects = EvaluationObjects(open_dataset("GrabCut", folder / "GrabCut"), limit=count)
    masks = [torch.from_numpy(objects[index].target == 1) for index in range(count)]
    boxes = [Box.around(filled_lines(mask).numpy(), len(mask)) for mask in masks]
    return [mask[box.expand(1.4, 10).clamp(mask.shape).window] for mask, box in zip(masks, boxes, strict=True) if box]


def test_the_way_back_is_exact_on_real_masks(shared_data):
    """In pixels of the source: coordinates through the map and its inverse, a ramp image through both resamplings."""
    for mask in real_targets(shared_data, 20):
        size = (mask.shape[0], mask.shape[1])
        warp = TargetZoom().warp(mask[None, None])
        back = unwarped(warp, size)
        assert (back - torch.arange(size[0])).abs().max() < 1e-4
        ramp = torch.arange(float(size[0]))[None, None, :, None].expand(1, 1, *size).contiguous()
        assert (warp.unzoom(warp.zoom(ramp), size) - ramp).abs().max() < 0.01


def unwarped(warp: ZoomWarp, size: tuple[int, int]) -> Tensor:
    """Rows of the source, sent into the view as clicks and read back from the nodes by numpy."""
    rows = torch.arange(size[0], dtype=torch.float64)
    clicks = Clicks(
        torch.stack([rows, torch.zeros_like(rows)], dim=1)[None], torch.ones(1, len(rows), dtype=torch.int8)
    )
    seen = warp.clicks(clicks, size).yx[0, :, 0].numpy()
    nodes = warp.rows[0].numpy()
    return torch.from_numpy(np.interp(seen, np.arange(len(nodes)), nodes) * (size[0] - 1))


def test_real_masks_survive_better_than_in_an_ordinary_resize(shared_data):
    """Card vtmr, table of section 3: GrabCut in the target crop, at the coarse network's own size, 64 x 64."""

    def resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)

    def iou(found: Tensor, mask: Tensor) -> float:
        return ((found & mask).sum() / (found | mask).sum()).item()

    plain, zoomed = [], []
    for mask in real_targets(shared_data, 50):
        source = 2.0 * mask[None, None] - 1
        for answers, warp in ((plain, None), (zoomed, TargetZoom().warp(mask[None, None]))):
            view = resize(source, (256, 256)) if warp is None else warp.zoom(source)
            coarse = resize(F.adaptive_avg_pool2d(view, (64, 64)), (256, 256))
            back = resize(coarse, mask.shape) if warp is None else warp.unzoom(coarse, tuple(mask.shape))
            answers.append(iou(back[0, 0] > 0, mask))
    assert np.mean(plain) == pytest.approx(0.9694, abs=0.001)
    assert np.mean(zoomed) == pytest.approx(0.9736, abs=0.001)


def test_lengths_go_with_the_shorter_side_of_the_view():
    """6 pixels of dilation and discs of radius 5 in a view of 256 are 1.5, rounded to 2, and 1.25 in one of 64."""
    mask = torch.zeros(1, 1, 64, 128)
    mask[0, 0, 30, 60] = 1
    rows, columns = TargetZoom((64, 128), guided_by="mask").guidance(mask)[0, 0].nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (28, 32, 58, 62)
    clicks = Clicks.from_list([[(30, 60, 1)]])
    disc = TargetZoom((64, 128), guided_by="clicks", dilation=0).guidance(0 * mask, clicks)[0, 0]
    assert sorted(map(tuple, disc.nonzero().tolist())) == [(29, 60), (30, 59), (30, 60), (30, 61), (31, 60)]
