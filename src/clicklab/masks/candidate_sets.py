"""Lists of masks that clicks may mean, one list per sample, made from layered ids without one mask per candidate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clicklab.records import Batch


@dataclass(frozen=True)
class MaskSets:
    """Masks of every sample, filled up to the longest list of the batch.

    Attributes:
        masks: (B, M, H, W) bool.
        valid: (B, M) bool, False for masks that only fill up; those come last.
    """

    masks: Tensor
    valid: Tensor

    @property
    def count(self) -> Tensor:
        """(B,) int64: number of masks of each sample."""
        return self.valid.sum(1)

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """(B, 1, H, W) bool: one mask of each sample, all equally likely; an empty one where there is none."""
        number = torch.rand(len(self.valid), generator=generator, device=self.valid.device) * self.count
        return self.masks[torch.arange(len(self.valid), device=self.valid.device), number.long()][:, None]


@dataclass(frozen=True)
class PaddedObjects:
    """The object tables of a batch, filled up to the longest one (at least one column).

    Attributes:
        ids: (B, N) int64, 0 where filled up.
        layer: (B, N) int64.
        parent: (B, N) int64, id of the parent, 0 for a root.
        target: (B, N) bool.
    """

    ids: Tensor
    layer: Tensor
    parent: Tensor
    target: Tensor

    @property
    def listed(self) -> Tensor:
        """(B, N) bool: the column holds an object."""
        return self.ids > 0

    @property
    def is_parent(self) -> Tensor:
        """(B, N, N) bool: object m is the parent of object n, at [b, n, m]."""
        return self.listed[:, :, None] & (self.parent[:, :, None] == self.ids[:, None]) & (self.parent > 0)[:, :, None]


def padded_objects(batch: Batch) -> PaddedObjects:
    """The tables of a batch side by side. Raises ValueError for a batch without layers."""
    if batch.layers is None or batch.objects is None:
        raise ValueError("the batch tells nothing about the objects of its scenes: set data.with_layers to true")
    tables = batch.objects
    length = torch.tensor([len(table.ids) for table in tables])[:, None]
    column = torch.arange(max(1, int(length.max())))
    # the entry of each cell among those of all tables, worked out on the host; what fills up is found behind them
    entry = torch.where(column < length, length.cumsum(0) - length + column, length.sum())
    entry = entry.to(batch.layers.device, non_blocking=True)

    def padded(name: str) -> Tensor:
        rows = [getattr(table, name) for table in tables]
        return torch.cat([*rows, rows[0].new_zeros(1)])[entry]

    return PaddedObjects(*(padded(name) for name in ("ids", "layer", "parent", "target")))


def rendered(layers: Tensor, ids: Tensor, members: Tensor) -> Tensor:
    """(B, M, H, W) bool: the union of the member objects of every set.

    Each id is looked up once per layer in a table of bits, one bit per set, so neither the number of objects nor the
    size of the unions costs anything.

    Args:
        layers: (B, L, H, W) int ids; what is not in `ids` belongs to no set.
        ids: (B, N) int64, unique per sample, 0 for columns that hold no object.
        members: (B, M, N) bool, False in columns without object.
    """
    batch, count, _ = members.shape
    highest = int(ids.max()) + 1  # ids above those of the tables share one entry that is in no set
    masks = torch.empty(batch, count, *layers.shape[-2:], dtype=torch.bool, device=layers.device)
    for start in range(0, count, 8):
        part = members[:, start : start + 8]
        bit = (1 << torch.arange(part.shape[1], device=layers.device)).to(torch.uint8)
        table = torch.zeros(batch, highest + 2, dtype=torch.uint8, device=layers.device)
        table.scatter_(1, ids + 1, (part * bit[:, None]).sum(1).to(torch.uint8))
        bits = torch.zeros(batch, layers.shape[-2] * layers.shape[-1], dtype=torch.uint8, device=layers.device)
        for layer in layers.unbind(1):  # few; all at once would need an int64 index for every one of them
            bits |= table.gather(1, layer.flatten(1).long().clamp_max(highest) + 1)
        found = (bits[:, None] & bit[:, None]) != 0
        masks[:, start : start + part.shape[1]] = found.view(batch, -1, *layers.shape[-2:])
    return masks


def kept_first(keep: Tensor) -> Tensor:
    """(B, M) int64: an order in which the entries to keep come first and stay in their order."""
    return keep.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
