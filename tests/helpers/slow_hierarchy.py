"""The object tree by two slow loops over full-size masks, written from the notes on COCO+LVIS; random masks for it."""

from __future__ import annotations

import numpy as np


def random_masks(rng, size=(40, 50), count=12):
    """Boxes, many of them inside others, some ragged, some all but equal."""
    masks = []
    for _ in range(count):
        mask = np.zeros(size, bool)
        if masks and rng.random() < 0.6:
            rows, columns = np.nonzero(masks[rng.integers(len(masks))])
            low, high = sorted(rng.choice(rows, 2)), sorted(rng.choice(columns, 2))
        else:
            low, high = sorted(rng.integers(0, size[0], 2)), sorted(rng.integers(0, size[1], 2))
        mask[low[0] : low[1] + 1, high[0] : high[1] + 1] = True
        ragged = mask & (rng.random(size) < 0.85)
        masks.append(ragged if rng.random() < 0.5 and ragged.any() else mask)
    return masks


def box(mask):
    rows, columns = np.nonzero(mask)
    return rows.min(), rows.max(), columns.min(), columns.max()


def slow_contains(big, small):
    (a0, a1, b0, b1), (c0, c1, d0, d1) = box(big), box(small)
    common = max(0, min(a1, c1) - max(a0, c0) + 1) * max(0, min(b1, d1) - max(b0, d0) + 1)
    if common / ((c1 - c0 + 1) * (d1 - d0 + 1)) < 0.70:
        return False
    return (big & small).sum() / small.sum() > 0.80


def slow_tree(masks):
    """The two loops of docs/data.md#hierarchy on full-size masks, without any memory of earlier tests."""
    areas = [int(mask.sum()) for mask in masks]
    order = sorted(range(len(masks)), key=lambda k: (-areas[k], -k))
    parents, children = [None] * len(masks), {k: [] for k in range(len(masks))}

    def sink(root, j):
        for child in children[root]:
            if areas[child] >= areas[j]:
                found = sink(child, j)
                if found is not None:
                    return found
        return root if slow_contains(masks[root], masks[j]) else None

    for place, i in enumerate(order):
        for j in order[place + 1 :]:
            if parents[j] is None and slow_contains(masks[i], masks[j]):
                parents[j] = sink(i, j)
                children[parents[j]].append(j)
    return parents
