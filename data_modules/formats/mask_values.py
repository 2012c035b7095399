"""What a mask file holds, before anybody says what its values mean: gray numbers, palette entries or colours."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from data_modules.formats.decoding import (
    BITS_PER_SAMPLE,
    ImageHeader,
    counted_from_black,
    decoded,
    opened,
    orientation_of,
    read_header,
    turned,
    turned_back,
)
from data_modules.formats.files import read_bytes
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.images import chosen_page
from data_modules.formats.notes import Notes
from data_modules.scenes import BrokenScene

_PNG_START = b"\x89PNG\r\n\x1a\n"
_GRAY_MODES = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class MaskValues(NamedTuple):
    """The pixels of a mask file, turned by its EXIF orientation.

    Attributes:
        values: (H, W) gray numbers or palette indices of the file's own type, or (H, W, 3) red, green, blue.
        palette: (N, 3) uint8 colours of the indices, None for files without palette.
        opacity: (H, W) uint8 of files with a transparency channel, else None.
    """

    values: np.ndarray
    palette: np.ndarray | None = None
    opacity: np.ndarray | None = None


def read_mask_values(path: Path, reading: ImageReading = AS_USUAL, notes: Notes | None = None) -> MaskValues:
    """Reads a mask file without loss: palette indices, 16 and 32 bits and floating-point numbers as they are stored.

    Raises BrokenScene naming the file when it is unreadable or too large.
    """
    content = read_bytes(path)
    header = read_header(content, path, reading.max_pixels)
    page = chosen_page(header, path, reading, notes or Notes())
    if not page and _needs_opencv(content, header, path):
        pixels = decoded(content, path, cv2.IMREAD_UNCHANGED)
        mask = MaskValues(pixels if pixels.ndim == 2 else pixels[..., 2::-1])
        stored_turned = header.format == "TIFF"
    else:
        mask, stored_turned = _from_pillow(content, path, page, reading), header.format == "TIFF"
    mask = mask._replace(values=counted_from_black(mask.values, header))
    if stored_turned and reading.exif == "turn":  # both libraries have turned a TIFF file already
        return mask
    orientation = orientation_of(content, path) if header.mode else 1
    if orientation == 1 or (reading.exif == "ignore" and not stored_turned):
        return mask
    turn = turned_back if stored_turned else turned
    opacity = None if mask.opacity is None else turn(mask.opacity, orientation)
    return MaskValues(np.ascontiguousarray(turn(mask.values, orientation)), mask.palette, opacity)


def _from_pillow(content: bytes, path: Path, page: int, reading: ImageReading) -> MaskValues:
    """Palette, gray and 8-bit colour files."""
    with opened(content, path) as image:
        if page:
            image.seek(page)
            if image.width * image.height > reading.max_pixels:
                raise BrokenScene(f"{path}: page {page} is larger than max_pixels={reading.max_pixels}")
        if image.mode == "P":
            return MaskValues(np.array(image), _palette_of(image))
        opacity = np.array(image.getchannel("A")) if "A" in image.getbands() else None
        if image.mode not in _GRAY_MODES:
            image = image.convert("L" if image.mode in ("LA", "La") else "RGB")
        pixels = np.array(image)
    if pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8)
    return MaskValues(pixels.astype(pixels.dtype.newbyteorder("="), copy=False), None, opacity)


def _palette_of(image: Image.Image) -> np.ndarray:
    """(256, 3) uint8 colours of a palette image; entries that the file does not list are black."""
    colours = np.zeros(768, dtype=np.uint8)
    listed = np.array((image.getpalette("RGB") or [])[:768], dtype=np.uint8)
    colours[: len(listed)] = listed
    return colours.reshape(256, 3)


def _needs_opencv(content: bytes, header: ImageHeader, path: Path) -> bool:
    """Whether Pillow would lose something.

    It cannot read some TIFF types, cuts 16-bit colours to 8 bits, and takes bytes of a two-coloured BMP for
    bits.
    """
    if not header.mode or (header.format == "BMP" and header.mode == "1"):
        return True
    if header.mode not in ("RGB", "RGBA"):
        return False
    if content.startswith(_PNG_START):
        return content[24] == 16  # bit depth in the header chunk
    if header.format == "TIFF":
        with opened(content, path) as image:
            bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    return False
