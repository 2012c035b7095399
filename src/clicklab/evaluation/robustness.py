"""Robustness: every object several times, each time from another spoilt target, or with clicks in other places.

Spoilt targets: VTMR, table 3 (docs/methods/vtmr.md#robustness): ten masks of IoU 0.8 for every image; NoC is the mean
of all runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol as Interface

import numpy as np

from clicklab.evaluation.metrics import noc
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.masks.perturb import perturb
from clicklab.records import EvaluationObject, SkippedObject

TOLERANCE = 0.01  # a mask that is farther from the wanted IoU has missed it
CLICKS = 1  # tells the generator of clicks from that of masks
SEED = 2024  # fixed: all methods start from the same masks


class Objects(Interface):
    """A sequence of evaluation objects; item i carries index i (`data_modules.scenes.EvaluationObjects`).

    Several threads ask for items at a time.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> EvaluationObject | SkippedObject: ...


class RepeatedObjects:
    """The objects of another sequence, each several times in a row, with different masks to start from if asked for.

    Item i is run i % repeats of object i // repeats and carries index i. What it holds depends on nothing else, so it
    is the same on every rank, in every order and after every interruption.

    Args:
        objects: the objects.
        repeats: runs of every object.
        iou: wanted IoU of the masks to start from; None: the objects as they are.
    """

    def __init__(self, objects: Objects, repeats: int, iou: float | None = None) -> None:
        self.objects, self.repeats, self.iou = objects, repeats, iou

    def __len__(self) -> int:
        return len(self.objects) * self.repeats

    def __getitem__(self, index: int) -> EvaluationObject | SkippedObject:
        number, run = divmod(index, self.repeats)
        return run_of(self.objects[number], run, self.repeats, self.iou)


def run_of(
    item: EvaluationObject | SkippedObject, run: int, repeats: int, iou: float | None
) -> EvaluationObject | SkippedObject:
    """Run number `run` of `repeats` of an object, with its own index."""
    if iou is not None:
        return perturbed_run(item, iou, run, repeats)
    return replace(item, index=item.index * repeats + run)


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
    item: EvaluationObject | SkippedObject, protocol: EvaluationProtocol
) -> Iterator[EvaluationObject | SkippedObject]:
    """All runs of an object, the items of `RepeatedObjects`; the object itself where it is played once."""
    for run in range(protocol.runs):
        yield run_of(item, run, protocol.runs, protocol.perturb_iou)


def clicks_generator(index: int) -> np.random.Generator:
    """What `click_spread` draws the clicks of a run from: by its index alone, so for all methods alike."""
    return np.random.default_rng([SEED, CLICKS, index])


def spread_of_noc(runs: Mapping[int, Sequence[float]], threshold: float, limit: int, repeats: int) -> dict[str, float]:
    """NoC of each of several runs of a dataset, in three numbers.

    Args:
        runs: index (run % repeats) -> IoU after each click.
        threshold: the IoU to reach.
        limit: clicks that count where it is never reached.
        repeats: runs of every object.

    Returns:
        mean, standard deviation and worst (largest) over the repeats.
    """
    of_repeat = [
        noc([ious for index, ious in runs.items() if index % repeats == number], threshold, limit)
        for number in range(repeats)
    ]
    return {"mean": float(np.mean(of_repeat)), "std": float(np.std(of_repeat)), "worst": float(np.max(of_repeat))}


def missed(initial_ious: Sequence[float], iou: float) -> int:
    """How many masks to start from have another IoU than the wanted one."""
    return sum(abs(found - iou) > TOLERANCE + 1e-6 for found in initial_ious)
