"""Masks as the official readers see them, through OpenCV: three channels of 8 bits, blue first.

What those readers would take for something else without a word is refused or said here: numbers of more than 8 bits,
masks drawn in transparency, further pages, JPEG files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_modules.formats.decoding import ImageHeader, read_header
from data_modules.formats.files import read_bytes
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import chosen_page, later_page, opaque_pixels, with_opacity
from data_modules.formats.notes import Notes
from data_modules.scenes import BrokenScene

FULL_16_BIT = 2**15  # 16-bit files with larger values use the range of their type: the upper 8 bits tell the mask


def read_bgr_mask(path: Path, reading: ImageReading = AS_USUAL, notes: Notes | None = None) -> np.ndarray:
    """Reads a mask of 8 bits; of 16 or 32 bits where its values have one meaning in 8.

    Args:
        path: the file.
        reading: how files are read.
        notes: takes what a reader of photos would not see (further pages, the blur of JPEG files).

    Returns:
        (H, W, 3) uint8.

    Raises:
        BrokenScene: unreadable, or a mask whose values or transparency leave open what the object is.
    """
    notes = notes or Notes()
    content = read_bytes(path)
    header = read_header(content, path, reading.max_pixels)
    if header.format == "JPEG":
        notes.add(
            "JPEG masks",
            f"{path}: a JPEG mask, blurred at its edge: save it as PNG, or cut it at one half by "
            "reading the set as Folder with kind=binary",
        )
    pixels = _bgr(content, path, header, reading, notes)
    return pixels if pixels.dtype == np.uint8 else _eight_bits(pixels, path)


def _bgr(content: bytes, path: Path, header: ImageHeader, reading: ImageReading, notes: Notes) -> np.ndarray:
    """(H, W, 3) of the file's own number type."""
    page = chosen_page(header, path, reading, notes)
    if page:
        return later_page(content, path, page, header, reading)
    if not header.alpha:
        return opaque_pixels(content, path, header, reading)
    layered = with_opacity(content, path, header, reading)
    colours, opacity = np.ascontiguousarray(layered[..., :3]), layered[..., 3]
    if np.ptp(opacity) > 0 and (not colours.any() or colours[opacity == 0].any()):
        raise BrokenScene(
            f"{path}: its transparency says what the object is, not its colours: save it as gray values without "
            "transparency"
        )
    return colours


def _eight_bits(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Numbers of another type as uint8."""
    low, high = pixels.min(), pixels.max()
    whole = pixels.dtype.kind in "ui" or bool((np.isfinite(pixels) & (pixels == np.rint(pixels))).all())
    if whole and low >= 0 and high <= 255:
        return pixels.astype(np.uint8)
    if pixels.dtype == np.uint16 and high >= FULL_16_BIT:
        return (pixels >> 8).astype(np.uint8)
    if whole and low >= 0 and bool(((pixels == 0) | (pixels == high)).all()):
        return np.where(pixels > 0, np.uint8(255), np.uint8(0))
    what = "decimal numbers" if pixels.dtype.kind == "f" else f"{8 * pixels.dtype.itemsize}-bit numbers"
    raise BrokenScene(f"{path}: holds {what} from {low:g} to {high:g}: save the mask with 8 bits")
