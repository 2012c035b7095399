"""Relation-aware sets against slow versions that walk the tree and dilate every mask."""

from itertools import combinations

import cv2
import numpy as np
import pytest
import torch
from layered_scenes import mask_of, random_batch

from clicklab.masks.candidate_sets import MaskSets, padded_objects, rendered
from clicklab.masks.related import LEAST_REGION, draw_centres, hierarchy_sets, proximity_sets
from clicklab.records import Batch, Clicks, ObjectTable

SEEDS = range(40)


def relatives(table, key: int) -> set[int]:
    parent = dict(zip(table.ids.tolist(), table.parent.tolist(), strict=True))

    def above(node: int) -> list[int]:
        return [node, *above(parent[node])] if node else []

    return set(above(key)) | {other for other in parent if key in above(other)}


def slow_hierarchy(batch: Batch, b: int, centre: int) -> tuple[list[np.ndarray], np.ndarray]:
    table = batch.objects[b]
    parent = dict(zip(table.ids.tolist(), table.parent.tolist(), strict=True))
    masks, key, union = [], centre, np.zeros(batch.target.shape[2:], bool)
    while key:
        grown = union | mask_of(batch, b, key)
        if grown.sum() > union.sum():
            masks.append(grown)
        union, key = grown, parent[key]
    region = mask_of(batch, b, centre)
    for child in (key for key, above in parent.items() if above == centre):
        region = region & ~mask_of(batch, b, child)
    return masks, region


def slow_proximity(batch: Batch, b: int, centre: int, neighbours: int) -> list[np.ndarray]:
    square, middle = np.ones((3, 3), np.uint8), mask_of(batch, b, centre)
    reach = cv2.dilate(middle.astype(np.uint8), square)
    contacts = {}
    for key in batch.objects[b].ids.tolist():
        if key not in relatives(batch.objects[b], centre):
            contacts[key] = int((reach & cv2.dilate(mask_of(batch, b, key).astype(np.uint8), square)).sum())
    best = sorted((key for key, size in contacts.items() if size), key=lambda key: -contacts[key])[:neighbours]
    return [
        np.logical_or.reduce([middle, *(mask_of(batch, b, key) for key in some)])
        for count in range(len(best) + 1)
        for some in combinations(best, count)
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_unions_are_rendered_as_asked(seed):
    batch = random_batch(seed)
    objects = padded_objects(batch)
    members = torch.rand(4, 11, objects.ids.shape[1], generator=torch.manual_seed(seed)) < 0.3
    members &= objects.listed[:, None]
    masks = rendered(batch.layers, objects.ids, members)
    for b in range(4):
        for m in range(11):
            keys = objects.ids[b][members[b, m]].numpy()
            assert np.array_equal(masks[b, m].numpy(), np.isin(batch.layers[b].numpy(), keys).any(0))


@pytest.mark.parametrize("seed", SEEDS)
def test_hierarchy_equals_a_walk_to_the_root(seed):
    batch = random_batch(seed)
    centres = draw_centres(batch, 0.5, torch.manual_seed(seed))
    found = hierarchy_sets(batch, centres)
    for b, centre in enumerate(centres.tolist()):
        count = int(found.sets.count[b])
        if not centre:
            assert count == 0 and not found.region[b].any() and not len(batch.objects[b].ids)
            continue
        masks, region = slow_hierarchy(batch, b, centre)
        assert np.array_equal(found.sets.masks[b, :count].numpy(), np.stack(masks))
        assert not found.sets.masks[b, count:].any()
        own = region if region.sum() >= LEAST_REGION else mask_of(batch, b, centre)
        assert np.array_equal(found.region[b, 0].numpy(), own)


@pytest.mark.parametrize("seed", SEEDS)
def test_proximity_equals_dilating_every_mask(seed):
    batch = random_batch(seed, layers=1 + seed % 3)
    centres = draw_centres(batch, 0.0, torch.manual_seed(seed))
    found = proximity_sets(batch, centres, neighbours=2, most=7)
    for b, centre in enumerate(centres.tolist()):
        count = int(found.sets.count[b])
        if not centre:
            assert count == 0
            continue
        expected = slow_proximity(batch, b, centre, 2)
        if len({mask.sum() for mask in expected}) == len(expected):  # equal contacts may come in either order
            assert sorted(m.sum() for m in expected) == sorted(found.sets.masks[b, :count].flatten(1).sum(1).tolist())
        assert count == len(expected)
        assert np.array_equal(found.sets.masks[b, 0].numpy(), mask_of(batch, b, centre))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [hierarchy_sets, proximity_sets])
def test_every_mask_holds_every_possible_first_click(seed, kind):
    batch = random_batch(seed)
    found = kind(batch, draw_centres(batch, 0.5, torch.manual_seed(seed)))
    for b in range(4):
        count = int(found.sets.count[b])
        masks = found.sets.masks[b, :count]
        assert count <= 7
        assert not count or found.region[b].any()
        assert masks[:, found.region[b, 0]].all()
        if kind is hierarchy_sets:  # nested, and every mask adds something
            assert (masks[1:] | ~masks[:-1]).all()
            assert (torch.diff(masks.flatten(1).sum(1)) > 0).all()
        else:  # from fewer to more objects; all of them hold the centre
            assert (masks | ~masks[:1]).all()


def test_the_order_of_proximity_is_by_number_then_contact():
    layers = torch.zeros(1, 1, 12, 20, dtype=torch.int32)
    layers[0, 0, 3:9, 5:10] = 1
    layers[0, 0, 3:9, 11:15] = 2  # a gap of one pixel: touches along six rows
    layers[0, 0, 3:4, 2:5] = 3  # no gap, but one row only
    layers[0, 0, 3:9, 18:20] = 4  # far away
    batch = _flat_batch(layers)
    found = proximity_sets(batch, torch.tensor([1]))
    expected = [{1}, {1, 2}, {1, 3}, {1, 2, 3}]
    assert int(found.sets.count[0]) == len(expected)
    for mask, keys in zip(found.sets.masks[0], expected, strict=True):
        assert set(layers[0, 0][mask].tolist()) == keys
        assert int(mask.sum()) == sum(int((layers == key).sum()) for key in keys)


def test_full_lists_are_cut():
    layers = torch.zeros(1, 1, 20, 20, dtype=torch.int32)
    layers[0, 0, 5:15, 5:15] = 1
    for key, (y, x) in enumerate([(0, 5), (15, 5), (5, 0), (5, 15)], start=2):
        layers[0, 0, y : y + (5 if x == 5 else 10), x : x + (10 if x == 5 else 5)] = key
    found = proximity_sets(_flat_batch(layers), torch.tensor([1]))
    assert int(found.sets.count[0]) == 7  # of 2 ** 3: the union of all four is left out
    assert int(hierarchy_sets(_flat_batch(layers), torch.tensor([1]), most=1).sets.count[0]) == 1


def test_centres_prefer_parts_when_asked():
    batch = random_batch(7)
    objects = padded_objects(batch)
    parts = [set(objects.ids[b][objects.parent[b] > 0].tolist()) for b in range(4)]
    assert any(parts)
    seen = [set(), set(), set(), set()]
    for _ in range(300):
        for b, key in enumerate(draw_centres(batch, 1.0).tolist()):
            seen[b].add(key)
    for b in range(4):
        assert seen[b] == (parts[b] or set(objects.ids[b][objects.listed[b]].tolist()) or {0})


def test_targets_are_drawn_evenly_from_the_list():
    batch = random_batch(5)
    found = hierarchy_sets(batch, draw_centres(batch, 1.0, torch.manual_seed(0)))
    b = int(found.sets.count.argmax())
    count = int(found.sets.count[b])
    assert count > 1
    areas = found.sets.masks[b, :count].flatten(1).sum(1).tolist()
    generator = torch.Generator().manual_seed(1)
    drawn = [int(found.sets.draw(generator)[b].sum()) for _ in range(400)]
    for area in areas:
        assert abs(drawn.count(area) / 400 - 1 / count) < 0.12
    assert not found.sets.draw()[3].any()


def _flat_batch(layers: torch.Tensor) -> Batch:
    keys = sorted(set(layers.flatten().tolist()) - {0})
    batch = random_batch(0, batch=1, size=tuple(layers.shape[2:]))
    table = batch.objects[0]
    zeros = torch.zeros(len(keys), dtype=torch.int64)
    flat = type(table)(torch.tensor(keys), zeros, zeros, zeros.bool(), zeros, zeros.bool())
    return batch.replace(layers=layers, objects=(flat,))


@pytest.mark.parametrize("seed", range(10))
def test_first_clicks_of_proximity_keep_away_from_the_outline(seed):
    batch = random_batch(seed, layers=1)
    centres = draw_centres(batch, 0.0, torch.manual_seed(seed))
    region = proximity_sets(batch, centres).region[:, 0].numpy()
    for b, centre in enumerate(centres.tolist()):
        mask = mask_of(batch, b, centre) if centre else np.zeros(region.shape[1:], bool)
        inner = cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0  # cv2: the border is no outline
        assert np.array_equal(region[b], inner if inner.sum() >= LEAST_REGION else mask)


def test_short_lists_are_drawn_from_like_long_ones():
    masks = torch.zeros(3, 4, 2, 2, dtype=torch.bool)
    valid = torch.tensor([[True] * 4, [True, False, False, False], [False] * 4])
    masks[valid] = True
    sets, generator = MaskSets(masks, valid), torch.Generator().manual_seed(0)
    for _ in range(50):
        assert sets.draw(generator).flatten(1).all(1).tolist() == [True, True, False]


@pytest.mark.parametrize(("left", "region"), [(9, 40), (10, 10)])
def test_ten_pixels_are_room_enough_for_a_first_click(left, region):
    layers = torch.zeros(1, 2, 10, 10, dtype=torch.int32)
    layers[0, 0, :4] = 1
    layers[0, 1].view(-1)[: 40 - left] = 2  # a part that leaves so many pixels of object 1
    ids, layer, parent = torch.tensor([1, 2]), torch.tensor([0, 1]), torch.tensor([0, 1])
    table = ObjectTable(ids, layer, parent, parent > 9, torch.tensor([40, 40 - left]), ids == 1)
    target = (layers[:, :1] == 1).float()
    batch = Batch(torch.zeros(1, 3, 10, 10), target, Clicks.empty(1), 0 * target, layers, (table,))
    assert int(hierarchy_sets(batch, torch.tensor([1])).region.sum()) == region
