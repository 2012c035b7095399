"""The exact distance transform of a batch of masks as two kernels on a CUDA device: columns, then rows.

Only `clicklab.clicks.distance` imports this, and only where there is Triton, which PyTorch's CUDA builds bring. With
TRITON_INTERPRET=1 it runs on CPU tensors, which is how it is tested without a GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 64  # columns or pixels of a row that one program looks after: most programs have nothing to do for long
ROW = 256


def distance(mask: Tensor) -> Tensor:
    """(B, H, W) bool to (B, H, W) float32, as `clicklab.clicks.distance.distance_to_background`.

    Squared distances are whole numbers below 2^24 and their roots are rounded correctly, up to 4096 pixels a side.
    """
    batch, height, width = mask.shape
    in_column = torch.empty(mask.shape, device=mask.device)
    answer = torch.empty_like(in_column)
    if mask.numel() == 0:
        return answer
    flags = mask.contiguous().view(torch.uint8)
    _columns[(batch, triton.cdiv(width, COLUMNS))](flags, in_column, height, width, COLUMNS, num_warps=2)
    _rows[(batch * height, triton.cdiv(width, ROW))](in_column, answer, width, ROW, num_warps=4)
    return answer


@triton.jit
def _columns(flags, in_column, height, width, BLOCK: tl.constexpr):  # noqa: ANN001, ANN202
    """Pixels to the nearest False above or below, beyond the image as well: a run of True counted from either end."""
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    first = tl.program_id(0).to(tl.int64) * height * width + column
    run = tl.zeros([BLOCK], dtype=tl.float32)
    row = 0
    while row < height:  # no `range`: older interpreters of Triton cannot take its end from an argument
        flag = tl.load(flags + first + row * width, mask=inside, other=0)
        run = tl.where(flag != 0, run + 1.0, 0.0)
        tl.store(in_column + first + row * width, run, mask=inside)
        row += 1
    tl.debug_barrier()  # what one thread has written another one may read
    run = tl.zeros([BLOCK], dtype=tl.float32)
    while row > 0:
        row -= 1
        place = in_column + first + row * width
        above = tl.load(place, mask=inside, other=0.0)
        run = tl.where(above > 0, run + 1.0, 0.0)
        tl.store(place, tl.minimum(above, run), mask=inside)


@triton.jit
def _rows(in_column, answer, width, BLOCK: tl.constexpr):  # noqa: ANN001, ANN202
    """The nearest False of all columns: those farther away than a pixel's own column or the border cannot hold it."""
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    row = in_column + tl.program_id(0).to(tl.int64) * width
    own = tl.load(row + column, mask=inside, other=0.0)
    reach = tl.minimum(own, tl.minimum(column + 1, width - column).to(tl.float32))
    reach = tl.where(inside, reach, 0.0)
    nearest = reach * reach
    end = tl.max(reach, axis=0).to(tl.int32)
    step = 1
    while step < end:
        left = tl.load(row + column - step, mask=inside & (column >= step), other=0.0)
        right = tl.load(row + column + step, mask=column + step < width, other=0.0)
        side = tl.minimum(left, right)
        nearest = tl.minimum(nearest, side * side + step * step)
        step += 1
    tl.store(answer + tl.program_id(0).to(tl.int64) * width + column, tl.sqrt_rn(nearest), mask=inside)
