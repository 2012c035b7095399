"""TAIZ as a view: it stands behind a crop, and whatever goes in comes back to its place."""

from __future__ import annotations

import torch

from clicklab.records import Clicks
from clicklab.views.boxes import Box
from clicklab.views.frames import Frame, View
from clicklab.views.warped_frame import TargetFrame
from clicklab.views.zoom_warp import TargetZoom

SIZE = (120, 160)


def blob() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(120), torch.arange(160), indexing="ij")
    return ((y - 50) ** 2 + (x - 90) ** 2) < 15**2


def test_a_target_frame_behind_a_crop_makes_a_view():
    mask, clicks = blob(), Clicks.from_list([[(50, 90, 1), (100, 150, 0)]])
    box = Box(20, 40, 99, 139)
    crop = Frame(SIZE, box, box.size, box)
    inner = TargetFrame.towards(TargetZoom(64), mask[box.window], crop.clicks(clicks))
    view = View((crop, inner))
    assert view.size == (64, 64)
    seen = view.image(mask[None].float())
    assert seen.shape == (1, 64, 64)
    evenly = Frame(SIZE, box, (64, 64), box).image(mask[None].float())
    assert seen.sum() > 1.3 * evenly.sum()
    back = view.back(seen)[0] > 0.5
    assert (back & mask).sum() / (back | mask).sum() > 0.97
    assert not back[:20].any() and not back[:, 140:].any()
    placed = view.clicks(clicks)
    assert placed.label.tolist() == [[1, -1]]  # the second one lies outside of the crop
    y, x = placed.yx[0, 0].round().long().tolist()
    assert seen[0, y, x] > 0.5


def test_views_with_other_warps_are_not_the_same():
    """A predictor reuses the network's state for an equal view; the warp follows the mask, so that none is equal."""
    mask, clicks = blob(), Clicks.from_list([[(50, 90, 1)]])
    first, second = (TargetFrame.towards(TargetZoom(64), m, clicks) for m in (mask, mask.flip(1)))
    assert View((first,)) != View((second,))
    assert View((first,)) == View((first,))
