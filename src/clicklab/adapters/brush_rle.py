"""Label Studio's brush masks: runs of bytes, four to a pixel, packed into bits.

The format (label-studio-sdk, `converter/brush.py`), most significant bit first: 32 bits number of values, 5 bits size
of a value less 1, four times 4 bits the sizes of run lengths less 1; then runs: 1 bit "the same value throughout",
2 bits which size of length, length less 1, the value. Filled up to whole bytes.
"""

from __future__ import annotations

import numpy as np

CHANNELS = 4  # a pixel is red, green, blue, alpha, all of them the mask
LENGTHS = (3, 4, 8, 16)  # bits that a length may have; all runs here take the last
LONGEST = 1 << LENGTHS[-1]
RUN_BITS = 1 + 2 + LENGTHS[-1] + 8


def encode(mask: np.ndarray) -> list[int]:
    """The bytes of a mask (H, W) bool."""
    values, lengths = _runs(mask)
    run = (1 << 2 | len(LENGTHS) - 1) << LENGTHS[-1] | (lengths - 1)
    packed = run << 8 | np.where(values, 255, 0)
    shifts = np.arange(RUN_BITS - 1, -1, -1)
    bits = (packed[:, None] >> shifts & 1).astype(np.uint8)  # (runs, RUN_BITS)
    return np.packbits(np.concatenate([_header(mask.size), bits.ravel()])).tolist()


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (n,) bool and lengths (n,) int64 in bytes, none longer than a length can say."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = CHANNELS * np.diff(starts, append=flat.size)
    pieces = -(-lengths // LONGEST)
    values = np.repeat(flat[starts], pieces)
    cut = np.full(pieces.sum(), LONGEST, dtype=np.int64)
    ends = np.cumsum(pieces) - 1  # the last piece of a run takes what is left
    cut[ends] = lengths - (pieces - 1) * LONGEST
    return values, cut


def _header(pixels: int) -> np.ndarray:
    fields = [(CHANNELS * pixels, 32), (8 - 1, 5), *((length - 1, 4) for length in LENGTHS)]
    text = "".join(f"{value:0{size}b}" for value, size in fields)
    return np.array([int(bit) for bit in text], dtype=np.uint8)
