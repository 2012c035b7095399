"""Robustness against the mask to start from: every object several times, each time from another spoilt target.

Source: VTMR, table 3 (docs/methods/vtmr.md#robustness): ten masks of IoU 0.8 for every image; NoC is the mean of all
runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol as Interface

import numpy as np

from clicklab.masks.perturb import perturb
from clicklab.records import EvaluationObject, SkippedObject

TOLERANCE = 0.01  # a mask that is farther from the wanted IoU has missed it
SEED = 2024  # fixed: all methods start from the same masks


class Objects(Interface):
    """A sequence of evaluation objects; item i carries index i (`data_modules.scenes.EvaluationObjects`).

    Several threads ask for items at a time.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> EvaluationObject | SkippedObject: ...


class PerturbedObjects:
    """The objects of another sequence, each `repeats` times in a row with different masks to start from.

    Item i is run i % repeats of object i // repeats and carries index i. What it holds depends on nothing else, so it
    is the same on every rank, in every order and after every interruption.

    Args:
        objects: the objects.
        iou: wanted IoU of the masks.
        repeats: runs of every object.
    """

    def __init__(self, objects: Objects, iou: float, repeats: int) -> None:
        self.objects, self.iou, self.repeats = objects, iou, repeats

    def __len__(self) -> int:
        return len(self.objects) * self.repeats

    def __getitem__(self, index: int) -> EvaluationObject | SkippedObject:
        number, run = divmod(index, self.repeats)
        return perturbed_run(self.objects[number], self.iou, run, self.repeats)


def perturbed_run(
    item: EvaluationObject | SkippedObject, iou: float, run: int, repeats: int
) -> EvaluationObject | SkippedObject:
    """Run number `run` of `repeats` of an object: its own mask to start from, and its own index."""
    index = item.index * repeats + run
    if isinstance(item, SkippedObject):
        return replace(item, index=index)
    generator = np.random.default_rng([SEED, item.index, run])
    return replace(item, index=index, initial_mask=perturb(item.target, iou, generator, TOLERANCE).mask)


def runs_of(
    item: EvaluationObject | SkippedObject, iou: float | None, repeats: int
) -> Iterator[EvaluationObject | SkippedObject]:
    """All runs of an object, the items of `PerturbedObjects`; the object itself where `iou` is None."""
    if iou is None:
        yield item
        return
    for run in range(repeats):
        yield perturbed_run(item, iou, run, repeats)


def missed(initial_ious: Sequence[float], iou: float) -> int:
    """How many masks to start from have another IoU than the wanted one."""
    return sum(abs(found - iou) > TOLERANCE + 1e-6 for found in initial_ious)
