"""Mask cross-entropy with ignored pixels."""

import numpy as np
import torch
import torch.nn.functional as F

from clicklab.losses.mask import binary_cross_entropy


def test_figures_of_the_official_code():
    """SigmoidBinaryCrossEntropyLoss of SimpleClick, commit f33112e, on the numbers of test_nfl."""
    rng = np.random.default_rng(7)
    logits = torch.from_numpy(rng.normal(0, 4, (4, 1, 24, 32)).astype(np.float32))
    target = torch.from_numpy(rng.integers(-1, 2, (4, 1, 24, 32)).astype(np.float32))
    target[3] = -1
    target[2] = target[2].abs()
    logits[2] *= 10
    official = torch.tensor([1.0791369676589966, 1.165474534034729, 17.724559783935547, 0.0])
    torch.testing.assert_close(binary_cross_entropy(logits, target), official, rtol=1e-5, atol=0)


def test_ignored_pixels_count_in_the_denominator():
    logits = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    target = torch.tensor([1.0, 0.0, -1.0, -1.0]).view(1, 1, 2, 2)
    expected = (F.softplus(torch.tensor(-1.0)) + F.softplus(torch.tensor(2.0))) / 4
    torch.testing.assert_close(binary_cross_entropy(logits, target), expected.view(1))
