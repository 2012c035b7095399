"""The close views that FocalClick's refiner learns from: crops of training samples round objects and their edges.

Source: docs/methods/focalclick.md#training. Sizes in pixels are those of a 256 x 256 sample and scale with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.records import IGNORE, Batch, Clicks

VIEW = 256
SMALL = 3600 / VIEW**2  # objects below it are always seen whole
EDGE_SHARE = 0.4  # of the larger objects, this many are seen at a piece of their edge
SHIFT = 0.3  # crops round objects are moved by up to this share of their sides
LEAST = 32 / VIEW  # crops round objects have at least this share of the image's side
TRACE = 1e-4  # share of ignored pixels that is no rounding
HALF = 128.5 / 255  # resized masks are cut here: officially they are bytes and compared with 128

Bounds = tuple[int, int, int, int]  # x0, y0, x1, y1, ends outside


@dataclass(frozen=True)
class FocusViews:
    """One close view of every sample of a batch.

    Attributes:
        image: (B, 3, H, W) RGB in [0, 1].
        target: (B, 1, H, W) float32, 1 object, 0 background, -1 ignore.
        edge: (B, 1, H, W) float32, 1 near edges that a small view cannot show, -1 where the target is ignored.
        clicks: in pixels of the views.
        boxes: (B, 4) float32 x0, y0, x1, y1 in pixels of the samples, ends outside.
    """

    image: Tensor
    target: Tensor
    edge: Tensor
    clicks: Clicks
    boxes: Tensor


def focus_views(batch: Batch, boxes: Tensor) -> FocusViews:
    """The boxes cut out of the samples and resized to their size.

    Args:
        batch: with the clicks to show.
        boxes: (B, 4) as `draw_boxes` gives them.
    """
    boxes = boxes.to(batch.image.device)
    size = (batch.image.shape[-2], batch.image.shape[-1])
    wanted, ignored = (batch.target == 1).float(), (batch.target == IGNORE).float()
    maps = torch.cat([batch.image, wanted, ignored, edge_target(batch.target)], dim=1)
    cut = cut_out(maps, boxes)
    target = (cut[:, 3:4] > HALF).float().masked_fill(cut[:, 4:5] > TRACE, IGNORE)
    edge = (cut[:, 5:] > HALF).float().masked_fill(target == IGNORE, IGNORE)
    return FocusViews(cut[:, :3], target, edge, clicks_in_boxes(batch.clicks, boxes, size), boxes)


def edge_target(target: Tensor) -> Tensor:
    """Where a mask is lost at an eighth of its size: (B, 1, H, W) float32 in {0, 1}, two pixels widened."""
    wanted = (target == 1).float()
    height, width = target.shape[-2:]
    small = _resize(wanted, (max(1, height // 8), max(1, width // 8))) > HALF
    lost = (_resize(small.float(), (height, width)) > HALF) != wanted.bool()
    return F.max_pool2d(lost.float(), 5, stride=1, padding=2)


def draw_boxes(target: Tensor, rng: np.random.Generator) -> Tensor:
    """A box round the object, or round a piece of its edge, for every sample.

    Args:
        target: (B, 1, H, W).
        rng: all chance comes from here.

    Returns:
        (B, 4) float32 on the CPU: x0, y0, x1, y1 in pixels, ends outside.
    """
    masks = (target[:, 0] == 1).cpu().numpy()
    boxes = [_edge_box(mask, rng) if _shows_edge(mask, rng) else _object_box(mask, rng) for mask in masks]
    return torch.tensor(boxes, dtype=torch.float32)


def cut_out(maps: Tensor, boxes: Tensor) -> Tensor:
    """Boxes (B, 4) of whole pixels out of maps (B, C, H, W), each resized to (H, W): bilinear, half-pixel centres."""
    height, width = maps.shape[-2:]
    columns = _places(boxes[:, 0], boxes[:, 2], width)
    rows = _places(boxes[:, 1], boxes[:, 3], height)
    x, y = columns[:, None, :].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)
    return F.grid_sample(maps, torch.stack([x, y], dim=-1), mode="bilinear", align_corners=True)


def clicks_in_boxes(clicks: Clicks, boxes: Tensor, size: tuple[int, int]) -> Clicks:
    """Clicks in pixels of the views of `size` (H, W) that the boxes (B, 4) are resized to; they may lie outside."""
    origin, end = boxes[:, None, [1, 0]], boxes[:, None, [3, 2]]
    yx = (clicks.yx - origin) * (boxes.new_tensor(size) / (end - origin))
    return Clicks(torch.where(clicks.valid[..., None], yx, -1.0), clicks.label)


def _shows_edge(mask: np.ndarray, rng: np.random.Generator) -> bool:
    return mask.sum() >= SMALL * mask.size and rng.random() < EDGE_SHARE


def _object_box(mask: np.ndarray, rng: np.random.Generator) -> Bounds:
    """Round the largest part: 1.1 to 1.6 times as large, moved at random."""
    height, width = mask.shape
    _, _, statistics, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    left, top, wide, high = 0, 0, width, height
    if len(statistics) > 1:
        largest = 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()
        left, top, wide, high = (int(value) for value in statistics[largest, :4])
    ratio = int(rng.integers(11, 17)) / 10
    y0, y1 = _moved(top, high, ratio, height, rng)
    x0, x1 = _moved(left, wide, ratio, width, rng)
    return x0, y0, x1, y1


def _moved(first: int, length: int, ratio: float, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """First index and end of a widened and shifted interval, inside 0..side."""
    middle, wanted = first + 0.5 * (length - 1), max(ratio * length, LEAST * side)
    most = int(SHIFT * wanted)
    shift = int(rng.integers(-most, most + 1))
    start = min(max(0, int(middle - 0.5 * wanted) + shift), side - 1)
    return start, max(start + 1, min(side, int(middle + 0.5 * wanted) + shift))


def _edge_box(mask: np.ndarray, rng: np.random.Generator) -> Bounds:
    """Round a random pixel just outside the mask, a quarter to two thirds of the image's sides long."""
    height, width = mask.shape
    high, wide = (int(side / (int(rng.integers(15, 40)) / 10)) for side in mask.shape)
    around = cv2.dilate(mask.view(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~mask
    # best a pixel whose crop lies inside the image
    inside = np.zeros_like(mask)
    inside[high // 2 : height - high // 2, wide // 2 : width - wide // 2] = True
    places = np.argwhere(around & inside if (around & inside).any() else around)
    y, x = places[rng.integers(len(places))] if len(places) else (high // 2, wide // 2)
    y0 = int(np.clip(y - high // 2, 0, height - high))
    x0 = int(np.clip(x - wide // 2, 0, width - wide))
    return x0, y0, x0 + wide, y0 + high


def _places(first: Tensor, end: Tensor, count: int) -> Tensor:
    """(B, count) where to look along an axis of `count` pixels, in -1..1 from first to last pixel."""
    steps = torch.arange(count, device=first.device) + 0.5
    first, end = first[:, None], end[:, None]
    place = first + steps * (end - first) / count - 0.5
    return 2 * torch.minimum(torch.maximum(place, first), end - 1) / max(count - 1, 1) - 1


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
