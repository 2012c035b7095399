"""Mask files of practitioners as object ids: binary and soft masks, id maps in gray, colour or with a palette.

What a file looks like decides, not how it is stored: a palette that begins with white means the same as the gray image
that a viewer shows, and an EXIF tag turns a mask as it turns its image.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from clicklab.records import IGNORE
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.mask_looks import (
    FAINT,
    MANY,
    ValueCounts,
    absorb_small_colours,
    colour_strength,
    count_values,
    full_scale,
    looks_soft,
    palette_background,
    rgb_numbers,
    with_background_zero,
)
from data_modules.formats.mask_rules import AUTO, MaskRules
from data_modules.formats.mask_values import MaskValues, read_mask_values
from data_modules.formats.mat_files import LARGEST_ID
from data_modules.formats.notes import Notes, shown
from data_modules.scenes import BrokenScene

FLAT = 0.05  # a single value with this share of the object's pixels is a region, no soft edge
LABELS = 64  # at most so many values, all below one half: labels (0 and 1, ids), no faint soft mask
TINY = 50  # pixels; many objects below this are the pixels of a soft edge


class _Look(NamedTuple):
    """A mask without its way of storage.

    Attributes:
        values: (H, W) gray numbers whose background is 0, or (H, W, 3) colours.
        labelled: the file's format says that its values are labels (palette, 16 bit, whole floating-point numbers).
        ignored: (H, W) bool pixels of `ignore_value`, None where there are none.
    """

    values: np.ndarray
    labelled: bool
    ignored: np.ndarray | None


def read_mask_ids(
    path: Path, rules: MaskRules = AUTO, reading: ImageReading = AS_USUAL, notes: Notes | None = None
) -> np.ndarray:
    """(H, W) int32 ids of one mask file: 0 background, -1 ignore.

    Gray values and palette indices keep their numbers as ids; colours are numbered in the order of R + 256 G + 65536 B,
    and so are values above 65535.

    Args:
        path: the file.
        rules: what its values mean.
        reading: how files are read.
        notes: takes what was decided although the file leaves it open.

    Raises:
        BrokenScene: unreadable file, or one whose meaning has to be told; the message names the file and the option.
    """
    notes = notes or Notes()
    mask = read_mask_values(path, reading, notes)
    if rules.kind == "alpha":
        if mask.opacity is None:
            raise BrokenScene(f"{path}: has no transparency, which kind=alpha reads; choose another kind")
        return (mask.opacity > 127).astype(np.int32)
    _need_visible_object(mask, path)
    look = _look(mask, rules, path)
    ids = _ids(look, rules, path, notes)
    if look.ignored is not None:
        ids[look.ignored] = IGNORE
    return ids


def _need_visible_object(mask: MaskValues, path: Path) -> None:
    """Refuses a file whose object is drawn in transparency alone: its colours would make all of it the object."""
    if mask.opacity is None or np.ptp(mask.opacity) == 0:
        return
    if all(np.ptp(channel) == 0 for channel in np.atleast_3d(mask.values).transpose(2, 0, 1)):
        raise BrokenScene(
            f"{path}: only its transparency varies: kind=alpha reads that, or save the mask as gray values"
        )


def _look(mask: MaskValues, rules: MaskRules, path: Path) -> _Look:
    """Brings palettes, gray files saved as colours, and files with another background to a common form."""
    asked = None if rules.background is None else np.array(rules.background_colour(), dtype=np.uint8)
    if mask.palette is not None:
        return _palette_look(mask.values, mask.palette, asked, rules, path)
    values = mask.values
    if values.ndim == 3 and (values[..., 1:] == values[..., :1]).all():
        values = np.ascontiguousarray(values[..., 0])
    numbers = rgb_numbers(values) if values.ndim == 3 else values
    ignored = _ignored(numbers, rules.ignore_value)
    if values.ndim == 3:
        return _Look(values, False, ignored)
    labelled = values.dtype.itemsize > 1
    values = _whole_numbers(values, ignored, path)
    if rules.background is not None:
        values = _with_gray_background(values, rules)
    return _Look(values, labelled, ignored)


def _palette_look(
    indices: np.ndarray, palette: np.ndarray, asked: np.ndarray | None, rules: MaskRules, path: Path
) -> _Look:
    """A palette file: indices as ids with the background's first, or for one object the colours that a viewer shows."""
    ignored = _ignored(indices, rules.ignore_value)
    used = np.flatnonzero(np.bincount(indices.ravel() if ignored is None else indices[~ignored], minlength=256))
    gray = bool((palette[used] == palette[used, :1]).all())
    if gray and asked is None and (rules.kind == "binary" or _soft_palette(indices, palette, ignored)):
        return _Look(palette[:, 0][indices], False, ignored)
    if rules.kind == "binary":
        return _Look(palette[indices], False, ignored)
    background = palette_background(used, palette, asked, path)
    return _Look(with_background_zero(indices, background), True, ignored)


def _soft_palette(indices: np.ndarray, palette: np.ndarray, ignored: np.ndarray | None) -> bool:
    return looks_soft(count_values(palette[:, 0][indices], ignored), 255.0)


def _ignored(values: np.ndarray, ignore_value: int | None) -> np.ndarray | None:
    """(H, W) bool pixels to be ignored; None where there are none. -1 in files with signs means ignore by itself."""
    found = np.zeros(values.shape, dtype=bool)
    if ignore_value is not None:
        found |= values == ignore_value
    if values.dtype.kind in "if" and values.ndim == 2:
        found |= values == IGNORE
    return found if found.any() else None


def _whole_numbers(values: np.ndarray, ignored: np.ndarray | None, path: Path) -> np.ndarray:
    """Floating-point labels as int64; fractions stay what they are.

    Raises BrokenScene for numbers that are neither labels nor shares.
    """
    if values.dtype.kind not in "if":
        return values
    seen = values if ignored is None else values[~ignored]
    if values.dtype.kind == "f" and not np.isfinite(seen).all():
        raise BrokenScene(f"{path}: holds pixels that are NaN or infinite; save them as 0")
    if seen.size and seen.min() < 0:
        raise BrokenScene(
            f"{path}: holds negative numbers, down to {seen.min():g}; save ids as 1, 2, ... or 0..1 shares"
        )
    if values.dtype.kind == "i":
        return values
    if seen.size and seen.max() >= 2**53:
        raise BrokenScene(
            f"{path}: holds numbers up to {seen.max():g}, too large to be told apart; save ids as 1, 2, ..."
        )
    values = np.where(np.isfinite(values), values, 0)
    return values.astype(np.int64) if (seen == np.rint(seen)).all() else values


def _with_gray_background(values: np.ndarray, rules: MaskRules) -> np.ndarray:
    """(H, W) values in which the background that the user named is 0: for one object the distance from it."""
    scale = full_scale(values, float(values.max(initial=0)))
    if isinstance(rules.background, int):
        level = float(rules.background)
    else:
        red, green, blue = rules.background_colour()
        if not red == green == blue:
            return values  # a colour that a gray file does not have
        level = red / 255 * scale
    if rules.kind == "binary":
        return np.abs(values.astype(np.float64) - level).astype(values.dtype)
    zero, ground = values == 0, values == level
    changed = values.copy()
    changed[zero], changed[ground] = values.dtype.type(level), 0
    return changed


def _ids(look: _Look, rules: MaskRules, path: Path, notes: Notes) -> np.ndarray:
    """(H, W) int32 ids by the kind of the mask; ignored pixels still have to be marked."""
    if look.values.ndim == 3:
        return _colour_ids(look, rules, path, notes)
    counts = count_values(look.values, look.ignored)
    scale = full_scale(look.values, float(counts.values[-1]) if len(counts.values) else 0.0)
    shares = look.values.dtype.kind == "f"
    if rules.kind == "binary":
        return _binary(look.values, counts, scale, rules.threshold, path, notes)
    if shares and (rules.kind == "ids" or scale > 1):
        raise BrokenScene(f"{path}: holds fractions up to {counts.values[-1]:g}, which are no ids: say kind=binary")
    if shares:
        notes.add(
            "shares", f"{path}: holds shares from 0 to 1, cut at one half; kind=binary&threshold=T cuts elsewhere"
        )
        return (look.values > 0.5).astype(np.int32)
    if rules.kind == "auto":
        _need_one_meaning(counts, scale, look.labelled, path)
        if not look.labelled:
            return (look.values > 0).astype(np.int32)
    return _numbered(look.values, counts, rules.smallest, path, notes)


def _need_one_meaning(counts: ValueCounts, scale: float, labelled: bool, path: Path) -> None:
    """Raises BrokenScene, with what to say, for values that "auto" cannot tell apart."""
    soft = looks_soft(counts, scale)
    if len(counts.values) <= 1 or (labelled and not soft):
        return
    listed = shown([str(value) for value in counts.values.tolist()], 5)
    if soft or len(counts.values) > LABELS:
        advice = "a soft or JPEG mask? kind=binary cuts at one half; kind=ids makes each value an object"
    else:
        advice = "kind=ids if each is an object, kind=binary if all are one, ignore_value=N if N marks a border"
    raise BrokenScene(f"{path}: holds the values {listed}: {advice}")


def _binary(
    values: np.ndarray, counts: ValueCounts, scale: float, threshold: float | None, path: Path, notes: Notes
) -> np.ndarray:
    """(H, W) int32: 1 where the value exceeds the threshold (see `MaskRules.threshold`)."""
    if threshold is not None:
        return (values > threshold * scale).astype(np.int32)
    above = counts.values > scale / 2
    if not above.any() and len(counts.values):
        if len(counts.values) <= LABELS:
            return (values > 0).astype(np.int32)
        scale = float(counts.values[-1])  # a faint mask: 12 of 16 bits in use, say
        above = counts.values > scale / 2
    flat = ~above & (counts.values >= FAINT * scale) & (counts.counts >= FLAT * counts.counts[above].sum())
    left = counts.values[~above & ~flat]
    if 0 < len(left) <= MANY:
        notes.add(
            "below the threshold",
            f"{path}: the values {shown([str(v) for v in left.tolist()])} count as background (below one half); "
            "threshold=0 makes them object",
        )
    mask = values > scale / 2
    for value in counts.values[flat]:
        mask |= values == value
    return mask.astype(np.int32)


def _numbered(values: np.ndarray, counts: ValueCounts, smallest: int, path: Path, notes: Notes) -> np.ndarray:
    """(H, W) int32 ids from whole numbers: their own, or 1, 2, ... where they are large; small objects left out."""
    kept = counts.values[counts.counts >= smallest]
    _note_tiny(counts, smallest, path, notes)
    if len(kept) and kept[-1] > LARGEST_ID:
        place = np.minimum(np.searchsorted(kept, values), len(kept) - 1)
        return np.where(kept[place] == values, place + 1, 0).astype(np.int32)
    ids = values.astype(np.int32)
    if len(kept) < len(counts.values):
        ids[~np.isin(values, kept)] = 0
    return ids


def _note_tiny(counts: ValueCounts, smallest: int, path: Path, notes: Notes) -> None:
    tiny = int(np.count_nonzero(counts.counts < TINY))
    if not smallest and tiny > MANY:
        notes.add(
            "tiny objects",
            f"{path}: {len(counts.values)} objects, {tiny} of fewer than {TINY} pixels: a soft edge? smallest={TINY} "
            "leaves them out",
        )


def _colour_ids(look: _Look, rules: MaskRules, path: Path, notes: Notes) -> np.ndarray:
    """(H, W) int32 ids of a file with colours."""
    background = np.array(rules.background_colour(), dtype=np.uint8)
    if rules.kind == "binary":
        strength = colour_strength(look.values, background)
        return _binary(strength, count_values(strength, look.ignored), 255.0, rules.threshold, path, notes)
    colours = look.values
    if rules.smallest and colours.dtype == np.uint8:
        colours = absorb_small_colours(colours, background, rules.smallest, look.ignored)
    numbers = rgb_numbers(colours)
    own = int(rgb_numbers(background if colours.dtype == np.uint8 else background.astype(colours.dtype) * 257))
    if own:  # the background changes places with black
        black, ground = numbers == 0, numbers == own
        numbers[black], numbers[ground] = own, 0
    counts = count_values(numbers, look.ignored)
    if rules.kind == "auto" and len(counts.values) > 1:
        many = f"{len(counts.values)} colours besides the background"
        raise BrokenScene(
            f"{path}: has {many}: kind=ids if each is an object (smallest=N for soft edges, background=white), "
            "kind=binary if all are one"
        )
    if rules.kind == "auto":
        return (numbers > 0).astype(np.int32)
    return _numbered(numbers, counts, rules.smallest, path, notes)
