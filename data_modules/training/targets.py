"""Which objects of a scene a training sample asks for.

Source: the official MultiPointSampler and DSample (docs/training.md#initial-clicks). All randomness comes from the
numpy generator passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from clicklab.records import IGNORE
from data_modules.scenes import SceneObject
from data_modules.training.nested_target import nested_target
from data_modules.training.view import any_layer, ignored_pixels


@dataclass(frozen=True)
class TargetSampling:
    """Which objects of a scene become the target. Official values of SBD and COCO+LVIS in brackets.

    Attributes:
        merge_prob: chance that the target is a union of several root objects (both 0.15).
        max_merged: most objects in such a union (both 2).
        stuff_prob: chance, per scene, that stuff regions may be targets; otherwise they are background (SBD 0,
            COCO+LVIS 0.30).
        keep_stuff: stuff regions stay objects of the scene (of `Batch.layers`) where they may not be targets either, as
            PiClick's code has it; they are a target then only where there is no other root.
        min_object_area: objects with fewer pixels after augmentation are no targets (SBD 80, COCO+LVIS 1000).
        keep_background_prob: chance that a crop without any object is used as it is (SBD 0.01, COCO+LVIS 0.05).
        use_hierarchy: walk down the object tree, see `nested_target` (RITM's option of that name, off in all configs).
        parts: objects inside others are drawn as often as roots, and whole; False: roots alone, as officially. Ours,
            for methods that learn a single mask on the nested regions on which DISNet and PiClick learn several.
        min_part_area: connected parts of the target with fewer pixels become background, after the clicks were placed
            (FocalClick: 900).
        max_share: with this below 1, or `min_part_area`, a crop is only used if what is left of its target has more
            pixels than `min_object_area` and covers a smaller share of it than this (FocalClick: 0.85).
    """

    merge_prob: float = 0.15
    max_merged: int = 2
    stuff_prob: float = 0.0
    min_object_area: int = 0
    keep_background_prob: float = 0.0
    keep_stuff: bool = False
    use_hierarchy: bool = False
    parts: bool = False
    min_part_area: int = 0
    max_share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("merge_prob", "stuff_prob", "keep_background_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"targets.{name} is {getattr(self, name)}: a probability lies in 0..1")
        if self.max_merged < 2:
            raise ValueError(f"targets.max_merged is {self.max_merged}: a union has at least 2 objects")
        for name in ("min_object_area", "min_part_area"):
            if getattr(self, name) < 0:
                raise ValueError(f"targets.{name} is {getattr(self, name)}: give a number of pixels, 0 or more")
        if self.parts and self.use_hierarchy:
            raise ValueError("targets.parts and use_hierarchy are both true: they are two ways to draw parts")
        if not 0 < self.max_share <= 1:
            raise ValueError(f"targets.max_share is {self.max_share}: a share of the crop, above 0 and at most 1")

    def accepts(self, mask: np.ndarray) -> bool:
        """Whether a crop with this target (H, W) in {0, 1, -1} is used (`min_part_area`, `max_share`)."""
        if self.max_share == 1 and not self.min_part_area:
            return True
        pixels = np.count_nonzero(mask == 1)
        return bool(pixels > self.min_object_area and (self.max_share == 1 or pixels < self.max_share * mask.size))


@dataclass(frozen=True)
class Target:
    """The chosen target of one crop.

    Attributes:
        mask: (H, W) int8, 1 target, 0 background, -1 ignore.
        ids: the chosen objects; empty for a crop without target.
        parts: (H, W) bool, where positive clicks may fall, one mask per object, ignored pixels left out.
        background: (H, W) bool, where negative clicks of the kind "anywhere" may fall.
        others: (H, W) bool, where those of the kind "on another object" may fall.
        excluded: (H, W) bool each, places that get a negative click each (`use_hierarchy` only).
        whole: whether the mask is the union of the chosen objects, with nothing cut out.
    """

    mask: np.ndarray
    ids: tuple[int, ...]
    parts: tuple[np.ndarray, ...]
    background: np.ndarray
    others: np.ndarray
    excluded: tuple[np.ndarray, ...] = ()
    whole: bool = True


def choose_target(
    layers: np.ndarray,
    objects: dict[int, SceneObject],
    law: TargetSampling,
    rng: np.random.Generator,
    stuff_too: bool = True,
) -> Target:
    """One root object (or any, see `TargetSampling.parts`), now and then the union of several; empty without objects.

    Args:
        layers: (H, W, L) ids after `TrainingView.sync_objects`; those not in `objects` (too small) still count as
            other objects.
        objects: what may be chosen.
        stuff_too: whether stuff may be chosen where there are other roots.
    """
    ids = choose_objects(objects, law, rng, stuff_too)
    if not (ids and law.use_hierarchy):
        return whole_target(layers, objects, ids)
    nested = [nested_target(key, layers, objects, rng) for key in ids]
    return _target(
        layers,
        objects,
        tuple(one.id for one in nested),
        masks=[one.mask for one in nested],
        parts=[one.clickable for one in nested],
        excluded=[place for one in nested for place in one.excluded],
        whole=all(one.whole for one in nested),
    )


def choose_objects(
    objects: dict[int, SceneObject], law: TargetSampling, rng: np.random.Generator, stuff_too: bool = True
) -> tuple[int, ...]:
    """Ids of one object that the law allows, or now and then of several; of none where there is none."""
    allowed = [key for key, entry in objects.items() if law.parts or entry.parent == 0]
    if not stuff_too:
        allowed = [key for key in allowed if not objects[key].stuff] or allowed
    if not allowed:
        return ()
    count = 1
    if len(allowed) > 1 and rng.random() < law.merge_prob:
        count = int(rng.integers(2, min(len(allowed), law.max_merged) + 1))
    return tuple(allowed[i] for i in rng.choice(len(allowed), size=count, replace=False))


def whole_target(layers: np.ndarray, objects: dict[int, SceneObject], ids: tuple[int, ...]) -> Target:
    """The union of the objects `ids`, with nothing cut out; arguments as in `choose_target`."""
    masks = [layers[..., objects[key].layer] == key for key in ids]
    return _target(layers, objects, ids, masks, masks)


def _target(
    layers: np.ndarray,
    objects: dict[int, SceneObject],
    ids: tuple[int, ...],
    masks: Sequence[np.ndarray],
    parts: Sequence[np.ndarray],
    excluded: Sequence[np.ndarray] = (),
    whole: bool = True,
) -> Target:
    ignored = ignored_pixels(layers)
    occupied = any_layer(layers > 0)
    if not ids:
        free = ~occupied & ~ignored
        return Target(np.where(ignored, IGNORE, 0).astype(np.int8), (), (), free, free)
    mask = np.logical_or.reduce(masks) & ~ignored
    background = ~(mask | ignored)
    # official rule: where the target is all there is, "on another object" means anywhere outside
    others = occupied & background if len(objects) > len(ids) else background
    return Target(
        np.where(ignored, IGNORE, mask).astype(np.int8),
        ids,
        tuple(part & ~ignored for part in parts),
        background,
        others,
        # a place to keep clear of one chosen object may belong to another
        tuple(place & background for place in excluded),
        whole,
    )


def without_small_parts(mask: np.ndarray, least: int) -> np.ndarray:
    """A target mask (H, W) in {0, 1, -1} whose parts, joined along edges, all have `least` pixels or more."""
    if not least:
        return mask
    _, parts, statistics, _ = cv2.connectedComponentsWithStats((mask == 1).view(np.uint8), connectivity=4)
    small = statistics[:, cv2.CC_STAT_AREA] < least
    small[0] = False  # all that is no target
    return np.where(small[parts], np.int8(0), mask) if small.any() else mask
