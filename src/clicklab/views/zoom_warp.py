"""Target-aware image zooming (TAIZ): a small view in which the target has more pixels than its surroundings.

Each axis is stretched by itself, so that a view is rows x columns of the source image and the way back is exact.
Source: VTMR, eq. 4-5, after "Learning to Zoom and Unzoom" (CVPR 2023). Dilation, floor and the unit of sigma are ours,
chosen by how well masks survive the way there and back (docs/methods/vtmr.md#target-aware-zoom): without them the
target grows, but its outline, where the map then jumps, gets fewer pixels than before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.clicks.maps import disk_maps
from clicklab.records import EMPTY, Clicks

Size = tuple[int, int]


@dataclass(frozen=True)
class ZoomWarp:
    """Where each row and column of a view comes from, for a batch. Between nodes the map is linear.

    A pixel p of n has the coordinate p / (n - 1), as in all resizes with align_corners=True.

    Attributes:
        rows: (B, h) float64 coordinates in the source, strictly increasing from 0 to 1.
        columns: (B, w) the same.
    """

    rows: Tensor
    columns: Tensor

    @property
    def size(self) -> Size:
        """(h, w) of the view."""
        return self.rows.shape[1], self.columns.shape[1]

    def zoom(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) of the source -> (B, C, h, w), bilinear."""
        return _sample(maps, self.rows, self.columns)

    def unzoom(self, maps: Tensor, size: Size) -> Tensor:
        """(B, C, h, w) -> (B, C, H, W) of a source of `size`, bilinear."""
        rows, columns = (
            _inverse(axis, _even(n, axis)) for axis, n in zip((self.rows, self.columns), size, strict=True)
        )
        return _sample(maps, rows, columns)

    def clicks(self, clicks: Clicks, size: Size) -> Clicks:
        """Clicks on a source of `size` (H, W) in pixels of the view, not rounded; those outside of it are dropped."""
        clicks = clicks.to(self.rows.device)
        scale = clicks.yx.new_tensor([max(side - 1, 1) for side in size])
        place = (clicks.yx / scale).to(self.rows)
        inside = clicks.valid & ((place >= 0) & (place <= 1)).all(dim=2)
        seen = [
            _inverse(axis, place[..., n].clamp(0, 1)) * (axis.shape[1] - 1)
            for n, axis in enumerate((self.rows, self.columns))
        ]
        yx = torch.where(inside[..., None], torch.stack(seen, dim=2).to(clicks.yx), -1.0)
        return Clicks(yx, torch.where(inside, clicks.label, EMPTY).to(clicks.label))

    def __getitem__(self, index: slice | Tensor) -> ZoomWarp:
        """Some of the samples."""
        return ZoomWarp(self.rows[index], self.columns[index])


@dataclass(frozen=True)
class TargetZoom:
    """How much room a target gets in a view. Lengths are in pixels of a view of 256; they grow and shrink with it.

    Attributes:
        size: (h, w) of the view, or its side in pixels.
        sigma: reach of a target's pixels (11 in the paper, which names no unit).
        floor: weight of what is no target, between 0 and 1; it bounds how steep the map gets. 1: an ordinary resize.
        dilation: the target is widened by so much.
        radius: of the disks round clicks.
        guided_by: what the target is taken to be: the `mask`, the `clicks` of both signs, or their union (paper).

    Raises:
        ValueError: naming the field that makes no sense.
    """

    size: int | Size = 256
    sigma: float = 11.0
    floor: float = 0.05
    dilation: float = 6.0
    radius: float = 5.0
    guided_by: Literal["mask", "clicks", "both"] = "both"

    def __post_init__(self) -> None:
        size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        object.__setattr__(self, "size", size)
        if min(size) < 2:
            raise ValueError(f"zoom size is {self.size}: each side needs at least 2 pixels")
        if self.sigma <= 0 or not 0 < self.floor <= 1 or self.dilation < 0:
            given = f"{self.sigma}, {self.floor} and {self.dilation}"
            raise ValueError(f"zoom wants sigma > 0, floor in (0, 1] and dilation >= 0, got {given}")
        if self.guided_by not in ("mask", "clicks", "both"):
            raise ValueError(f"zoom guided_by is {self.guided_by!r}; expected mask, clicks or both")

    def warp(self, mask: Tensor, clicks: Clicks | None = None) -> ZoomWarp:
        """The map for masks and clicks of the source.

        Args:
            mask: (B, 1, H, W) what is taken for the target: above 0.5, or bool. Ignored pixels (-1) do not count.
            clicks: on the source, in its pixels.
        """
        guidance = self.guidance(mask, clicks).double()
        rows, columns = guidance.mean(dim=3)[:, 0], guidance.mean(dim=2)[:, 0]
        return ZoomWarp(self._axis(rows), self._axis(columns))

    def guidance(self, mask: Tensor, clicks: Clicks | None = None) -> Tensor:
        """(B, 1, h, w) in [0, 1]: how much of each pixel of an evenly resized view is target; arguments of `warp`."""
        size = _pair(self.size)
        target = torch.zeros((len(mask), 1, *size), dtype=torch.float32, device=mask.device)
        if self.guided_by != "clicks":
            target = F.adaptive_avg_pool2d((mask > 0.5).float(), size)
        if self.guided_by != "mask" and clicks is not None:
            clicks = clicks.to(mask.device)
            scale = clicks.yx.new_tensor(size) / clicks.yx.new_tensor(mask.shape[-2:])
            seen = Clicks(torch.where(clicks.valid[..., None], clicks.yx * scale, -1.0), clicks.label)
            target = torch.maximum(target, disk_maps(seen, size, self.radius * self._unit).amax(dim=1, keepdim=True))
        reach = round(self.dilation * self._unit)
        return F.max_pool2d(target, 2 * reach + 1, stride=1, padding=reach)

    @property
    def _unit(self) -> float:
        return min(_pair(self.size)) / 256

    def _axis(self, weight: Tensor) -> Tensor:
        """(B, n) float64 share of target at each node -> (B, n) where the node comes from (eq. 4 and 5).

        The weights go on beyond the border as in a mirror, so that the ends stay where they are.
        """
        mean = weight.mean(dim=1, keepdim=True)
        relative = torch.where(mean > 0, weight / mean.clamp_min(torch.finfo(weight.dtype).tiny), 1.0)
        weight = (1 - self.floor) * relative + self.floor
        count = weight.shape[1]
        mirrored = F.pad(weight[:, None], (count - 1, count - 1), mode="reflect")
        node = torch.arange(count, dtype=weight.dtype, device=weight.device)
        source = torch.arange(1 - count, 2 * count - 1, dtype=weight.dtype, device=weight.device)
        kernel = (-(node[:, None] - source).square() / (2 * (self.sigma * self._unit) ** 2)).exp()
        pulled = mirrored * kernel  # (B, n, 3 n - 2)
        place = (pulled @ source) / pulled.sum(dim=2) / (count - 1)
        return _increasing(place)


def _increasing(place: Tensor) -> Tensor:
    """Takes out what rounding may do to a strictly increasing map (B, n) from 0 to 1."""
    place[:, 0], place[:, -1] = 0.0, 1.0
    step = 1e-12 * torch.arange(place.shape[1], dtype=place.dtype, device=place.device)
    place = place.clamp(0, 1).cummax(dim=1).values + step
    return place / place[:, -1:]


def _inverse(nodes: Tensor, wanted: Tensor) -> Tensor:
    """(B, m) coordinates in the view of source coordinates `wanted` (B, m) in [0, 1]; `nodes` (B, n) increase."""
    count = nodes.shape[1]
    after = torch.searchsorted(nodes, wanted.contiguous(), right=True).clamp(1, count - 1)
    low, high = nodes.gather(1, after - 1), nodes.gather(1, after)
    return (after - 1 + (wanted - low) / (high - low)) / (count - 1)


def _even(count: int, like: Tensor) -> Tensor:
    """(B, count) coordinates of the pixels of an axis."""
    return torch.linspace(0, 1, count, dtype=like.dtype, device=like.device).expand(len(like), -1).contiguous()


def _sample(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, C, len(rows), len(columns)) values of maps at source coordinates."""
    exact = torch.promote_types(maps.dtype, torch.float32)  # half precision would miss by whole pixels
    y, x = (2 * axis.to(exact) - 1 for axis in (rows, columns))
    grid = torch.stack([x[:, None].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])], dim=3)
    sampled = F.grid_sample(maps.to(exact), grid, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled.to(maps.dtype)


def _pair(size: int | Size) -> Size:
    return (size, size) if isinstance(size, int) else size
