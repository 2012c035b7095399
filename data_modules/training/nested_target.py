"""A target chosen along the object tree: a part instead of the whole, or a whole without some of its parts.

Source: the `use_hierarchy` option of RITM's point sampler (docs/training.md#hierarchical-targets), which no released
configuration switches on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_modules.scenes import SceneObject

STOP_PROB = 0.5  # at every object with children
MOST_LEFT_OUT = 3  # children
SMALL_CHILD = 0.10  # of its parent's area: no positive click falls on it


@dataclass(frozen=True)
class NestedTarget:
    """One object of the tree as a target.

    Attributes:
        id: the object.
        mask: (H, W) bool, its pixels without the children that were left out.
        clickable: (H, W) bool, where positive clicks may fall: `mask` without small children.
        excluded: (H, W) bool each, where a negative click has to fall: the rest of its parent, and each child left out.
        whole: whether `mask` is all of the object.
    """

    id: int
    mask: np.ndarray
    clickable: np.ndarray
    excluded: tuple[np.ndarray, ...]
    whole: bool


def nested_target(
    root: int, layers: np.ndarray, objects: dict[int, SceneObject], rng: np.random.Generator
) -> NestedTarget:
    """Walks down from `root`, stopping at each object with probability 1/2, and leaves up to 3 children out.

    Args:
        root: where to start.
        layers: (H, W, L) ids.
        objects: the tree.
    """
    children: dict[int, list[int]] = {}
    for key, entry in objects.items():
        children.setdefault(entry.parent, []).append(key)
    node = root
    while children.get(node) and rng.random() >= STOP_PROB:
        node = int(rng.choice(children[node]))

    def pixels(key: int) -> np.ndarray:
        return layers[..., objects[key].layer] == key

    below = {key: pixels(key) for key in children.get(node, [])}
    mask = pixels(node)
    excluded = [pixels(objects[node].parent) & ~mask] if objects[node].parent else []
    most = SMALL_CHILD * np.count_nonzero(mask)
    small = [part for part in below.values() if np.count_nonzero(part) < most]
    count = int(rng.integers(min(len(below), MOST_LEFT_OUT) + 1))
    left_out = [below[key] for key in rng.permutation(list(below))[:count]]
    cut = np.logical_or.reduce(left_out) if left_out else np.zeros_like(mask)
    clickable = mask & ~cut & ~np.logical_or.reduce(small) if small else mask & ~cut
    return NestedTarget(node, mask & ~cut, clickable, (*excluded, *left_out), not (mask & cut).any())
