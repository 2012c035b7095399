"""Small random scenes with layered ids, as batches: flat ones, trees, overlaps, nothing at all."""

from __future__ import annotations

import numpy as np
import torch

from clicklab.records import IGNORE, Batch, Clicks, ObjectTable


def random_batch(seed: int, batch: int = 4, size: tuple[int, int] = (32, 40), layers: int = 3) -> Batch:
    """Rectangles in layers; an object of layer l > 0 gets a random parent among those below, or none.

    Ids have gaps, some ids in the layers are listed nowhere, some pixels are ignored; the last sample has no object.
    """
    rng = np.random.default_rng(seed)
    ids, tables = np.zeros((batch, layers, *size), np.int32), []
    for b in range(batch - 1):
        listed: list[tuple[int, int, int]] = []
        for key in rng.permutation(np.arange(1, 60))[: rng.integers(1, 12)].tolist():
            layer = int(rng.integers(layers))
            y0, x0 = (int(rng.integers(0, side - 4)) for side in size)
            window = ids[b, layer, y0 : y0 + int(rng.integers(3, 20)), x0 : x0 + int(rng.integers(3, 20))]
            window[window == 0] = key
            above = [other for other, place, _ in listed if place < layer]
            parent = int(rng.choice(above)) if above and rng.random() < 0.7 else 0
            if (ids[b, layer] == key).any() and rng.random() < 0.9:  # else an id that no table knows
                listed.append((key, layer, parent))
        if rng.random() < 0.5:
            ids[b, 0, : int(rng.integers(1, 4))] = IGNORE
        listed = [entry for entry in sorted(listed) if (ids[b, entry[1]] == entry[0]).any()]
        known = {key for key, _, _ in listed}
        tables.append(_table([(k, place, p if p in known else 0) for k, place, p in listed], ids[b], rng))
    tables.append(_table([], ids[-1], rng))
    target = torch.from_numpy(np.stack([_target(*pair) for pair in zip(ids, tables, strict=True)]))[:, None].float()
    image = torch.zeros(batch, 3, *size)
    return Batch(image, target, Clicks.empty(batch), torch.zeros_like(target), torch.from_numpy(ids), tuple(tables))


def with_clicks(batch: Batch, seed: int, count: int = 2) -> Batch:
    """The same batch with random clicks, half of them near the target; some slots are empty."""
    rng = np.random.default_rng(seed)
    clicks = []
    for target in batch.target[:, 0].numpy():
        rows = []
        for _ in range(int(rng.integers(1, count + 1))):
            places = np.argwhere(target == 1) if rng.random() < 0.7 else np.argwhere(target != IGNORE)
            places = places if len(places) else np.argwhere(target == 0)
            y, x = places[rng.integers(len(places))]
            rows.append((float(y), float(x), int(target[y, x])))
        clicks.append(rows)
    return batch.replace(clicks=Clicks.from_list(clicks))


def mask_of(batch: Batch, sample: int, key: int) -> np.ndarray:
    """(H, W) bool: pixels of an object, slowly."""
    assert batch.layers is not None
    return (batch.layers[sample].numpy() == key).any(0)


def _table(listed: list[tuple[int, int, int]], ids: np.ndarray, rng: np.random.Generator) -> ObjectTable:
    keys, places, parents = ([entry[i] for entry in listed] for i in range(3))
    chosen = rng.permutation(len(keys))[: 1 + (rng.random() < 0.3)]
    return ObjectTable(
        torch.tensor(keys, dtype=torch.int64),
        torch.tensor(places, dtype=torch.int64),
        torch.tensor(parents, dtype=torch.int64),
        torch.zeros(len(keys), dtype=torch.bool),
        torch.tensor([int((ids == key).sum()) for key in keys], dtype=torch.int64),
        torch.tensor([i in chosen for i in range(len(keys))], dtype=torch.bool),
    )


def _target(ids: np.ndarray, table: ObjectTable) -> np.ndarray:
    mask = np.isin(ids, table.ids[table.target].numpy()).any(0).astype(np.int8)
    mask[(ids == IGNORE).any(0)] = IGNORE
    return mask
