"""From the pixels of a mask file to gray values or colours whose background is 0; which values occur, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_modules.scenes import BrokenScene

BLOCK = 2**22  # pixels that are counted at a time, so that counting takes little memory
COUNTABLE = 2**18  # largest whole number that has a counter of its own
BLACK = 8  # a palette entry with no channel above this looks black
FAINT = 32 / 255  # of the full scale: below it lie the noise of JPEG files and the tails of soft edges
MANY = 16  # more values than that between background and full scale are no labels drawn by hand


class ValueCounts(NamedTuple):
    """The values of a mask besides 0, rising, and how many pixels have each; both (N,)."""

    values: np.ndarray
    counts: np.ndarray


def count_values(pixels: np.ndarray, left_out: np.ndarray | None = None) -> ValueCounts:
    """Counts (H, W) numbers of any type, without 0 and without the (H, W) bool pixels `left_out`."""
    flat = pixels.ravel() if left_out is None else pixels[~left_out]
    if flat.dtype.kind in "bui" and flat.size and flat.min() >= 0 and flat.max() <= COUNTABLE:
        return _counted(flat)
    blocks = [np.unique(flat[at : at + BLOCK], return_counts=True) for at in range(0, len(flat), BLOCK)]
    if not blocks:
        return ValueCounts(np.zeros(0, pixels.dtype), np.zeros(0, np.int64))
    values, where = np.unique(np.concatenate([values for values, _ in blocks]), return_inverse=True)
    counts = np.bincount(where.ravel(), np.concatenate([counts for _, counts in blocks])).astype(np.int64)
    return ValueCounts(values[values != 0], counts[values != 0])


def _counted(flat: np.ndarray) -> ValueCounts:
    """`count_values` of small whole numbers, many times as fast as by sorting."""
    counts = np.zeros(int(flat.max()) + 1, dtype=np.int64)
    for at in range(0, len(flat), BLOCK):
        counts += np.bincount(flat[at : at + BLOCK], minlength=len(counts))
    found = np.flatnonzero(counts[1:]) + 1
    return ValueCounts(found.astype(flat.dtype), counts[found])


def full_scale(pixels: np.ndarray, largest: float) -> float:
    """The value that stands for "wholly object" in a gray file of this type: 255, 65535, or 1 for probabilities."""
    if pixels.dtype.kind in "bu" and pixels.dtype.itemsize <= 2:
        return 255.0 if pixels.dtype.itemsize == 1 else 65535.0
    return next((scale for scale in (1.0, 255.0, 65535.0) if largest <= scale), float(largest))


def looks_soft(counts: ValueCounts, scale: float) -> bool:
    """Whether the values are the soft edge of one object rather than ids.

    Soft: many values between the faint and the strong ones, which together have fewer pixels than the strong ones.
    """
    if not len(counts.values) or counts.values[-1] <= scale / 2:
        return False
    strong = counts.values >= 0.9 * counts.values[-1]
    between = ~strong & (counts.values >= FAINT * scale)
    return bool(between.sum() > MANY and counts.counts[between].sum() < counts.counts[strong].sum())


def rgb_numbers(colours: np.ndarray) -> np.ndarray:
    """(..., 3) red, green, blue of 8 or 16 bits -> one number per pixel, R + 256 G + 65536 B for 8 bits."""
    wide = colours.dtype.itemsize > 1
    number = np.int64 if wide else np.int32
    shift = 16 if wide else 8
    red, green, blue = (colours[..., channel].astype(number) for channel in range(3))
    return red | (green << shift) | (blue << 2 * shift)


def colour_strength(colours: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(H, W) uint8: how far each pixel is from the background colour, in the channel that differs most."""
    if colours.dtype == np.uint16:
        colours = (colours >> 8).astype(np.uint8)
    strength = np.zeros(colours.shape[:2], dtype=np.uint8)
    for channel in range(3):
        values, level = colours[..., channel], background[channel]
        np.maximum(strength, np.where(values > level, values - level, level - values), out=strength)
    return strength


def absorb_small_colours(
    colours: np.ndarray, background: np.ndarray, smallest: int, left_out: np.ndarray | None
) -> np.ndarray:
    """Replaces colours of fewer than `smallest` pixels (soft edges) by the most similar of the other colours.

    Args:
        colours: (H, W, 3) uint8.
        background: (3,) uint8, which is one of the others whatever its size.
        smallest: pixels of the smallest object.
        left_out: (H, W) bool, pixels that do not count.
    """
    numbers = rgb_numbers(colours)
    counts = count_values(numbers + 1, left_out)  # + 1: black is a colour like any other here
    own = rgb_numbers(background)
    large = counts.values[(counts.counts >= smallest) & (counts.values - 1 != own)] - 1
    kept = np.concatenate([[own], large])
    small = counts.values[counts.counts < smallest] - 1
    if not len(small):
        return colours

    def channels(number: np.ndarray) -> np.ndarray:
        return np.stack([(number >> shift) & 255 for shift in (0, 8, 16)], axis=-1)

    replacement = np.empty_like(small)
    step = max(1, BLOCK // len(kept))
    for at in range(0, len(small), step):
        distance = channels(small[at : at + step])[:, None] - channels(kept)[None]  # (step, kept, 3)
        replacement[at : at + step] = kept[(distance**2).sum(axis=2).argmin(axis=1)]
    place = np.minimum(np.searchsorted(small, numbers), len(small) - 1)
    numbers = np.where(small[place] == numbers, replacement[place], numbers)
    return channels(numbers).astype(np.uint8)


def palette_background(used: np.ndarray, palette: np.ndarray, asked: np.ndarray | None, path: Path) -> int:
    """Which palette index is the background of a file.

    Args:
        used: the indices that occur, rising.
        palette: (256, 3) uint8.
        asked: (3,) uint8, the background colour that the user named.
        path: the file, for the message.

    Returns:
        The index of the named colour (-1 where no pixel has it). Else that of black, 0 before all others. Else, of two
        colours, 0 if it is the darker one; else 0.

    Raises:
        BrokenScene: two colours, none of them black, of which the lighter comes first: either may be meant.
    """
    if asked is not None:
        match = used[(palette[used] == asked).all(axis=1)]
        return int(match[0]) if len(match) else -1
    black = used[palette[used].max(axis=1) <= BLACK]
    if len(black):
        return int(black[0])
    if len(used) == 2 and used[0] == 0:
        first, second = palette[used].astype(int) @ np.array([299, 587, 114])  # luminance, times 1000
        if first > second:
            names = ["#" + "".join(f"{level:02x}" for level in palette[index]) for index in used]
            raise BrokenScene(
                f"{path}: has the two colours {names[0]} and {names[1]}: say background='{names[0]}' or the other"
            )
    return 0


def with_background_zero(indices: np.ndarray, background: int) -> np.ndarray:
    """(H, W) int32 palette indices in which the background has changed places with 0 (256 where it does not occur)."""
    values = indices.astype(np.int32)
    if background == 0:
        return values
    zero = indices == 0
    values[indices == background] = 0
    values[zero] = background if background > 0 else 256
    return values
