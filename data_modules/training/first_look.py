"""A look at the first samples of every training source, before hours are spent on samples that hold nothing to learn.

A recipe made for large photographs finds no target in a set of small objects: without this, the loss falls to that of
"all is background", and nothing is said.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from data_modules.scenes import BrokenScene, SceneDataset
from data_modules.training.sample_maker import SampleMaker
from data_modules.training.view import TrainingView

FEW, LOOKED_AT = 8, 40  # samples, where all of them have a target, and where one has none
TOLD = 0.25  # a larger share of samples without target is told


@dataclass
class SourceLook:
    """What the first samples of a source were like.

    Attributes:
        name: of the dataset.
        looked_at: samples.
        with_target: those that have one.
        on_purpose: those of scenes that are without object on purpose.
        areas: of each sample, pixels of the largest object that could have been its target.
        stuff_alone: scenes that hold nothing but stuff regions.
    """

    name: str
    looked_at: int = 0
    with_target: int = 0
    on_purpose: int = 0
    areas: list[int] = field(default_factory=list)
    stuff_alone: int = 0

    @property
    def without_reason(self) -> int:
        """Samples without target although their scene is not meant to be without."""
        return self.looked_at - self.with_target - self.on_purpose


def look_at_sources(datasets: Sequence[SceneDataset], make: SampleMaker, seed: int) -> list[SourceLook]:
    """Makes the first samples of every source, says how many have no target, and refuses a source without any.

    Args:
        datasets: the sources' datasets.
        make: how samples are made; mixes are left out.
        seed: of the samples, so that all devices see the same.

    Raises:
        ValueError: no sample of a source has a target, unless all its scenes are without object on purpose and another
            source has targets; the message names the setting to change.
    """
    looks = [_look_at(dataset, make, np.random.default_rng([seed, number])) for number, dataset in enumerate(datasets)]
    anything = any(look.with_target for look in looks)
    for look in looks:
        if not look.looked_at:
            continue  # nothing could be read: reading says why
        negatives_alone = look.on_purpose == look.looked_at
        if not look.with_target and not (negatives_alone and anything):
            raise ValueError(
                f"{look.name}: none of the first {look.looked_at} training samples has a target: {_advice(look, make)}"
            )
        if look.without_reason > TOLD * look.looked_at:
            told = f"{look.name}: {look.without_reason} of the first {look.looked_at} training samples have no target"
            warnings.warn(f"{told}; {_advice(look, make)}", stacklevel=2)
    return looks


def _look_at(dataset: SceneDataset, make: SampleMaker, rng: np.random.Generator) -> SourceLook:
    look = SourceLook(dataset.name)
    for index in rng.permutation(len(dataset))[:LOOKED_AT].tolist():
        if look.looked_at == FEW == look.with_target:
            break
        try:
            scene = dataset.training_scene(index)
        except BrokenScene:
            continue  # named by the reader of the samples
        stuff_too = make.stuff_too(rng)
        negative = dataset.negatives and not scene.objects
        view = make.view(scene, stuff_too, rng, dataset.negatives)
        sample = None if view is None else make.finish(view, stuff_too, rng, negative)
        look.looked_at += 1
        look.with_target += sample is not None and bool((sample.target == 1).any())
        look.on_purpose += negative
        look.stuff_alone += bool(scene.objects) and all(entry.stuff for entry in scene.objects.values())
        met = view or make.whole(scene, stuff_too).sync_objects()
        if met.objects:
            look.areas.append(_largest_target(met, make))
    return look


def _largest_target(view: TrainingView, make: SampleMaker) -> int:
    """Pixels of the largest object of a view that may be a target by its place in the tree."""
    allowed = [key for key, entry in view.objects.items() if make.targets.parts or not entry.parent]
    return max((view.areas[key] for key in allowed), default=0)


def _advice(look: SourceLook, make: SampleMaker) -> str:
    """What the samples have been like, and the setting to change."""
    law = make.targets
    if look.stuff_alone * 2 > look.looked_at:
        return f"all objects are stuff; set targets.stuff_prob (now {law.stuff_prob:g}) above 0"
    if not look.areas:
        return "the crops hold no object; is the crop size right? negatives=true keeps photos without one"
    met = f"largest objects have {min(look.areas)} to {max(look.areas)} pixels"
    if np.median(look.areas) < law.min_object_area:
        return f"{met}; lower targets.min_object_area, now {law.min_object_area}"
    if law.min_part_area or law.max_share < 1:
        settings = f"targets.min_part_area {law.min_part_area} and max_share {law.max_share:g}"
        return f"{met}; loosen {settings}"
    return f"{met}; see targets.keep_background_prob, now {law.keep_background_prob:g}"
