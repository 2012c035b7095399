"""The evaluation robot against clicks that the official one gave, the training annotator against its definition.

`golden/clicks_robot.npz` holds (cases, clicks, 3) y, x, positive. It was made by feeding `draw_case(seed)` for seed
0..399 to `Clicker.make_next_click` of the official SimpleClick code with `cv2.ipp.setUseIPP(False)`, OpenCV 5.0.
Our side of it is `play_case` below.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from elsewhere import Elsewhere
from scipy.ndimage import distance_transform_edt

from clicklab.clicks import next_click
from clicklab.clicks.next_click import CorrectiveClickSampling, robot_click, training_click

GOLDEN = Path(__file__).parents[1] / "golden" / "clicks_robot.npz"
CLICKS = 6


def blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W) bool: a few rectangles and discs, sometimes with noise."""
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), dtype=bool)
    for _ in range(rng.integers(1, 4)):
        cy, cx = rng.integers(0, height), rng.integers(0, width)
        ry, rx = rng.integers(1, height // 2 + 1), rng.integers(1, width // 2 + 1)
        if rng.random() < 0.5:
            mask |= (abs(y - cy) <= ry) & (abs(x - cx) <= rx)
        else:
            mask |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
    return mask ^ (rng.random((height, width)) < 0.03) if rng.random() < 0.4 else mask


def draw_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """target (H, W) int8 with ignore, and the masks shown before each click (CLICKS, H, W) bool.

    One case in ten has no error at all, one in ten has missed and excess regions that are mirror images (an exact tie),
    and in half of the others the mask never changes, so that the pixels already clicked matter.
    """
    rng = np.random.default_rng(seed)
    height, width = rng.integers(5, 41, size=2).tolist()
    target = blobs(rng, height, width).astype(np.int8)
    shown = np.stack([blobs(rng, height, width) for _ in range(CLICKS)])
    if seed % 10 == 0:
        shown[:] = target
    elif seed % 10 == 1:
        shown[:] = target[:, ::-1]
    elif seed % 2:
        shown[:] = shown[0]
    if rng.random() < 0.5:
        target[blobs(rng, height, width) & (rng.random() < 0.9)] = -1
    return target, shown


def play_case(target: np.ndarray, shown: np.ndarray) -> list[tuple[int, int, int]]:
    """The clicks of our robot, one image at a time."""
    answer, clicked = [], torch.zeros(1, *target.shape, dtype=torch.bool)
    for mask in shown:
        yx, label = robot_click(torch.from_numpy(mask)[None], torch.from_numpy(target)[None], clicked)
        y, x = yx[0].int().tolist()
        clicked[0, y, x] = True
        answer.append((y, x, int(label)))
    return answer


def test_robot_clicks_like_the_official_one():
    golden = np.load(GOLDEN)["clicks"]
    ours = np.array([play_case(*draw_case(seed)) for seed in range(len(golden))])
    differing = np.flatnonzero((ours != golden).any(axis=(1, 2)))
    assert differing.size == 0, f"seeds {differing[:10]}"


def test_images_of_different_sizes_share_a_batch():
    golden = np.load(GOLDEN)["clicks"][:40]
    target = torch.full((40, 41, 43), -1, dtype=torch.int8)
    shown = torch.ones(CLICKS, 40, 41, 43, dtype=torch.bool)
    for seed in range(40):
        one, masks = draw_case(seed)
        target[seed, : one.shape[0], : one.shape[1]] = torch.from_numpy(one)
        shown[:, seed, : one.shape[0], : one.shape[1]] = torch.from_numpy(masks)
    clicked = torch.zeros(target.shape, dtype=torch.bool)
    for click, mask in enumerate(shown):
        yx, label = robot_click(mask, target, clicked)
        assert yx.dtype == torch.float32
        assert label.dtype == torch.int8
        row, column = yx.long().unbind(1)
        assert torch.stack([row, column, label.long()], 1).tolist() == golden[:, click].tolist()
        clicked[torch.arange(40), row, column] = True


def test_robot_rules_by_hand():
    target = torch.zeros(1, 5, 9, dtype=torch.int8)
    nothing = torch.zeros(1, 5, 9, dtype=torch.bool)
    shown = nothing.clone()
    target[0, 1:4, 0:3] = 1
    yx, label = robot_click(shown, target, nothing)
    assert (yx.tolist(), label.tolist()) == ([[2.0, 1.0]], [1])
    shown[0, 1:4, 5:8] = True  # as deep as the missed part: the tie is negative
    yx, label = robot_click(shown, target, nothing)
    assert (yx.tolist(), label.tolist()) == ([[2.0, 6.0]], [0])
    target[0, 2, 6] = -1  # the deepest excess pixel is ignored
    yx, label = robot_click(shown, target, nothing)
    assert (yx.tolist(), label.tolist()) == ([[2.0, 1.0]], [1])
    yx, label = robot_click(target == 1, target, ~nothing)
    assert (yx.tolist(), label.tolist()) == ([[0.0, 0.0]], [0])


def inner_pixels(probability: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, int]:
    """Which pixels the training annotator may click, written with scipy for one sample."""
    depth = [
        distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1].astype(np.float32)
        for error in ((target > 0.5) & (probability < 0.49), ~(target > 0.5) & (probability > 0.49))
    ]
    positive = depth[0].max() > depth[1].max()
    return depth[0 if positive else 1] > max(d.max() for d in depth) / 2, int(positive)


def training_case(samples: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and targets (B, 1, 24, 30) with ignored pixels; sample 0 has no error."""
    rng = np.random.default_rng(0)
    target = np.stack([blobs(rng, 24, 30) for _ in range(samples)]).astype(np.float32)
    shown = np.stack([blobs(rng, 24, 30) for _ in range(samples)])
    probability = np.where(shown, 0.5, 0.4) + rng.uniform(-0.05, 0.05, shown.shape)
    target[1:, 20:, 20:] = -1
    probability[0] = target[0]
    return torch.from_numpy(probability.astype(np.float32))[:, None], torch.from_numpy(target)[:, None]


def test_training_click_is_deep_in_the_larger_error():
    probability, target = training_case()
    for seed in range(5):
        yx, label = training_click(probability, target, torch.Generator().manual_seed(seed))
        assert (yx[0].tolist(), int(label[0])) == ([-1.0, -1.0], -1)
        for sample in range(1, len(target)):
            inner, positive = inner_pixels(probability[sample, 0].numpy(), target[sample, 0].numpy())
            y, x = yx[sample].int().tolist()
            assert inner[y, x]
            assert int(label[sample]) == positive


def test_training_click_is_uniform():
    probability, target = (part[3:4, :, :16, :16].expand(20000, -1, -1, -1) for part in training_case())
    yx, _ = training_click(probability, target, torch.Generator().manual_seed(1))
    inner, _ = inner_pixels(probability[0, 0].numpy(), target[0, 0].numpy())
    hits = np.zeros((16, 16))
    np.add.at(hits, tuple(yx.long().T.numpy()), 1)
    expected = len(yx) / inner.sum()
    assert hits[~inner].sum() == 0
    chi2 = ((hits[inner] - expected) ** 2 / expected).sum()
    assert chi2 < inner.sum() + 5 * np.sqrt(2 * inner.sum())


def test_training_click_quirks():
    target = torch.zeros(1, 1, 7, 7)
    at_threshold = torch.full((1, 1, 7, 7), 0.49)
    assert training_click(at_threshold, target)[1].item() == -1
    assert training_click(at_threshold, target + 1)[1].item() == -1
    assert training_click(at_threshold + 0.1, target - 1)[1].item() == 0  # ignored pixels count as background
    yx, label = training_click(at_threshold - 0.1, target + 1, threshold=0.45)
    assert label.item() == 1
    assert 2 <= yx.min() <= yx.max() <= 4  # depths 1..4, half is 2


def test_training_click_repeats_with_its_generator():
    probability, target = training_case()
    first, second = (training_click(probability, target, torch.Generator().manual_seed(7))[0] for _ in range(2))
    torch.manual_seed(3)
    third = training_click(probability, target)[0]
    torch.manual_seed(3)
    assert torch.equal(first, second)
    assert torch.equal(third, training_click(probability, target)[0])
    assert not torch.equal(first, third)


def inner_depth(probability: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(H, W) depth of the deeper error, written with scipy."""
    missed, excess = (
        distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1].astype(np.float32)
        for error in ((target > 0.5) & (probability < 0.49), ~(target > 0.5) & (probability > 0.49))
    )
    return missed if missed.max() > excess.max() else excess


LAWS = {
    "official": (CorrectiveClickSampling(), False, lambda depth: depth > depth.max() / 2),
    "shallower": (CorrectiveClickSampling(ratio=4), False, lambda depth: depth > depth.max() / 4),
    "centre": (CorrectiveClickSampling(centre=1), False, lambda depth: depth == depth.max()),
    "border": (CorrectiveClickSampling(border=1), False, lambda depth: (depth > 0) & (depth <= 3)),
    "narrow border": (CorrectiveClickSampling(border=1, border_depth=1), False, lambda depth: depth == 1),
    "first": (
        CorrectiveClickSampling(first_ratio=1.7, centre=1),
        True,
        lambda depth: depth > depth.max() / np.float32(1.7),
    ),
    "later": (CorrectiveClickSampling(first_ratio=1.7), False, lambda depth: depth > depth.max() / 2),
}


@pytest.mark.parametrize("name", LAWS)
def test_every_law_clicks_all_of_its_pixels_and_no_other(name):
    law, first, rule = LAWS[name]
    for sample in (3, 8, 12):
        probability, target = (part[sample : sample + 1, :, :16, :16] for part in training_case())
        expected = rule(inner_depth(probability[0, 0].numpy(), target[0, 0].numpy()))
        many = [part.expand(4000, -1, -1, -1) for part in (probability, target)]
        yx, label = training_click(*many, torch.Generator().manual_seed(1), sampling=law, first=first)
        hits = np.zeros((16, 16))
        np.add.at(hits, tuple(yx.long().T.numpy()), 1)
        assert expected.any() and hits[~expected].sum() == 0
        each = len(yx) / expected.sum()
        assert np.abs(hits[expected] - each).max() < 6 * np.sqrt(each) + 1e-9 * each
        assert label.unique().numel() == 1


def test_kinds_of_clicks_come_in_their_shares():
    target = torch.zeros(1, 1, 31, 31)
    target[..., 3:28, 3:28] = 1  # greatest depth 13, at (15, 15) alone
    many = [part.expand(6000, -1, -1, -1) for part in (torch.zeros_like(target), target)]
    law = CorrectiveClickSampling(centre=0.2, border=0.5, border_depth=2)
    yx, label = training_click(*many, torch.Generator().manual_seed(2), sampling=law)
    depth = 13 - (yx - 15).abs().amax(dim=1)
    # the official rule, 0.3 of all, hits the centre once in 13 x 13
    for share, expected in (((depth == 13), 0.2 + 0.3 / 169), ((depth <= 2), 0.5), ((depth > 6.5), 0.5)):
        assert abs(share.double().mean().item() - expected) < 5 * np.sqrt(0.25 / 6000)
    assert (label == 1).all() and depth.min() == 1


def test_samples_without_an_error_get_no_click_under_any_law():
    probability, target = training_case()
    for law in (
        CorrectiveClickSampling(centre=1),
        CorrectiveClickSampling(border=1),
        CorrectiveClickSampling(centre=0.5, border=0.5),
    ):
        yx, label = training_click(probability, target, torch.Generator().manual_seed(0), sampling=law)
        assert (yx[0].tolist(), int(label[0])) == ([-1.0, -1.0], -1) and (label[1:] >= 0).all()


def test_impossible_click_laws():
    for options, message in (
        ({"ratio": 1}, "expected above 1"),
        ({"centre": 0.6, "border": 0.6}, "at most 1 together"),
        ({"border_depth": 0.5}, "border_depth is 0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            CorrectiveClickSampling(**options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_robot_clicks_alike_on_the_gpu():
    golden = np.load(GOLDEN)["clicks"]
    for seed in range(100):
        target, shown = (torch.from_numpy(part).cuda() for part in draw_case(seed))
        yx, label = robot_click(shown[:1], target[None], torch.zeros_like(shown[:1]))
        assert [*yx[0].int().tolist(), int(label)] == golden[seed, 0].tolist()


def test_pixels_are_drawn_alike_away_from_the_cpu():
    generator = torch.Generator().manual_seed(0)
    allowed = torch.rand(200, 30, generator=generator) < 0.2
    allowed[:, 7] = True
    chance = torch.rand(200, generator=generator, dtype=torch.float64)
    chance[:2] = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    found = next_click._draw(allowed.as_subclass(Elsewhere), chance).as_subclass(torch.Tensor)
    assert torch.equal(found, next_click._draw(allowed, chance))
    assert allowed.gather(1, found[:, None]).all()
