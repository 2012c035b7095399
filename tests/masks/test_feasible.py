"""Feasible sets against a look at every object's whole mask."""

import numpy as np
import pytest
import torch
from layered_scenes import mask_of, random_batch, with_clicks

from clicklab.masks.candidate_sets import PaddedObjects
from clicklab.masks.feasible import consistent, feasible_sets
from clicklab.records import Batch, Clicks


def slow_lists(batch: Batch) -> list[list[np.ndarray]]:
    lists = []
    for b, clicks in enumerate(batch.clicks.to_list()):
        table, found, listed = batch.objects[b], [], []
        for key in table.ids.tolist():
            mask = mask_of(batch, b, key)
            if all(bool(mask[int(y), int(x)]) == bool(label) for y, x, label in clicks):
                found.append(mask)
                listed.append(key)
        target = table.ids[table.target].tolist()
        if len(target) != 1 or target[0] not in listed:
            found.append((batch.target[b, 0] == 1).numpy())
        lists.append(found)
    return lists


@pytest.mark.parametrize("seed", range(60))
def test_equal_to_brute_force(seed):
    batch = with_clicks(random_batch(seed), seed)
    sets = feasible_sets(batch)
    for b, expected in enumerate(slow_lists(batch)):
        count = int(sets.count[b])
        assert count == len(expected) >= 1
        assert sets.valid[b].tolist() == [True] * count + [False] * (sets.valid.shape[1] - count)
        assert np.array_equal(sets.masks[b, :count].numpy(), np.stack(expected))
        assert not sets.masks[b, count:].any()


@pytest.mark.parametrize("seed", range(20))
def test_members_hold_the_positive_clicks_and_no_negative_one(seed):
    batch = with_clicks(random_batch(seed), seed + 1, count=5)
    sets = feasible_sets(batch)
    for b, clicks in enumerate(batch.clicks.to_list()):
        others = int(sets.count[b]) - 1  # the target, which comes last, may break the rule
        for y, x, label in clicks:
            assert (sets.masks[b, :others, int(y), int(x)] == bool(label)).all()


def test_other_clicks_can_be_asked_about():
    batch = with_clicks(random_batch(3), 3)
    later = with_clicks(batch, 9, count=4).clicks
    asked, own = feasible_sets(batch, later), feasible_sets(batch.replace(clicks=later))
    assert torch.equal(asked.masks, own.masks) and torch.equal(asked.valid, own.valid)


def test_no_object_lies_outside_of_the_image():
    batch = random_batch(4)
    outside = Clicks.from_list([[(-3.0, 5.0, 1)], [(5.0, 40.0, 1)], [(32.0, 0.0, 0)], []])
    sets = feasible_sets(batch, outside)
    assert sets.count[:2].tolist() == [1, 1]  # only the target is left
    single = bool(batch.objects[2].target.sum() == 1)  # a negative click outside rules nothing out
    assert int(sets.count[2]) == len(batch.objects[2].ids) + (not single)


def test_a_batch_without_layers_is_refused():
    batch = random_batch(0)
    with pytest.raises(ValueError, match="with_layers"):
        feasible_sets(batch.replace(layers=None, objects=None))


def test_a_click_beyond_the_border_is_on_no_object_at_the_border():
    one = torch.ones(1, 1, dtype=torch.int64)
    objects = PaddedObjects(one, 0 * one, 0 * one, one.bool())
    layers = torch.ones(1, 1, 8, 9, dtype=torch.int32)
    for y, x, inside in (
        (0.0, 8.9, True),
        (-0.5, 4.0, False),
        (4.0, -0.1, False),
        (8.0, 4.0, False),
        (4.0, 9.0, False),
    ):
        for label in (1, 0):
            fits = consistent(layers, objects, Clicks.from_list([[(y, x, label)]]))
            assert bool(fits) == (inside == bool(label))
