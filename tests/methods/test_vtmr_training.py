"""MaskMatch: which gradient flows, which samples count, what the two dialogues see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clicklab.losses.click_loss import click_loss
from clicklab.losses.focus import edge_weighted_focal_loss
from clicklab.losses.mask import binary_cross_entropy
from clicklab.losses.nfl import normalized_focal_loss
from clicklab.methods.vtmr import VTMR
from clicklab.methods.vtmr import module as vtmr_steps
from clicklab.methods.vtmr.mask_match import mask_iou, matching_loss, spoilt_targets
from clicklab.records import Batch, Clicks
from clicklab.views.focus_views import focus_views
from data_modules.simulation import SimulatedUser


def module(**options) -> VTMR:
    torch.manual_seed(0)
    made = VTMR("mini", **options)
    made.user = SimulatedUser()
    made.log = made.log_dict = lambda *args, **kwargs: None
    return made


def batch(count: int = 3) -> Batch:
    """Squares on noise, each with a click in its middle."""
    image, target = (
        torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1)),
        torch.zeros(count, 1, 64, 64),
    )
    target[..., 12:44, 20:50] = 1
    image[..., 12:44, 20:50] += 0.5
    clicks = Clicks.from_list([[(28.0, 35.0, 1)]] * count)
    return Batch(image.clamp(0, 1), target, clicks, torch.zeros(count, 1, 64, 64))


def square(share: float) -> torch.Tensor:
    """(1, 64, 64) mask inside the target, with `share` of its IoU."""
    mask = torch.zeros(1, 64, 64)
    mask[:, 12 : 12 + round(32 * share), 20:50] = 1
    return mask


def test_the_gradient_flows_through_the_second_answer_only():
    own = torch.randn(2, 1, 8, 8).mul(5).requires_grad_()
    other = torch.randn(2, 1, 8, 8, requires_grad=True)
    matching_loss(own, other).sum().backward()
    assert own.grad is None
    assert other.grad.abs().sum() > 0
    sure = own.detach().sigmoid() > 0.9
    assert (other.grad[~sure] == 0).all() and (other.grad[sure] != 0).all()


@pytest.mark.parametrize("two_sided", [False, True])
def test_the_matching_loss_is_equation_1(two_sided):
    own, other = torch.randn(3, 1, 6, 7) * 4, torch.randn(3, 1, 6, 7)
    wanted = []
    for o1, o2 in zip(own.sigmoid().flatten(1).tolist(), other.sigmoid().flatten(1).tolist(), strict=True):
        terms = [
            -(p * np.log(q) + (1 - p) * np.log(1 - q)) if p > 0.9 or (two_sided and p < 0.1) else 0.0
            for p, q in zip(o1, o2, strict=True)
        ]
        wanted.append(np.mean(terms))
    assert torch.allclose(matching_loss(own, other, 0.9, two_sided).double(), torch.tensor(wanted), atol=1e-5)


def test_spoilt_targets_are_as_good_as_the_masks_they_copy():
    target = batch(4).target
    target[3, 0, 12:44, 20:22] = -1
    wanted = torch.tensor([0.9, 0.6, 0.1, 0.999])
    masks = spoilt_targets(target, wanted, np.random.default_rng(0))
    assert masks.shape == target.shape and set(masks.unique().tolist()) == {0, 1}
    assert torch.allclose(mask_iou(masks, target), torch.tensor([0.9, 0.6, 0.3, 0.98]), atol=0.021)


def test_iou_of_masks_leaves_ignored_pixels_out():
    target = batch(1).target
    shown = square(0.5)[None] * 0.6
    assert mask_iou(shown, target).item() == pytest.approx(0.5)
    target[..., 30:, :] = -1  # of the target 18 rows are left, of the mask 16
    assert mask_iou(shown, target).item() == pytest.approx(16 / 18)
    assert mask_iou(torch.zeros_like(target), torch.zeros_like(target)).item() == 0


def test_both_dialogues_hold_the_first_clicks_and_one_more_than_the_rounds():
    made, samples = module(blank_share=0.0), batch()
    lengths = set()
    for seed in range(8):
        torch.manual_seed(seed)
        own, other = made.dialogues(samples, np.random.default_rng(seed))
        assert own.clicks.slots == other.clicks.slots
        assert torch.equal(own.clicks.yx[:, 0], other.clicks.yx[:, 0])
        assert not torch.equal(own.prev_mask, other.prev_mask)
        lengths.add(own.clicks.slots)
        if other.clicks.slots == 2:  # no round in between: the mask is the spoilt target itself, 30 % good or better
            assert set(other.prev_mask.unique().tolist()) <= {0.0, 1.0}
            assert (mask_iou(other.prev_mask, other.target) > 0.27).all()
    assert lengths == {2, 3, 4, 5}


@pytest.mark.parametrize(("first_mask", "begun"), [("one_click", 1), ("all_clicks", 4)])
def test_from_which_clicks_the_first_mask_comes(monkeypatch, first_mask, begun):
    """The paper's "first interaction step" is one click; the sampling of FocalClick's code gives several."""
    samples = batch().replace(clicks=Clicks.from_list([[(1, 2, 0), (20, 30, 1), (25, 30, 1), (3, 3, 0)]] * 3))
    made, seen = module(blank_share=0.0, first_mask=first_mask), []
    predict = made.predict_prev_mask
    monkeypatch.setattr(made, "predict_prev_mask", lambda now: (seen.append(now.clicks), predict(now))[1])
    own, other = made.dialogues(samples, np.random.default_rng(0))
    assert seen[0].slots == begun
    assert (seen[0].yx[:, 0] == torch.tensor([20.0, 30.0] if begun == 1 else [1.0, 2.0])).all()
    assert torch.equal(own.clicks.yx[:, :begun], other.clicks.yx[:, :begun])


def test_some_steps_begin_from_nothing():
    samples = batch()
    own, other = module(blank_share=1.0).dialogues(samples, np.random.default_rng(0))
    assert own is samples and other is None
    torch.manual_seed(1)
    own, other = module(second="none").dialogues(samples, np.random.default_rng(0))
    assert other is None and own.clicks.slots in (1, 2, 3, 4)


def test_only_samples_whose_first_dialogue_went_well_count():
    made, samples = module(alpha=0.8), batch()
    own = samples.replace(prev_mask=torch.stack([square(0.75), square(0.85), square(1.0)]))
    other = samples.replace(prev_mask=torch.stack([square(0.5)] * 3))
    made.network.eval()
    coarse, answer = made(own), made(other)
    coarse.logits.data += 3 - coarse.logits.data.mean()  # an untrained network is nowhere sure
    every = matching_loss(coarse.logits, answer.logits)
    assert (every > 0).all()
    assert made.second_term(coarse, own, other).item() == pytest.approx(((every[1] + every[2]) / 3).item())
    made.second = "supervise"
    assert made.second_term(coarse, own, other).item() > 0


def test_the_second_pass_is_left_out_where_nothing_counts():
    made, samples = module(), batch()
    asked = []
    made.network.register_forward_hook(lambda *_: asked.append(1))
    own = samples.replace(prev_mask=torch.stack([square(0.5)] * 3))
    coarse = made(own)
    for other in (own, None):
        assert made.second_term(coarse, own, other) == 0
    assert len(asked) == 1


def test_the_second_answer_teaches_the_coarse_network_alone():
    made, samples = module(), batch()
    own = samples.replace(prev_mask=torch.stack([square(1.0)] * 3))
    coarse = made(own)
    coarse.logits.data += 5
    made.second_term(coarse, own, samples.replace(prev_mask=torch.stack([square(0.6)] * 3))).backward()
    assert all(parameter.grad is None for parameter in made.network.refiner.parameters())
    assert any(parameter.grad.abs().sum() > 0 for parameter in made.network.segmentor.parameters())


@pytest.mark.parametrize("second", ["match", "supervise", "none"])
def test_steps_learn(second):
    """The same few samples again and again: the loss falls, and every parameter gets a gradient that is a number."""
    made, samples = module(second=second, alpha=0.0, learning_rate=3e-3, extractor_factor=1.0), batch(4)
    optimizer = torch.optim.Adam(made.parameter_groups(), lr=made.learning_rate)
    losses = []
    for step in range(12):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss = made.training_step(samples, step)
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in made.network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])


def test_a_step_can_be_repeated():
    """All chance comes from torch's generator, which the base class seeds before every step."""
    losses = []
    for _ in range(2):
        made, samples = module(alpha=0.0), batch()
        torch.manual_seed(5)
        losses.append(made.training_step(samples, 0).item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("edge_loss", ["nfl", "bce"])
@pytest.mark.parametrize("edge_weighted", [False, True])
def test_supervision_as_in_equation_2_and_as_in_the_code_of_focalclick(edge_loss, edge_weighted):
    made, samples = module(edge_loss=edge_loss, edge_weighted=edge_weighted), batch()
    made.network.eval()
    boxes = torch.tensor([[10.0, 2.0, 60.0, 52.0]]).expand(3, -1)
    coarse = made(samples)
    terms = made.supervised(coarse, samples, boxes)
    views = focus_views(samples, boxes)
    fine = made.network.refine(views.image, views.clicks, coarse, boxes)
    near = views.edge[:, 0].bool()
    assert near.any() and not near.all()
    refined = normalized_focal_loss(fine.logits, views.target).mean()
    if edge_weighted:
        refined = edge_weighted_focal_loss(fine.logits, views.target, views.edge)
    edge = (normalized_focal_loss if edge_loss == "nfl" else binary_cross_entropy)(fine.edge, views.edge).mean()
    expected = {"coarse": click_loss(coarse, samples.target), "refined": refined, "edge": edge}
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    if edge_loss == "bce":
        assert terms["edge"].item() == pytest.approx(F.binary_cross_entropy_with_logits(fine.edge, views.edge).item())


def test_supervision_of_the_second_answer_leaves_the_same_samples_out():
    made, samples = module(alpha=0.8, second="supervise"), batch()
    own = samples.replace(prev_mask=torch.stack([square(0.75), square(0.85), square(1.0)]))
    other = samples.replace(prev_mask=torch.stack([square(0.5)] * 3))
    made.network.eval()
    every = normalized_focal_loss(made(other).logits, samples.target)
    assert made.second_term(made(own), own, other).item() == pytest.approx(((every[1] + every[2]) / 3).item())


def test_without_a_second_dialogue_the_first_one_may_have_no_round():
    made, samples = module(second="none"), batch()
    counts = set()
    for seed in range(40):
        torch.manual_seed(seed)
        counts.add(made.dialogues(samples, np.random.default_rng(0))[0].clicks.slots - 1)
    assert counts == {0, 1, 2, 3}


def test_the_spoilt_target_is_as_good_as_the_first_prediction(monkeypatch):
    made, samples, asked = module(blank_share=0.0), batch(), []

    def noted(target, iou, rng):
        asked.append(iou)
        return spoilt_targets(target, iou, rng)

    monkeypatch.setattr(vtmr_steps, "spoilt_targets", noted)
    made.predict_prev_mask = lambda batch: torch.stack([square(share) for share in (0.25, 0.5, 1.0)])
    made.dialogues(samples, np.random.default_rng(0))
    torch.testing.assert_close(asked[0], torch.tensor([0.25, 0.5, 1.0]), atol=1e-5, rtol=0)
