"""Image files as 8-bit colours; what a file loses on the way is said, with the option that changes it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from data_modules.formats.decoding import (
    ImageHeader,
    counted_from_black,
    decode,
    decoded,
    opened,
    orientation_of,
    read_header,
    turned,
    turned_back,
)
from data_modules.formats.files import read_bytes
from data_modules.formats.image_reading import AS_USUAL, ImageReading
from data_modules.formats.notes import Notes
from data_modules.scenes import BrokenScene

DARK_LIMIT = 2**14  # 16-bit files with no larger value use 64 of 256 levels or fewer
NARROW_RANGE = 2**12  # 16-bit files whose values span less use 16 levels or fewer


def read_rgb(path: Path, reading: ImageReading = AS_USUAL, notes: Notes | None = None) -> np.ndarray:
    """Reads an image file.

    Args:
        path: the file.
        reading: what the user chose about pages, transparency, orientation and value ranges.
        notes: takes what the file loses (further pages, transparency, fine steps of 16-bit values).

    Returns:
        (H, W, 3) uint8 RGB, turned by its EXIF orientation.

    Raises:
        BrokenScene: unreadable, too large, or of values that cannot become colours; the message names the file.
    """
    return read_picture(path, reading, notes).pixels


class Picture(NamedTuple):
    """(H, W, 3) uint8 RGB, and the EXIF orientation (1 to 8) by which the file says it is to be turned."""

    pixels: np.ndarray
    orientation: int


def read_picture(path: Path, reading: ImageReading = AS_USUAL, notes: Notes | None = None) -> Picture:
    """As `read_rgb`, with the orientation."""
    return picture_of(read_bytes(path), path, reading, notes)


def picture_of(
    content: bytes, path: Path | str, reading: ImageReading = AS_USUAL, notes: Notes | None = None
) -> Picture:
    """As `read_picture`, of a file's content; `path` is for messages."""
    notes = notes or Notes()
    header = read_header(content, path, reading.max_pixels)
    pixels = _pixels(content, path, header, reading, notes)
    if pixels.dtype != np.uint8:
        pixels = _eight_bits(pixels, content, path, reading, notes)
    return Picture(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), header.orientation)


def note_turned(picture: Picture, path: Path | str, reading: ImageReading, notes: Notes) -> None:
    """Says that an image is turned where its size cannot show whether its annotation was drawn before or after."""
    if picture.orientation in (2, 3, 4) and reading.exif == "turn":
        notes.add(
            "EXIF",
            f"{path}: its EXIF tag turns it; was the annotation drawn on it as stored? exif=ignore reads it so",
        )


def chosen_page(header: ImageHeader, path: Path | str, reading: ImageReading, notes: Notes) -> int:
    """The page to read of a file. Raises BrokenScene where the file has several, but not the chosen one."""
    if header.pages == 1:
        return 0
    if reading.page is None:
        notes.add("pages", f"{path}: {header.pages} pages or frames, the first is read; page=N chooses another, from 0")
        return 0
    if reading.page >= header.pages:
        raise BrokenScene(f"{path}: has the pages 0 to {header.pages - 1}, but page={reading.page} is asked for")
    return reading.page


def _pixels(content: bytes, path: Path | str, header: ImageHeader, reading: ImageReading, notes: Notes) -> np.ndarray:
    """(H, W, 3) BGR of the file's own dtype, turned and with transparency dealt with."""
    page = chosen_page(header, path, reading, notes)
    if page:
        return later_page(content, path, page, header, reading)
    if header.alpha:
        return _over_background(with_opacity(content, path, header, reading), path, reading, notes)
    return opaque_pixels(content, path, header, reading)


def opaque_pixels(content: bytes, path: Path | str, header: ImageHeader, reading: ImageReading) -> np.ndarray:
    """(H, W, 3) BGR of the first page of a file without transparency, of the file's own number type, turned."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    if header.format == "TIFF" and header.mode in ("", "F", "I"):
        # OpenCV gives single channels of 32 and 64 bits only as they are
        pixels = decoded(content, path, cv2.IMREAD_UNCHANGED)
        pixels = cv2.merge([pixels] * 3) if pixels.ndim == 2 else pixels[..., :3]
    elif reading.exif == "ignore" and header.format != "TIFF":
        return decode(content, path, flags | cv2.IMREAD_IGNORE_ORIENTATION, reading.max_pixels)
    else:
        pixels = decode(content, path, flags, reading.max_pixels)
    if reading.exif == "ignore" and header.mode:  # OpenCV turns TIFF files whatever it is told
        pixels = np.ascontiguousarray(turned_back(pixels, orientation_of(content, path)))
    return counted_from_black(pixels, header)


def later_page(content: bytes, path: Path | str, page: int, header: ImageHeader, reading: ImageReading) -> np.ndarray:
    """(H, W, 3) BGR of a page behind the first one."""
    with opened(content, path) as image:
        image.seek(page)
        if image.width * image.height > reading.max_pixels:
            raise BrokenScene(f"{path}: page {page} is larger than max_pixels={reading.max_pixels}")
        orientation = orientation_of(content, path)
        deep = image.mode.startswith(("I", "F"))
        pixels = counted_from_black(np.asarray(image), header) if deep else np.asarray(image.convert("RGB"))
    if header.format == "TIFF":  # Pillow has turned it
        pixels = turned_back(pixels, orientation)
    if reading.exif == "turn":
        pixels = turned(pixels, orientation)
    return cv2.merge([np.ascontiguousarray(pixels)] * 3) if deep else np.ascontiguousarray(pixels[..., ::-1])


def with_opacity(content: bytes, path: Path | str, header: ImageHeader, reading: ImageReading) -> np.ndarray:
    """(H, W, 4) BGR and opacity of a file with a transparency channel, of the file's own number type, turned."""
    layered = decoded(content, path, cv2.IMREAD_UNCHANGED)
    if layered.ndim != 3 or layered.shape[2] != 4:  # the transparent colour of a gray file, say
        layered = np.dstack([decoded(content, path, cv2.IMREAD_COLOR), _pillow_alpha(content, path)])
    orientation = orientation_of(content, path)
    if header.format == "TIFF":  # OpenCV has turned it
        layered = turned_back(layered, orientation)
    return turned(layered, orientation) if reading.exif == "turn" else layered


def _over_background(layered: np.ndarray, path: Path | str, reading: ImageReading, notes: Notes) -> np.ndarray:
    """(H, W, 3) BGR of (H, W, 4) BGR and opacity, as the user chose."""
    colours, opacity = np.ascontiguousarray(layered[..., :3]), layered[..., 3:]
    opaque = np.iinfo(layered.dtype).max
    if opacity.min() == opaque:
        return colours
    if reading.alpha == "drop":
        notes.add(
            "alpha", f"{path}: partly transparent; the colours below are read, alpha=white or alpha=black hides them"
        )
        return colours
    share = opacity.astype(np.float32) / opaque
    background = opaque if reading.alpha == "white" else 0
    return np.rint(colours * share + background * (1 - share)).astype(layered.dtype)


def _pillow_alpha(content: bytes, path: Path | str) -> np.ndarray:
    """(H, W) uint8 opacity of a file in which one colour is declared transparent."""
    with opened(content, path) as image:
        return np.asarray(image.convert("RGBA").getchannel("A"))


def _eight_bits(
    pixels: np.ndarray, content: bytes, path: Path | str, reading: ImageReading, notes: Notes
) -> np.ndarray:
    """(H, W, 3) numbers of another type -> uint8: stretched on request, else only where the type has one meaning."""
    finite = np.isfinite(pixels)
    if not finite.any():
        raise BrokenScene(f"{path}: no pixel holds a number")
    low, high = pixels[finite].min(), pixels[finite].max()
    if reading.stretch:
        span = max(float(high) - float(low), np.finfo(np.float32).tiny)
        shares = (np.where(finite, pixels, low).astype(np.float64) - float(low)) / span
        return np.rint(255 * shares).astype(np.uint8)
    if pixels.dtype != np.uint16:
        what = "decimal numbers" if pixels.dtype.kind == "f" else f"{8 * pixels.dtype.itemsize}-bit numbers"
        raise BrokenScene(
            f"{path}: holds {what} from {low:g} to {high:g}, which are no colours: "
            "stretch=true spreads each file's own range over 0..255"
        )
    if high > low and (high < DARK_LIMIT or int(high) - int(low) < NARROW_RANGE):
        notes.add(
            "16 bit",
            f"{path}: its 16-bit values {low}..{high} become {low // 256}..{high // 256} of 255; "
            "stretch=true spreads each file's own range",
        )
    return (pixels >> 8).astype(np.uint8)
