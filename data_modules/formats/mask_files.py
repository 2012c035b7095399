"""Mask files of practitioners: binary masks, id maps in gray or colour, palette images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clicklab.records import IGNORE
from data_modules.formats.files import opened_mask, read_bytes
from data_modules.scenes import BrokenScene

KINDS = ("auto", "binary", "ids")
LARGEST_ID = 65535


def read_mask_ids(path: Path, kind: str = "auto", ignore_value: int | None = None) -> np.ndarray:
    """(H, W) int32 ids of one mask file: 0 background, -1 ignore.

    Args:
        path: a gray, colour, palette or 16-bit image. Gray values, palette indices and, for colours, R + 256 G +
        65536 B
            are the values of its pixels; values above 65535 are renumbered 1, 2, ... in rising order.
        kind: "binary": everything that is not 0 is object 1. "ids": every value except 0 is an object. "auto":
        palette and 16-bit
            files are id maps, files with one value besides 0 are binary, anything else is refused as ambiguous.
        ignore_value: pixels of this value are ignored, in every kind.

    Raises:
        BrokenScene: unreadable file, or one that "auto" cannot tell; the message names the file and the remedy.
    """
    values, labelled = _pixel_values(path)
    ignored = values == ignore_value if ignore_value is not None else np.zeros(values.shape, dtype=bool)
    found = np.unique(values[~ignored])
    found = found[found > 0]
    if kind == "auto":
        if not labelled and len(found) > 1:
            listed = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
            raise BrokenScene(
                f"{path}: holds the values {listed}: say kind=ids if each is an object, kind=binary if all are one "
                "object, ignore_value=N if N marks pixels to be ignored (on a command line: 'Folder=...?kind=binary')"
            )
        kind = "ids" if labelled else "binary"
    if kind == "binary":
        ids = (values > 0).astype(np.int32)
    elif len(found) and found[-1] > LARGEST_ID:
        ids = np.where(values > 0, np.searchsorted(found, values) + 1, 0).astype(np.int32)
    else:
        ids = values.astype(np.int32)
    ids[ignored] = IGNORE
    return ids


def _pixel_values(path: Path) -> tuple[np.ndarray, bool]:
    """(H, W) int64 pixel values of a mask file, and whether its format says that they are labels (palette, 16 bit)."""
    with opened_mask(read_bytes(path), path) as image:
        mode = image.mode
        opacity = np.asarray(image.getchannel("A")) if "A" in image.getbands() else np.zeros(1)
        if mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
            image = image.convert("L" if mode in ("LA", "La", "F") else "RGB")
        pixels = np.asarray(image).astype(np.int64)
    if np.ptp(opacity) > 0 and np.ptp(pixels, axis=(0, 1)).max() == 0:
        raise BrokenScene(f"{path}: only its transparency varies: save the mask as gray values, without alpha channel")
    if pixels.ndim == 3:
        gray = (pixels == pixels[..., :1]).all()
        pixels = pixels[..., 0] if gray else pixels @ np.array([1, 256, 65536])
    return pixels, mode == "P" or mode.startswith("I")
