"""Clicks as network input: disk maps, decay maps and sine codes.

Sources: docs/training.md#click-encoding (RITM's DistMaps with disks), docs/methods/piclick.md#click-tokens (sine code),
docs/methods/disnet.md#masked-click-attention (decay maps).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clicklab.records import EMPTY, NEGATIVE, POSITIVE, Clicks


def disk_maps(clicks: Clicks, size: tuple[int, int], radius: float) -> Tensor:
    """One map of disks for the positive clicks and one for the negative ones.

    A pixel belongs to a disk when its squared distance to the unrounded click is at most radius^2. Only a small window
    around each click is computed, so time and memory do not grow with the product of clicks and pixels.

    Args:
        clicks: in pixels of the map; they may lie outside. As in official code, a click with both coordinates negative
            is left out. float32 or float64: official zoom-in gives float64, on which a pixel of the rim may depend.
        size: (H, W) of the map.
        radius: in pixels; 5 in RITM and SimpleClick.

    Returns:
        (B, 2, H, W) float32 in {0, 1}: positive, negative.
    """
    height, width = size
    yx, device = clicks.yx, clicks.yx.device
    batch = len(clicks)

    # rows and columns of the window around each click: (B, N, window)
    reach = math.ceil(radius)
    offset = torch.arange(-reach, reach + 2, device=device)
    rows, columns = (yx.floor().long()[..., None] + offset).unbind(dim=2)

    # pixels of the window inside the disk: (B, N, window, window). The difference is taken before the rounding to
    # float32, as in official code: that decides pixels exactly on the rim.
    row_distance = (rows - yx[..., :1]).float().square()
    column_distance = (columns - yx[..., 1:]).float().square()
    covered = row_distance[..., :, None] + column_distance[..., None, :] <= radius**2

    # and inside the image, of a click that exists
    row_exists, column_exists = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    click_exists = (clicks.label != EMPTY) & (yx.amax(dim=2) >= 0)
    covered &= row_exists[..., :, None] & column_exists[..., None, :]
    covered &= click_exists[..., None, None]

    # place of each pixel in the flattened maps (B, 2, H, W); all uncovered pixels share one extra cell behind them, so
    # that no boolean index makes the processor wait for the device
    channel = 2 * torch.arange(batch, device=device)[:, None] + (clicks.label != 1)
    pixel = (channel[..., None, None] * height + rows[..., :, None]) * width + columns[..., None, :]
    cells = batch * 2 * height * width
    maps = torch.zeros(cells + 1, device=device)
    maps.scatter_(0, pixel.where(covered, cells).flatten(), 1.0)
    return maps[:cells].view(batch, 2, height, width)


def dialogue_maps(clicks: Clicks, prev_mask: Tensor, radius: float) -> Tensor:
    """What most networks read beside the image: the mask shown last and the disks of all clicks.

    Args:
        clicks: B samples, in pixels of the mask.
        prev_mask: (B, 1, H, W) probability.
        radius: of the disks in pixels.

    Returns:
        (B, 3, H, W) in the dtype of `prev_mask`: previous mask, positive disks, negative disks.
    """
    disks = disk_maps(clicks, (prev_mask.shape[-2], prev_mask.shape[-1]), radius)
    return torch.cat([prev_mask, disks.to(prev_mask)], dim=1)


def decay_maps(clicks: Clicks, size: tuple[int, int], cells: tuple[int, int], radius: Tensor) -> Tensor:
    """Proximity of each cell of a feature map to the clicks: 1 at a click, falling linearly to 0 at its radius.

    A cell takes the maximum over the clicks of a sign. With equal radii this is formula 5 of DISNet; with a larger
    radius for the first click it is the only reading that fits (A-13 of docs/methods/disnet.md).

    Args:
        clicks: in pixels of the image; distances go from the unrounded click to the middles of the cells.
        size: (H, W) of the image.
        cells: (h, w) of the feature map.
        radius: (N,) of each slot, in cells.

    Returns:
        (B, 2, h, w) float32 in 0..1: positive, negative; 0 where there is no click of that sign.
    """
    squared = []  # distance along each axis: (B, N, h) and (B, N, w)
    for axis, (count, side) in enumerate(zip(cells, size, strict=True)):
        place = (clicks.yx[..., axis : axis + 1] + 0.5) * (count / side) - 0.5
        squared.append((place - torch.arange(count, device=place.device, dtype=place.dtype)).square())
    distance = (squared[0][..., :, None] + squared[1][..., None, :]).sqrt()  # (B, N, h, w)
    near = (1 - distance / radius.to(distance)[:, None, None]).clamp_min(0.0)

    # the maximum over the clicks of each sign; a map of zeros stands in where a sample has none
    nothing = near.new_zeros(len(clicks), 1, *cells)
    maps = []
    for sign in (POSITIVE, NEGATIVE):
        of_this_sign = near * (clicks.label == sign)[..., None, None]
        maps.append(torch.cat([nothing, of_this_sign], dim=1).amax(1))
    return torch.stack(maps, dim=1)


def sine_encoding(yx: Tensor, size: tuple[int, int], channels: int, temperature: float = 10000.0) -> Tensor:
    """Sine code of positions, the row in the first half of the channels and the column in the second.

    Positions may be fractional; PiClick truncates them first (`yx.trunc()`).

    Args:
        yx: (..., 2) row and column in pixels.
        size: (H, W) of the frame; the code covers one turn from border to border.
        channels: length of the code, a multiple of 4.
        temperature: ratio of the slowest to the fastest wave.

    Returns:
        (..., channels) float32; sine at even, cosine at odd places of each half.
    """
    halves = [_axis_code(yx[..., axis], size[axis], channels, temperature) for axis in (0, 1)]
    return torch.cat(halves, dim=-1)


def sine_grid(
    size: tuple[int, int], channels: int, temperature: float = 10000.0, device: torch.device | str | None = None
) -> Tensor:
    """`sine_encoding` of every pixel of an image of `size` (H, W): (channels, H, W) float32."""
    height, width = size
    rows, columns = (
        _axis_code(torch.arange(length, device=device), length, channels, temperature).T for length in size
    )
    return torch.cat([rows[:, :, None].expand(-1, -1, width), columns[:, None, :].expand(-1, height, -1)])


def _axis_code(position: Tensor, length: int, channels: int, temperature: float) -> Tensor:
    """(..., channels / 2) code of positions along one axis of `length` pixels."""
    if channels % 4:
        raise ValueError(f"channels of a sine code must be a multiple of 4, got {channels}")
    angle = (position.float() + 1) / (length + 1e-6) * (2 * math.pi)
    pairs = torch.arange(channels // 4, device=position.device)
    angle = angle[..., None] / temperature ** (4 * pairs / channels)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
