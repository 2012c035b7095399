"""The simulated user: who clicks, how often, and what becomes the previous mask."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from clicklab.clicks.next_click import CorrectiveClickSampling
from clicklab.records import Batch, Clicks
from data_modules.simulation import SimulatedUser


def make_batch(size=24):
    """Three samples: a square, a square at the border, nothing."""
    target = torch.zeros(3, 1, size, size)
    target[0, 0, 5:15, 5:15] = 1
    target[1, 0, 12:, 12:] = 1
    clicks = Clicks.from_list([[(9, 9, 1)], [(20, 20, 1), (2, 2, 0)], []])
    return Batch(torch.rand(3, 3, size, size), target, clicks, torch.zeros_like(target))


def test_respond_adds_one_click_in_the_error_and_keeps_the_mask_shown():
    batch = make_batch()
    probability = batch.target * 0.9  # perfect but for a hole in sample 0 and an excess in sample 2
    probability[0, 0, 7:12, 7:12] = 0.1
    probability[2, 0, :6, :6] = 0.8
    probability.requires_grad_()
    answered = SimulatedUser().respond(batch, probability, torch.Generator().manual_seed(0))
    assert answered.clicks.slots == 3 and answered.clicks.label[:, -1].tolist() == [1, -1, 0]
    assert torch.equal(answered.clicks.yx[:, :2], batch.clicks.yx)
    (y, x), (v, u) = answered.clicks.yx[0, -1].tolist(), answered.clicks.yx[2, -1].tolist()
    assert 7 <= y < 12 and 7 <= x < 12 and v < 6 and u < 6
    assert torch.equal(answered.prev_mask, probability.detach()) and not answered.prev_mask.requires_grad
    assert torch.equal(batch.prev_mask, torch.zeros_like(batch.prev_mask)) and batch.clicks.slots == 2


def test_the_threshold_decides_what_the_user_sees():
    batch = make_batch()
    shown = batch.target * 0.4  # below 0.49 the objects are not seen, below 0.3 they are
    labels = [SimulatedUser(threshold=t).respond(batch, shown).clicks.label[:2, -1].tolist() for t in (0.49, 0.3)]
    assert labels == [[1, 1], [-1, -1]]


def test_first_starts_from_nothing_with_a_click_inside_each_target():
    batch = make_batch().replace(prev_mask=torch.rand(3, 1, 24, 24))
    first = SimulatedUser().first(batch, torch.Generator().manual_seed(1))
    assert first.clicks.slots == 1 and first.clicks.label[:, 0].tolist() == [1, 1, -1]
    for sample in range(2):
        y, x = first.clicks.yx[sample, 0].long().tolist()
        assert batch.target[sample, 0, y, x] == 1
    assert not first.prev_mask.any()


def test_warm_up_plays_the_rounds_asked_for_without_gradient():
    weight = torch.nn.Parameter(torch.tensor(0.5))
    asked = []

    def seen(batch):
        asked.append((batch.clicks.slots, float(batch.prev_mask.max()), torch.is_grad_enabled()))
        return batch.target.abs() * 0 + weight * len(asked)

    batch = SimulatedUser().warm_up(make_batch(), seen, rounds=2)
    assert asked == [(2, 0.0, False), (3, 0.5, False)]
    assert batch.clicks.slots == 4 and float(batch.prev_mask.max()) == 1.0 and not batch.prev_mask.requires_grad
    same = make_batch()
    assert SimulatedUser().warm_up(same, seen, rounds=0) is same and len(asked) == 2


def test_numbers_of_rounds_are_uniform_from_none_to_the_most():
    batch, user = make_batch(8), SimulatedUser(max_rounds=3)
    user.shared_generator = torch.Generator().manual_seed(2)
    counts = Counter(user.warm_up(batch, lambda b: b.prev_mask).clicks.slots - 2 for _ in range(600))
    assert set(counts) == {0, 1, 2, 3}
    assert all(abs(count - 150) < 5 * (600 * 3 / 16) ** 0.5 for count in counts.values())


def test_the_same_generator_repeats_the_dialogue():
    def play(seed):
        generator = torch.Generator().manual_seed(seed)
        return SimulatedUser().warm_up(make_batch(), lambda b: b.prev_mask, rounds=3, generator=generator).clicks

    assert torch.equal(play(1).yx, play(1).yx) and not torch.equal(play(1).yx, play(2).yx)


def test_impossible_settings():
    with pytest.raises(ValueError, match="max_rounds is -1"):
        SimulatedUser(max_rounds=-1)
    with pytest.raises(ValueError, match="threshold is 1"):
        SimulatedUser(threshold=1.0)


def test_the_first_click_has_a_depth_of_its_own():
    target = torch.zeros(400, 1, 41, 41)
    target[..., 5:36, 5:36] = 1  # greatest depth 16
    batch = Batch(torch.zeros(400, 3, 41, 41), target, Clicks.empty(400), torch.zeros_like(target))
    user = SimulatedUser(clicks=CorrectiveClickSampling(first_ratio=1.7, border=1.0))
    first = user.first(batch, torch.Generator().manual_seed(0))
    depth = 16 - (first.clicks.yx[:, 0] - 20).abs().amax(dim=1)
    assert depth.min() == 10 and depth.max() >= 15  # 16 / 1.7 = 9.4
    later = user.respond(first, torch.zeros_like(target), torch.Generator().manual_seed(0))
    assert (16 - (later.clicks.yx[:, 1] - 20).abs().amax(dim=1)).max() == 3


def test_the_user_sees_object_above_49_percent_by_default():
    target = torch.ones(1, 1, 9, 9)
    batch = Batch(torch.zeros(1, 3, 9, 9), target, Clicks.empty(1), 0 * target)
    labels = [SimulatedUser().respond(batch, target * shown).clicks.label.item() for shown in (0.485, 0.495)]
    assert labels == [1, -1]
    assert SimulatedUser().max_rounds == 3
