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
        rng: where all chance comes from.
    """

    def pixels(key: int) -> np.ndarray:
        return layers[..., objects[key].layer] == key  # (H, W)

    children = _children(objects)
    node = _walk_down(root, children, rng)
    whole = pixels(node)
    parts = {key: pixels(key) for key in children.get(node, [])}

    left_out = _children_to_leave_out(parts, rng)
    without = _union(left_out, whole.shape)
    mask = whole & ~without

    limit = SMALL_CHILD * np.count_nonzero(whole)
    small = [part for part in parts.values() if np.count_nonzero(part) < limit]
    clickable = mask & ~_union(small, whole.shape)

    parent = objects[node].parent
    rest_of_parent = [pixels(parent) & ~whole] if parent else []
    is_whole = not (whole & without).any()
    return NestedTarget(node, mask, clickable, (*rest_of_parent, *left_out), is_whole)


def _children(objects: dict[int, SceneObject]) -> dict[int, list[int]]:
    """Id -> ids of the objects that are part of it; 0 -> the roots."""
    children: dict[int, list[int]] = {}
    for key, entry in objects.items():
        children.setdefault(entry.parent, []).append(key)
    return children


def _walk_down(root: int, children: dict[int, list[int]], rng: np.random.Generator) -> int:
    """The object at which a walk from `root` to random children stops."""
    node = root
    while children.get(node) and rng.random() >= STOP_PROB:
        node = int(rng.choice(children[node]))
    return node


def _children_to_leave_out(parts: dict[int, np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Masks of 0 to 3 random children, all numbers being equally likely."""
    most = min(len(parts), MOST_LEFT_OUT)
    count = int(rng.integers(most + 1))
    chosen = rng.permutation(list(parts))[:count]
    return [parts[key] for key in chosen]


def _union(masks: list[np.ndarray], size: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool: where any of the masks is True."""
    return np.logical_or.reduce(masks) if masks else np.zeros(size, dtype=bool)
