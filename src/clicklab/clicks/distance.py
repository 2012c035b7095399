"""Exact Euclidean distance transform of a batch of masks: OpenCV on the CPU, Triton on CUDA, torch elsewhere.

All take the float32 root of the exact integer squared distance, so the robot's clicks do not depend on the device.
Source: cards/protocol.md (c): the official robot's `cv2.distanceTransform(padded, DIST_L2, 0)`, made reproducible.
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

    They take a tenth of the time of `_with_torch`, which starts several operations for each pixel of depth.
    """
    try:
        from clicklab.clicks.distance_triton import distance

        distance(torch.ones((1, 1, 1), dtype=torch.bool, device="cuda"))
    except Exception as error:  # whatever stops Triton, clicks do not depend on it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(f"distances are worked out without Triton, which is slower: {reason[0]}", stacklevel=3)
        return None
    return distance


def _with_opencv(mask: Tensor) -> Tensor:
    masks = np.ascontiguousarray(mask.numpy()).view(np.uint8)
    distance = np.zeros(masks.shape, dtype=np.float32)
    threads = min(len(masks), torch.get_num_threads())
    if threads <= 1:
        for one, out in zip(masks, distance, strict=True):
            _fill_distance(one, out)
    else:  # a pool per call costs 0.1 ms and, unlike a lasting one, survives the fork of DataLoader workers
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(_fill_distance, masks, distance))
    return torch.from_numpy(distance)


def _fill_distance(mask: np.ndarray, out: np.ndarray) -> None:
    """Writes the distances of one uint8 mask into `out`, which holds zeros.

    Only the bounding box is transformed: everything outside it is False, and its rim is nearer than what lies beyond.
    """
    x, y, width, height = cv2.boundingRect(mask)
    if width == 0:
        return
    window = np.s_[y : y + height, x : x + width]
    padded = cv2.copyMakeBorder(mask[window], 1, 1, 1, 1, cv2.BORDER_CONSTANT | cv2.BORDER_ISOLATED, value=0)
    # Intel's version is off by one ulp depending on the memory address, which breaks ties at random; the switch is
    # kept per thread.
    used_ipp = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        out[window] = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
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
