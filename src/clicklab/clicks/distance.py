"""Exact Euclidean distance transform of a batch of masks: OpenCV on the CPU, Triton on CUDA, torch elsewhere.

All take the float32 root of the exact integer squared distance, so the robot's clicks do not depend on the device.
Source: docs/protocol.md#the-next-click: the official `cv2.distanceTransform(padded, DIST_L2, 0)`, made reproducible.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

TRITON_SIDE = 4096  # pixels; beyond it squared distances need more than the 24 bits of a float32


def distance_to_background(mask: Tensor) -> Tensor:
    """Distance of every True pixel to the nearest False pixel; what lies outside the image counts as False.

    Args:
        mask: (B, H, W) bool.

    Returns:
        (B, H, W) float32 in pixels on the same device, 0 where the mask is False. The same bits on every device for
        images up to 2048 x 2048 (OpenCV's own arithmetic is float32 and could be off in the last place beyond that).

    Raises:
        ValueError: the mask is not a boolean batch.
    """
    if mask.dtype != torch.bool or mask.ndim != 3:
        raise ValueError(f"distance_to_background wants a bool mask (B, H, W), got {mask.dtype} {tuple(mask.shape)}")
    if mask.device.type == "cpu":
        return _with_opencv(mask)
    kernels = _triton_kernels() if mask.device.type == "cuda" and max(mask.shape[1:]) <= TRITON_SIDE else None
    return _with_torch(mask) if kernels is None else kernels(mask)


@cache
def _triton_kernels() -> Callable[[Tensor], Tensor] | None:
    """The kernels for CUDA, tried out once; None where they do not run (no Triton, or no C compiler for its launcher).

    Two launches, where `_with_torch` starts several operations for each pixel of depth.
    """
    try:
        from clicklab.clicks.distance_triton import distance

        distance(torch.ones((1, 1, 1), dtype=torch.bool, device="cuda"))
    except Exception as error:  # whatever stops Triton, clicks do not depend on it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(f"distances are worked out without Triton, by many small operations: {reason[0]}", stacklevel=3)
        return None
    return distance


def deeper_of_two(first: Tensor, second: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Of two masks per sample the one with the deepest pixel, as its distances to the background.

    Args:
        first: (B, H, W) bool.
        second: (B, H, W) bool.
        allowed: (B, H, W) bool, pixels that count; None: all.

    Returns:
        (B, H, W) float32 distances of the deeper mask, 0 where not allowed; their maxima (B,); and (B,) bool: it is the
        first mask. A tie goes to the second.
    """
    if first.device.type == "cpu":
        return _deeper_with_opencv(first, second, allowed)
    depth = distance_to_background(torch.cat([first, second])).unflatten(0, (2, -1))
    if allowed is not None:
        depth = depth * allowed
    deepest = depth.flatten(2).amax(dim=2)
    wins = deepest[0] > deepest[1]
    return torch.where(wins[:, None, None], depth[0], depth[1]), deepest.amax(dim=0), wins


def _with_opencv(mask: Tensor) -> Tensor:
    masks = mask.numpy()
    distance = np.zeros(masks.shape, dtype=np.float32)

    def fill(row: int) -> None:
        window, found = _distance_in_box(masks[row])
        distance[row][window] = found

    _for_each_row(fill, len(masks))
    return torch.from_numpy(distance)


def _deeper_with_opencv(first: Tensor, second: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Sample by sample, so that what one sample needs stays in the processor's cache."""
    pairs = first.numpy(), second.numpy()
    places = None if allowed is None else allowed.numpy()
    depth = np.zeros(first.shape, dtype=np.float32)
    deepest = np.zeros((2, len(first)), dtype=np.float32)

    def fill(row: int) -> None:
        found = []
        for number, masks in enumerate(pairs):
            window, distance = _distance_in_box(masks[row])
            if places is not None:
                distance = distance * places[row][window]
            deepest[number, row] = distance.max(initial=0.0)
            found.append((window, distance))
        window, distance = found[0 if deepest[0, row] > deepest[1, row] else 1]
        depth[row][window] = distance

    _for_each_row(fill, len(first))
    return torch.from_numpy(depth), torch.from_numpy(deepest.max(axis=0)), torch.from_numpy(deepest[0] > deepest[1])


def _for_each_row(work: Callable[[int], None], rows: int) -> None:
    """In as many threads as PyTorch has: OpenCV and numpy let go of Python's lock."""
    threads = min(rows, torch.get_num_threads())
    if threads <= 1:
        for row in range(rows):
            work(row)
    else:  # a pool per call costs 0.1 ms and, unlike a lasting one, survives the fork of DataLoader workers
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(rows)))


def _distance_in_box(mask: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """The bounding box of one bool mask (H, W), as slices, and the float32 distances inside it.

    Everything outside the box is False, and its rim is nearer than what lies beyond.
    """
    flags = np.ascontiguousarray(mask).view(np.uint8)
    x, y, width, height = cv2.boundingRect(flags)
    window = np.s_[y : y + height, x : x + width]
    if width == 0:
        return window, np.zeros((0, 0), dtype=np.float32)
    padded = cv2.copyMakeBorder(flags[window], 1, 1, 1, 1, cv2.BORDER_CONSTANT | cv2.BORDER_ISOLATED, value=0)
    # Intel's version is off by one ulp depending on the memory address, which breaks ties at random; the switch is
    # kept per thread.
    used_ipp = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        return window, cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    finally:
        cv2.ipp.setUseIPP(used_ipp)


def _with_torch(mask: Tensor) -> Tensor:
    """Two passes of integers: nearest False in the column, then the best column within reach.

    Memory: about ten int32 images per mask of the batch, 250 MB for (32, 448, 448); a single number is read back.
    """
    _, height, width = mask.shape
    if mask.numel() == 0:
        return torch.zeros(mask.shape, device=mask.device)
    row = torch.arange(height, device=mask.device, dtype=torch.int32)[:, None].expand_as(mask)
    above = row.masked_fill(mask, -1).cummax(dim=1).values
    below = row.masked_fill(mask, height).flip(1).cummin(dim=1).values.flip(1)
    column_distance = torch.minimum(row - above, below - row)
    squared_column = column_distance.square()

    column = torch.arange(width, device=mask.device, dtype=torch.int32)
    to_side = torch.minimum(column + 1, width - column)
    squared = torch.minimum(squared_column, to_side.square())
    # a column farther away than the way along the column or to the image's side cannot hold the nearest False pixel
    reach = int(torch.minimum(column_distance, to_side).amax())
    candidate = torch.empty_like(squared)
    for step in range(1, min(reach, width)):
        shifted = candidate[..., step:]
        torch.add(squared_column[..., :-step], step * step, out=shifted)
        torch.minimum(squared[..., step:], shifted, out=squared[..., step:])
        torch.add(squared_column[..., step:], step * step, out=shifted)
        torch.minimum(squared[..., :-step], shifted, out=squared[..., :-step])
    # in float64 and then rounded: torch's vectorised float32 root is not correctly rounded on every CPU
    return squared.double().sqrt_().float()
