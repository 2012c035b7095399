"""The records that travel between the rooms: clicks, training batches, evaluation objects, predictions.

Coordinates are always (row y, column x) in pixels of the frame the record lives in. Images are RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

POSITIVE, NEGATIVE, EMPTY = 1, 0, -1
IGNORE = -1


@dataclass(frozen=True)
class Clicks:
    """Ordered clicks of a batch; slot order is click order, slot 0 is the first click.

    Attributes:
        yx: (B, N, 2) float32, row and column in pixels; never rounded. Empty slots hold -1. float64 for a network that
            asks for it (`Predictor`).
        label: (B, N) int8, 1 positive, 0 negative, -1 empty slot.
    """

    yx: Tensor
    label: Tensor

    def __post_init__(self) -> None:
        if self.yx.ndim != 3 or self.yx.shape[-1] != 2 or self.yx.shape[:2] != self.label.shape:
            raise ValueError(
                f"Clicks want yx (B, N, 2) and label (B, N), got {tuple(self.yx.shape)} and {tuple(self.label.shape)}"
            )

    @classmethod
    def empty(cls, batch: int, slots: int = 0, device: torch.device | str | None = None) -> Clicks:
        """`batch` samples with `slots` empty slots each."""
        yx = torch.full((batch, slots, 2), -1.0, device=device)
        return cls(yx, torch.full((batch, slots), EMPTY, dtype=torch.int8, device=device))

    @classmethod
    def from_list(
        cls, samples: Sequence[Sequence[tuple[float, float, int | bool]]], device: torch.device | str | None = None
    ) -> Clicks:
        """From one list of (y, x, positive) per sample; shorter lists are filled with empty slots."""
        slots = max((len(sample) for sample in samples), default=0)
        yx = np.full((len(samples), slots, 2), -1.0, dtype=np.float32)
        label = np.full((len(samples), slots), EMPTY, dtype=np.int8)
        for row, sample in enumerate(samples):
            for slot, (y, x, positive) in enumerate(sample):
                yx[row, slot] = y, x
                label[row, slot] = int(positive)
        return cls(torch.from_numpy(yx).to(device), torch.from_numpy(label).to(device))

    @classmethod
    def stack(cls, parts: Sequence[Clicks]) -> Clicks:
        """Joins batches along B; fewer slots are filled up with empty ones."""
        slots = max(part.slots for part in parts)
        padded = [part.padded(slots) for part in parts]
        return cls(torch.cat([p.yx for p in padded]), torch.cat([p.label for p in padded]))

    def to_list(self) -> list[list[tuple[float, float, int]]]:
        """One list of (y, x, label) per sample, empty slots left out."""
        rows = zip(self.yx.tolist(), self.label.tolist(), strict=True)
        return [
            [(y, x, label) for (y, x), label in zip(yx, labels, strict=True) if label != EMPTY] for yx, labels in rows
        ]

    def append(self, yx: Tensor, label: Tensor) -> Clicks:
        """One more slot per sample: yx (B, 2), label (B,) where -1 means that the sample got no click."""
        return Clicks(
            torch.cat([self.yx, yx[:, None].to(self.yx)], dim=1),
            torch.cat([self.label, label[:, None].to(self.label)], dim=1),
        )

    def padded(self, slots: int) -> Clicks:
        """The same clicks with at least `slots` slots."""
        missing = slots - self.slots
        if missing <= 0:
            return self
        extra = Clicks.empty(len(self), missing, self.yx.device)
        return Clicks(torch.cat([self.yx, extra.yx], dim=1), torch.cat([self.label, extra.label], dim=1))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Clicks:
        """The same clicks on another device."""
        return Clicks(self.yx.to(device, non_blocking=non_blocking), self.label.to(device, non_blocking=non_blocking))

    def __len__(self) -> int:
        return self.yx.shape[0]

    def __getitem__(self, index: slice | Tensor | list[int]) -> Clicks:
        """Some of the samples, as a batch again."""
        return Clicks(self.yx[index], self.label[index])

    @property
    def slots(self) -> int:
        """Number of slots N, filled or not."""
        return self.yx.shape[1]

    @property
    def valid(self) -> Tensor:
        """(B, N) bool: the slot holds a click."""
        return self.label != EMPTY


@dataclass(frozen=True)
class Prediction:
    """What a network answers to clicks.

    Attributes:
        logits: (B, K, H, W), K candidate masks at the size of the image given; sigmoid gives probabilities.
        score: (B, K) how much the network trusts each candidate (higher is better); None only when K = 1.
        state: what the next `step` on the same image may reuse.
        extras: named tensors that a loss needs (auxiliary logits, matching scores, ...).
        valid: (B, K) bool, the candidates that exist for this click; None: all of them.
    """

    logits: Tensor
    score: Tensor | None = None
    state: Any = None
    extras: dict[str, Any] = field(default_factory=dict)
    valid: Tensor | None = None


@dataclass(frozen=True)
class ObjectTable:
    """The objects of one layered id map after augmentation (see `Batch.layers`).

    Attributes:
        ids: (N,) int64, unique over all layers, > 0.
        layer: (N,) int64, the layer that holds the object.
        parent: (N,) int64, id of the parent object, 0 for a root.
        stuff: (N,) bool, True for a stuff region.
        area: (N,) int64, pixels.
        target: (N,) bool, True for the objects whose union is the sample's target.
    """

    ids: Tensor
    layer: Tensor
    parent: Tensor
    stuff: Tensor
    area: Tensor
    target: Tensor

    def packed(self) -> Tensor:
        """(6, N) int64: all columns in their order."""
        return torch.stack([getattr(self, column.name).long() for column in fields(self)])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the table as one numpy array.

        A data worker passes every tensor through a shared-memory file of its own. Six small tensors per sample would
        take longer than the images do, and exhaust the limit of open files.
        """
        columns = self.packed().cpu().numpy()
        return _unpickled, (columns, self.ids.device)


def split_tables(packed: Tensor, lengths: Sequence[int]) -> tuple[ObjectTable, ...]:
    """Tables from their `packed` columns (6, N) side by side; `lengths` says how many objects each has."""
    ids, layer, parent, stuff, area, target = packed
    columns = (ids, layer, parent, stuff.bool(), area, target.bool())
    pieces = zip(*(column.split(list(lengths)) for column in columns), strict=True)
    return tuple(ObjectTable(*piece) for piece in pieces)


def _unpickled(packed: np.ndarray, device: torch.device) -> ObjectTable:
    (table,) = split_tables(torch.from_numpy(packed).to(device), [packed.shape[1]])
    return table


@dataclass(frozen=True)
class Batch:
    """Training samples with the dialogue so far.

    Attributes:
        image: (B, 3, H, W) float32 in [0, 1], RGB.
        target: (B, 1, H, W) float32, 1 object, 0 background, -1 ignore.
        clicks: what the user clicked so far.
        prev_mask: (B, 1, H, W) float32 probability of the mask shown last; zeros at the start.
        layers: (B, L, H, W) int32 object ids, 0 background, -1 ignore; only when the data module is asked for them.
        objects: one table per sample, together with `layers`.
    """

    image: Tensor
    target: Tensor
    clicks: Clicks
    prev_mask: Tensor
    layers: Tensor | None = None
    objects: tuple[ObjectTable, ...] | None = None

    def __len__(self) -> int:
        return self.image.shape[0]

    def replace(self, **changes: Any) -> Batch:
        """A batch with some fields changed."""
        return replace(self, **changes)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        objects = self.objects
        if objects:  # in one piece: hundreds of small copies would each be waited for
            packed = torch.cat([table.packed() for table in objects], dim=1)
            packed = packed.to(device, non_blocking=non_blocking)
            objects = split_tables(packed, [len(table.ids) for table in objects])
        layers = None if self.layers is None else self.layers.to(device, non_blocking=non_blocking)
        return Batch(
            self.image.to(device, non_blocking=non_blocking),
            self.target.to(device, non_blocking=non_blocking),
            self.clicks.to(device, non_blocking),
            self.prev_mask.to(device, non_blocking=non_blocking),
            layers,
            objects,
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, for the DataLoader."""
        return Batch(
            self.image.pin_memory(),
            self.target.pin_memory(),
            Clicks(self.clicks.yx.pin_memory(), self.clicks.label.pin_memory()),
            self.prev_mask.pin_memory(),
            None if self.layers is None else self.layers.pin_memory(),
            self.objects,
        )


@dataclass(frozen=True)
class EvaluationObject:
    """One object to be segmented by clicks, at its full resolution.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        target: (H, W) int8, 1 object, 0 background, -1 ignore.
        name: file stem of the image.
        object: id of the object inside its annotation.
        index: position of the object in its dataset; the same on every rank, so that nothing is counted twice.
        initial_mask: (H, W) bool, a mask to start from, or None.
        clicks: (y, x, label) that a person clicked on it, to be replayed; None: the simulated user clicks.
    """

    image: np.ndarray
    target: np.ndarray
    name: str
    object: int
    index: int
    initial_mask: np.ndarray | None = None
    clicks: tuple[tuple[int, int, int], ...] | None = None


@dataclass(frozen=True)
class SkippedObject:
    """An object that could not be evaluated (broken file, empty mask); listed in the results, never counted."""

    name: str
    object: int
    index: int
    reason: str
