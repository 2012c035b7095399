"""Algorithm 1: first clicks, possible targets, the mask shown, a step that learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clicklab.losses.set_loss import set_terms
from clicklab.masks.candidate_sets import MaskSets
from clicklab.masks.feasible import feasible_sets
from clicklab.methods.piclick import module as piclick_module
from clicklab.methods.piclick.first_clicks import choose_first_clicks, thinned
from clicklab.methods.piclick.loss import LossWeights, best_of_all, match_last, set_loss
from clicklab.methods.piclick.module import PiClick
from clicklab.records import Batch, Clicks, ObjectTable, Prediction


def table(ids, layer, target):
    zeros = [0] * len(ids)
    columns = [torch.tensor(c) for c in (ids, layer, zeros)]
    return ObjectTable(*columns, torch.tensor(zeros) > 0, torch.tensor(zeros), torch.tensor(target, dtype=torch.bool))


def scene(clicks, targets=((1,), (5, 6))):
    """Two scenes of two layers: 1 holds 2 (other layer), 3 beside; 5 and 6 beside each other, 6 in the second layer."""
    layers = torch.zeros(2, 2, 20, 20, dtype=torch.int32)
    layers[0, 0, 2:12, 2:12], layers[0, 1, 4:8, 4:8], layers[0, 0, 14:18, 14:18] = 1, 2, 3
    layers[1, 0, 0:8, :], layers[1, 1, 10:20, :] = 5, 6
    ids, layer = [[1, 2, 3], [5, 6]], [[0, 1, 0], [0, 1]]
    tables = tuple(table(i, k, [x in t for x in i]) for i, k, t in zip(ids, layer, targets, strict=True))
    target = torch.stack([sum((layers[b] == i).any(0) for i in t) > 0 for b, t in enumerate(targets)])[:, None].float()
    return Batch(torch.rand(2, 3, 20, 20), target, Clicks.from_list(clicks), torch.zeros(2, 1, 20, 20), layers, tables)


def areas(sets: MaskSets):
    assert not sets.masks[~sets.valid].any()
    return [sets.masks[b][sets.valid[b]].flatten(1).sum(1).tolist() for b in range(len(sets.masks))]


@pytest.mark.parametrize(
    ("clicks", "wanted"),
    [
        (
            [[(5, 5, 1)], [(3, 3, 1)]],
            [[100, 16], [160, 360]],
        ),  # object and part; object, then the union meant
        (
            [[(5.9, 5, 1), (2, 2, 0)], [(3, 3, 1), (15, 3, 1)]],
            [[16, 100], [360]],
        ),  # target ruled out: last
        ([[(2, 2, 1)], []], [[100], [160, 200, 360]]),  # not inside the part; nothing clicked fits all
        ([[(5, 5, 1), (15, 15, 1)], [(9, 3, 1)]], [[100], [360]]),  # nothing fits
    ],
)
def test_possible_targets(clicks, wanted):
    assert areas(feasible_sets(scene(clicks))) == wanted


def test_possible_targets_by_other_clicks_and_without_layers():
    batch = scene([[(5, 5, 1)], [(3, 3, 1)]])
    first = Clicks.from_list([[(2, 2, 1)], [(3, 3, 1)]])
    assert areas(feasible_sets(batch, first)) == [[100], [160, 360]]
    with pytest.raises(ValueError, match="with_layers"):
        feasible_sets(batch.replace(layers=None))


def test_possible_targets_against_brute_force():
    rng = np.random.default_rng(0)
    layers = torch.from_numpy(rng.integers(-1, 4, (3, 2, 12, 12)).astype(np.int32))
    layers[:, 1] = torch.where(layers[:, 1] > 0, layers[:, 1] + 3, layers[:, 1])
    tables = tuple(table([1, 2, 4, 6], [0, 0, 1, 1], [True, False, False, False]) for _ in range(3))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = [
            [(*rng.integers(0, 12, 2), int(rng.random() < 0.5)) for _ in range(rng.integers(1, 3))] for _ in range(3)
        ]
        target = (layers[:, :1] == 1).float()
        batch = Batch(torch.rand(3, 3, 12, 12), target, Clicks.from_list(rows), target, layers, tables)
        sets = feasible_sets(batch)
        for b in range(3):
            masks = {i: layers[b, int(i > 3)] == i for i in (1, 2, 4, 6)}
            fits = [i for i, m in masks.items() if all(bool(m[y, x]) == bool(s) for y, x, s in rows[b])]
            wanted = [masks[i] for i in fits] + ([] if 1 in fits else [masks[1]])
            assert torch.equal(sets.masks[b][sets.valid[b]], torch.stack(wanted))


def test_thinned_clicks_follow_the_official_law():
    torch.manual_seed(0)
    rows = [[(i, 0, 1) for i in range(3)] + [(9 + i, 1, 0) for i in range(2)]] * 20000
    kept = thinned(Clicks.from_list(rows))
    assert kept.slots == 5
    for sign, least, most in ((1, 1, 3), (0, 0, 2)):
        count = (kept.label == sign).sum(1)
        weights = 0.7 ** np.arange(most - least + 1)
        share = torch.bincount(count, minlength=most + 1)[least:].numpy() / len(rows)
        np.testing.assert_allclose(share, weights / weights.sum(), atol=0.015)
    rows_of = kept.yx[..., 0][kept.label == 1]
    np.testing.assert_allclose(torch.bincount(rows_of.long()).numpy() / len(rows_of), 1 / 3, atol=0.01)
    assert set(kept.yx[..., 0][kept.label == 0].tolist()) == {9.0, 10.0}
    assert (kept.yx[kept.label == -1] == -1).all()


def test_uniform_numbers_are_uniform_whatever_the_data_gives():
    """Paper, Algorithm 1: 1 to 10 clicks, all equally likely; the data's own law mostly gives one or two."""
    torch.manual_seed(0)
    few = Clicks.from_list([[(5, 5, 1)], [(6, 6, 1), (0, 0, 0)], [(7, 7, 1)] * 5, [(5, 6, 1)] * 12])
    many = Clicks(few.yx.repeat(2000, 1, 1), few.label.repeat(2000, 1))
    target = torch.zeros(len(many), 1, 16, 16)
    target[:, :, 4:9, 4:9] = 1
    kept = choose_first_clicks(many, "uniform", target)
    share = torch.bincount(kept.valid.sum(1), minlength=11)[1:] / len(many)
    np.testing.assert_allclose(share, 0.1, atol=0.015)
    positive = kept.yx[kept.label == 1]
    assert ((positive >= 4) & (positive < 9)).all()
    nothing = choose_first_clicks(few, "uniform", torch.zeros(4, 1, 16, 16))
    assert (nothing.valid.sum(1) <= few.valid.sum(1)).all()


def test_uniform_clicks_and_all_clicks():
    torch.manual_seed(0)
    clicks = Clicks.from_list([[(i, 0, i % 2) for i in range(14)], [(1, 1, 1)], []])
    seen = set()
    for _ in range(200):
        kept = choose_first_clicks(clicks, "uniform")
        count = kept.valid.sum(1).tolist()
        assert 1 <= count[0] <= 10
        assert count[1:] == [1, 0]
        assert (kept.label[:2] == 1).any(1).all()
        assert len({tuple(p) for p in kept.yx[0][kept.valid[0]].tolist()}) == count[0]
        seen.add(count[0])
    assert seen == set(range(1, 11))
    assert choose_first_clicks(clicks, "all") is clicks
    for law in ("thinned", "uniform"):
        assert choose_first_clicks(Clicks.empty(2), law).slots == 0


def test_matched_candidates_are_the_likely_ones():
    masks = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    masks[0, 0, :4], masks[0, 1, :, :4] = True, True
    logits = torch.full((1, 4, 8, 8), -5.0)
    logits[0, 2][masks[0, 0]] = 5.0
    logits[0, 1][masks[0, 1]] = 5.0
    matched = match_last(logits, torch.full((1, 4), 0.5), MaskSets(masks, torch.ones(1, 2).bool()), LossWeights())
    assert matched.tolist() == [[False, True, True, False]]


def test_onehot_term():
    logits = torch.tensor([[0.0, 2.0, -1.0]])
    log_p = logits.log_softmax(-1)[0]
    assert best_of_all(logits, torch.tensor([[0.1, 0.9, 0.2]])).item() == pytest.approx(
        -(0.9 * log_p[1] + 0.1 * log_p[0] + 0.1 * log_p[2]).item()
    )


@pytest.fixture
def module():
    torch.manual_seed(0)
    return PiClick("mini", {"image_size": 32, "patch_size": 4, "num_queries": 3})


def big(clicks):
    batch = scene(clicks)
    up = torch.nn.Upsample(scale_factor=1.6)
    layers = up(batch.layers.float()).int()
    return batch.replace(
        image=torch.rand(2, 3, 32, 32), target=up(batch.target), prev_mask=up(batch.prev_mask), layers=layers
    )


@pytest.mark.parametrize("shown", ["matched", "any", "best_iou"])
def test_the_mask_shown_is_a_candidate(module, shown):
    module.shown = shown
    batch = big([[(5, 5, 1)], [(3, 3, 1)]])
    seen = module.predict_prev_mask(batch)
    assert seen.shape == (2, 1, 32, 32)
    assert module.network.training
    with torch.no_grad():
        candidates = module.network.eval()(batch.image, batch.clicks, batch.prev_mask).logits.sigmoid()
    assert all(any(torch.equal(seen[b, 0], one) for one in candidates[b]) for b in range(2))


@pytest.mark.parametrize("weights", [LossWeights(), LossWeights(deep_supervision=False, onehot=0.0)])
def test_loss_falls(module, weights):
    """One batch learnt by heart: the loss falls, and the candidates come to show the possible targets."""
    batch = big([[(5, 5, 1)], [(3, 3, 1)]])
    sets = feasible_sets(batch)
    optimizer = torch.optim.Adam(module.network.parameters(), 2e-3)
    losses = []
    for _ in range(25):
        answer = module(batch)
        terms = set_loss(answer.extras, sets, batch.target, weights)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.6 * losses[0]


@pytest.fixture
def learner():
    torch.manual_seed(0)
    return PiClick("mini", {"image_size": 32, "patch_size": 4, "num_queries": 3}, first_clicks="all")


class Adds:
    """A user who shows one mask and answers it with a click that only the first scene's whole object holds."""

    def warm_up(self, batch, predict_prev_mask):
        first = batch.clicks.append(torch.tensor([[4.0, 4.0], [3.0, 3.0]]), torch.tensor([1, 1], dtype=torch.int8))
        batch = batch.replace(clicks=first)
        return batch.replace(prev_mask=predict_prev_mask(batch))


@pytest.mark.parametrize(("by_first", "wanted"), [(True, [2, 2]), (False, [1, 2])])
def test_rounds_are_judged_by_the_first_clicks_and_the_loss_by_all(learner, monkeypatch, by_first, wanted):
    """Scaled by 1.6: (8, 8) lies in object and part, (4, 4) in the object alone."""
    batch, asked, learnt = big([[(8, 8, 1)], [(3, 3, 1)]]), [], []
    learner.judge_by_first_clicks = by_first

    def predict_prev_mask(now, sets):
        asked.append(sets.count.tolist())
        return torch.zeros_like(now.prev_mask)

    def loss(extras, sets, target, weights, mean_over_ranks):
        learnt.append(sets.count.tolist())
        return set_loss(extras, sets, target, weights)

    monkeypatch.setattr(learner, "predict_prev_mask", predict_prev_mask)
    monkeypatch.setattr(piclick_module, "set_loss", loss)
    learner.user = Adds()
    learner.log = learner.log_dict = lambda *args, **kwargs: None
    learner.training_step(batch, 0)
    assert asked == [wanted] and learnt == [[1, 2]]


@pytest.mark.parametrize("deep", [True, False])
def test_the_terms_are_weighted_sums_over_predictions(deep):
    draw = torch.Generator().manual_seed(0)
    batch = scene([[(5, 5, 1)], [(3, 3, 1)]])
    masks = torch.zeros(2, 2, 20, 20, dtype=torch.bool)
    masks[0, 0, :9], masks[1, 0, 9:], masks[1, 1, :, :7] = True, True, True
    sets = MaskSets(masks, torch.tensor([[True, False], [True, True]]))
    extras = {"masks": [torch.randn(2, 3, 20, 20, generator=draw) for _ in range(2)]}
    extras |= {"class_logits": torch.randn(2, 2, 3, 2, generator=draw)}
    extras |= {name: torch.randn(2, 2, 3, generator=draw) * 2 for name in ("iou_logits", "onehot_logits")}
    weights = LossWeights(3.0, 5.0, 7.0, 0.3, 11.0, 13.0, deep)
    found = set_loss(extras, sets, batch.target, weights)
    used = [0, 1] if deep else [1]
    terms = set_terms(
        [extras["masks"][p] for p in used], extras["class_logits"][used], sets, batch.target, 3.0, 5.0, 0.3
    )
    iou = onehot = 0.0
    for row, p in enumerate(used):
        iou += (extras["iou_logits"][p].sigmoid() - terms.iou[row]).abs().mean()
        log_p, best = F.log_softmax(extras["onehot_logits"][p], -1), terms.iou[row].argmax(1)
        wanted = torch.full((2, 3), 0.1).scatter(1, best[:, None], 0.9)
        onehot -= (wanted * log_p).sum(1).mean()
    expected = {"focal": 3 * terms.focal, "dice": 5 * terms.dice, "confidence": 7 * terms.confidence}
    expected |= {"iou": 11 * iou, "onehot": 13 * onehot}
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_of_equal_candidates_the_surest_is_matched():
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    masks[..., :4, :] = True
    logits = torch.where(masks, 2.0, -2.0).expand(1, 3, 8, 8)
    sets = MaskSets(masks, torch.ones(1, 1, dtype=torch.bool))
    for sure in range(3):
        confidence = torch.full((1, 3), 0.2)
        confidence[0, sure] = 0.8
        assert match_last(logits, confidence, sets, LossWeights())[0].tolist() == [q == sure for q in range(3)]


def answering(learner, logits):
    """The module with a network that always answers these candidates."""
    confidence = torch.full(logits.shape[:2], 0.5)
    learner.forward = lambda batch: Prediction(logits, extras={"confidence": confidence})
    return learner


def test_the_mask_shown_is_the_matched_or_the_best_one(learner):
    batch = scene([[(5, 5, 1)], [(3, 3, 1)]])
    logits = torch.full((2, 3, 20, 20), -5.0)
    logits[:, 1][batch.target[:, 0] == 1] = 5.0  # candidate 1 shows the target, candidate 2 something else
    logits[:, 2, 15:] = 5.0
    other = torch.zeros(2, 1, 20, 20, dtype=torch.bool)
    other[..., 15:, :] = True
    sets = MaskSets(other, torch.ones(2, 1, dtype=torch.bool))
    answering(learner, logits)
    for shown, given, wanted in (("best_iou", None, 1), ("matched", sets, 2)):
        learner.shown = shown
        assert torch.equal(learner.predict_prev_mask(batch, given), logits[:, wanted : wanted + 1].sigmoid())
