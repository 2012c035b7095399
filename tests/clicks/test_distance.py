"""Distances against brute force, scipy and closed forms; the OpenCV and the torch way bit by bit."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from elsewhere import Elsewhere
from scipy.ndimage import distance_transform_edt

from clicklab.clicks import distance
from clicklab.clicks.distance import _with_torch, deeper_of_two, distance_to_background

WAYS = pytest.mark.parametrize("way", [distance_to_background, _with_torch], ids=["library", "torch"])


def random_masks(seed: int, batch: int, height: int, width: int, holes: int) -> torch.Tensor:
    """(B, H, W) bool, True but for a few single pixels and, in every second mask, a band at the left."""
    rng = np.random.default_rng(seed)
    masks = np.ones((batch, height, width), dtype=bool)
    for mask in masks:
        mask[rng.integers(0, height, holes), rng.integers(0, width, holes)] = False
    masks[::2, :, : width // 4] = False
    return torch.from_numpy(masks)


def brute_force(mask: torch.Tensor) -> torch.Tensor:
    """All pairs of pixels of one mask (H, W), in integers."""
    padded = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    gap = (padded.nonzero()[:, None] - (~padded).nonzero()[None]).square().sum(-1).amin(dim=1)
    distance = torch.zeros(padded.shape, dtype=torch.float64)
    distance[padded] = gap.double().sqrt()
    return distance[1:-1, 1:-1].float()


@WAYS
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 13), (13, 1), (12, 17), (23, 9)])
def test_equals_brute_force(way, height, width):
    masks = torch.cat([random_masks(seed, 2, height, width, seed) for seed in range(4)])
    masks = torch.cat([masks, torch.rand(4, height, width, generator=torch.Generator().manual_seed(0)) < 0.8])
    for mask, ours in zip(masks, way(masks), strict=True):
        assert torch.equal(ours, brute_force(mask))


@WAYS
def test_equals_scipy_bit_by_bit(way):
    masks = random_masks(5, 3, 240, 333, 4)
    found = way(masks)
    assert found.dtype == torch.float32
    for mask, ours in zip(masks.numpy(), found.numpy(), strict=True):
        squared = np.rint(distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] ** 2)
        np.testing.assert_array_equal(ours, np.sqrt(squared).astype(np.float32))


@WAYS
def test_full_and_empty_masks(way):
    masks = torch.zeros(2, 6, 9, dtype=torch.bool)
    masks[1] = True
    y, x = torch.meshgrid(torch.arange(6), torch.arange(9), indexing="ij")
    to_border = torch.stack([y + 1, 6 - y, x + 1, 9 - x]).amin(dim=0)
    assert torch.equal(way(masks), torch.stack([torch.zeros(6, 9), to_border.float()]))


@WAYS
def test_empty_batch_and_strided_input(way):
    assert way(torch.zeros(0, 4, 5, dtype=torch.bool)).shape == (0, 4, 5)
    masks = random_masks(1, 2, 30, 20, 3)
    assert torch.equal(way(masks.mT), way(masks).mT)


def test_threads_do_not_matter_and_the_caller_keeps_ipp():
    masks = random_masks(2, 5, 40, 50, 5)
    threads, used_ipp = torch.get_num_threads(), cv2.ipp.useIPP()
    try:
        torch.set_num_threads(1)
        alone = distance_to_background(masks)
        torch.set_num_threads(4)
        assert torch.equal(alone, distance_to_background(masks))
    finally:
        torch.set_num_threads(threads)
    assert cv2.ipp.useIPP() == used_ipp


def test_refuses_what_is_not_a_bool_batch():
    with pytest.raises(ValueError, match="bool mask"):
        distance_to_background(torch.zeros(1, 3, 3))
    with pytest.raises(ValueError, match="bool mask"):
        distance_to_background(torch.zeros(3, 3, dtype=torch.bool))


@WAYS
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu_bit_by_bit(way):
    masks = random_masks(3, 8, 448, 448, 3)
    torch.cuda.reset_peak_memory_stats()
    assert torch.equal(way(masks.cuda()).cpu(), distance_to_background(masks))
    assert torch.cuda.max_memory_allocated() < 1e9


TRITON = """
import sys, torch
from clicklab.clicks.distance import distance_to_background
from clicklab.clicks.distance_triton import distance
torch.manual_seed(0)
for shape in ((3, 20, 33), (2, 70, 130), (1, 5, 300), (2, 1, 1), (0, 4, 4)):
    for share in (0.05, 0.9, 0.99, 1.0):
        masks = torch.rand(shape) < share
        if not torch.equal(distance(masks), distance_to_background(masks)):
            sys.exit(f"{shape} {share}")
"""


def test_kernels_equal_opencv_bit_by_bit():
    """The CUDA kernels in Triton's interpreter, which has to be asked for before Triton is imported."""
    pytest.importorskip("triton", reason="Triton comes with PyTorch's CUDA builds only")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", TRITON], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_without_triton_it_goes_on_with_a_warning(monkeypatch):
    distance._triton_kernels.cache_clear()
    monkeypatch.setitem(sys.modules, "clicklab.clicks.distance_triton", None)
    with pytest.warns(UserWarning, match="without Triton"):
        assert distance._triton_kernels() is None
    distance._triton_kernels.cache_clear()


def test_deeper_of_two_is_the_same_away_from_the_cpu(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 16, 9, 11, generator=generator) < 0.8
    second[:4] = first[:4].flip(2)  # exact ties
    allowed = torch.rand(16, 9, 11, generator=generator) < 0.7
    allowed[:4] &= allowed[:4].flip(2)
    monkeypatch.setattr(distance, "distance_to_background", lambda mask: _with_torch(mask.as_subclass(torch.Tensor)))
    for places in (None, allowed):
        expected = deeper_of_two(first, second, places)
        found = deeper_of_two(first.as_subclass(Elsewhere), second.as_subclass(Elsewhere), places)
        assert not expected[2][:4].any() and expected[2].any()
        assert all(
            torch.equal(one.as_subclass(torch.Tensor), other) for one, other in zip(found, expected, strict=True)
        )
