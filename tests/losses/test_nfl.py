"""Normalised focal loss: closed forms, an independent float64 version, figures of the official code."""

import math

import numpy as np
import pytest
import torch

from clicklab.losses.nfl import normalized_focal_loss


def by_hand(logits, target, alpha, gamma):
    """One sample, pixel by pixel in float64 (docs/training.md#losses)."""
    terms = []
    for x, y in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        if y != -1:
            truth = 1 / (1 + math.exp(-x if y == 1 else x))
            terms.append((alpha if y == 1 else 1 - alpha, truth, (1 - truth) ** gamma))
    scale = len(terms) / (sum(focus for *_, focus in terms) + 1e-12)
    return -sum(a * focus * scale * math.log(truth + 1e-12) for a, truth, focus in terms) / len(terms)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 2.0), (0.25, 2.0), (0.5, 1.5)])
def test_against_float64(alpha, gamma):
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(0, 3, (5, 1, 9, 7)).astype(np.float32))
    target = torch.from_numpy(rng.integers(-1, 2, (5, 1, 9, 7)).astype(np.float32))
    expected = [by_hand(x, y, alpha, gamma) for x, y in zip(logits, target, strict=True)]
    loss = normalized_focal_loss(logits, target, alpha, gamma)
    assert loss.shape == (5,)
    torch.testing.assert_close(loss, torch.tensor(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("logit", [-2.0, 0.0, 1.5])
def test_uniform_prediction(logit):
    """All focal weights alike: the loss is alpha times the cross-entropy, its slope follows from a constant scale."""
    x = torch.full((1, 1, 4, 4), logit, requires_grad=True)
    p = 1 / (1 + math.exp(-logit))
    loss = normalized_focal_loss(x, torch.ones(1, 1, 4, 4)).sum()
    assert loss.item() == pytest.approx(-0.5 * math.log(p), rel=1e-5)
    loss.backward()
    slope = -0.5 / (1 - p) ** 2 * ((1 - p) ** 2 / p - 2 * (1 - p) * math.log(p)) * p * (1 - p) / 16
    torch.testing.assert_close(x.grad, torch.full_like(x, slope), rtol=1e-4, atol=1e-7)


def test_figures_of_the_official_code():
    """NormalizedFocalLossSigmoid(alpha, gamma=2) of SimpleClick f33112e on these numbers; also its gradient."""
    rng = np.random.default_rng(7)
    logits = torch.from_numpy(rng.normal(0, 4, (4, 1, 24, 32)).astype(np.float32))
    target = torch.from_numpy(rng.integers(-1, 2, (4, 1, 24, 32)).astype(np.float32))
    target[3] = -1
    target[2] = target[2].abs()
    logits[2] *= 10
    logits.requires_grad_()
    loss = normalized_focal_loss(logits, target)
    official = torch.tensor([1.7429964542388916, 1.8014459609985352, 10.999920845031738, 0.0])
    torch.testing.assert_close(loss, official, rtol=1e-5, atol=0)
    quarter = torch.tensor([1.5730105638504028, 1.9487659931182861, 9.169816017150879, 0.0])
    torch.testing.assert_close(normalized_focal_loss(logits, target, alpha=0.25), quarter, rtol=1e-5, atol=0)
    loss.mean().backward()
    slope = torch.tensor([0.000186567, 0.0005294, 2.6586e-05, -0.000687739])
    torch.testing.assert_close(logits.grad[0, 0, 0, :4], slope, rtol=1e-4, atol=1e-9)


def test_nothing_to_learn_is_zero():
    x = torch.tensor([[-200.0, 200.0]]).view(1, 1, 1, 2).requires_grad_()
    perfect = normalized_focal_loss(x, torch.tensor([0.0, 1.0]).view(1, 1, 1, 2))
    ignored = normalized_focal_loss(x, torch.full((1, 1, 1, 2), -1.0))
    (perfect + ignored).sum().backward()
    assert perfect.item() == ignored.item() == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_ignored_pixels_do_not_matter():
    torch.manual_seed(0)
    logits, target = torch.randn(1, 1, 6, 6), (torch.rand(1, 1, 6, 6) > 0.5).float()
    target[..., 3:] = -1
    assert normalized_focal_loss(logits, target).item() == pytest.approx(
        normalized_focal_loss(logits[..., :3], target[..., :3]).item(), rel=1e-6
    )
    other = logits.clone()
    other[..., 3:] += 5
    assert torch.equal(normalized_focal_loss(logits, target), normalized_focal_loss(other, target))
