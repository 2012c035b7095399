"""The first look at an image file (kind, size, pages) and its decoding, bounded in memory and with errors that name the
file.

Colours are decoded by OpenCV, whose pixels the published numbers were measured on. Pillow reads what OpenCV does not
tell: palettes, pages, and the size before anything is decoded.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from data_modules.formats.image_reading import MAX_PIXELS
from data_modules.formats.notes import brief
from data_modules.scenes import BrokenScene

ORIENTATION = 274  # EXIF tag
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF tags, and a value of the second
PAGED = frozenset({"TIFF", "GIF", "PNG", "WEBP"})  # further pictures of a JPEG (MPO) are previews
UNREADABLE = "not a readable image (cut off, or another kind of file)"
UNREADABLE_TIFF = "a TIFF that cannot be read (cut off, or of a rare kind): save it with 8, 16 or 32 bits per number"

_JPEG_START, _JPEG_END, _JPEG_SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_pillow_limit = threading.Lock()


class ImageHeader(NamedTuple):
    """What a file says about itself before it is decoded.

    Attributes:
        width, height: in pixels, as stored (before any turn).
        format: Pillow's name of the file format.
        mode: Pillow's name of the kind of pixels, "" where Pillow cannot decode them (64-bit TIFF, say).
        pages: number of pages or frames.
        alpha: whether there is a transparency channel or a transparent colour.
        orientation: EXIF orientation 1 to 8 as far as the header tells (a PNG may bring it behind its pixels).
        black: the value of black in a TIFF file of more than 8 bits that counts from white, which neither library turns
            round (they do with 1 and 8 bits); 0 in all other files.
    """

    width: int
    height: int
    format: str
    mode: str
    pages: int = 1
    alpha: bool = False
    orientation: int = 1
    black: int = 0


@contextmanager
def opened(content: bytes, path: Path | str) -> Generator[Image.Image]:
    """The file as Pillow's image, not decoded yet.

    Raises BrokenScene naming `path` where it cannot be read, also for what goes wrong inside the block.
    """
    try:
        with _without_pillow_limit():
            image = Image.open(BytesIO(content))
        with image:
            yield image
    except UnidentifiedImageError as error:  # its text holds an address in memory, another one in every run
        raise BrokenScene(f"{path}: {UNREADABLE}") from error
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, OverflowError, MemoryError) as error:
        if isinstance(error, BrokenScene):
            raise
        raise BrokenScene(f"{path}: not a readable image ({brief(error)})") from error


@contextmanager
def _without_pillow_limit() -> Generator[None]:
    """Lifts Pillow's own limit of pixels while a header is read: `read_header` has one for images and masks alike."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def read_header(content: bytes, path: Path | str, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Kind, size and number of pages of an image file.

    Raises:
        BrokenScene: no image, or one of more than `max_pixels` pixels; the message names `path`.
    """
    header = _tiff_header(content, path)
    if header is None:
        with opened(content, path) as image:
            pages = getattr(image, "n_frames", 1) if image.format in PAGED else 1
            alpha = "A" in image.getbands() or "transparency" in image.info
            orientation = 1 if image.format == "PNG" and "exif" not in image.info else _orientation(image)
            black = _value_of_black(image)
            header = ImageHeader(*image.size, image.format or "", image.mode, pages, alpha, orientation, black)
    if header.width * header.height > max_pixels:
        raise BrokenScene(
            f"{path}: {header.width} x {header.height} pixels, more than max_pixels={max_pixels}: set max_pixels higher"
        )
    return header


def _value_of_black(image: Image.Image) -> int:
    """See `ImageHeader.black`."""
    tags = getattr(image, "tag_v2", {})
    if not image.mode.startswith("I;16") or tags.get(PHOTOMETRIC) != WHITE_IS_ZERO:
        return 0
    return 2 ** tags[BITS_PER_SAMPLE][0] - 1


def counted_from_black(pixels: np.ndarray, header: ImageHeader) -> np.ndarray:
    """The pixels of a file, with 0 for black where it counts from white."""
    return header.black - pixels if header.black else pixels


def _tiff_header(content: bytes, path: Path | str) -> ImageHeader | None:
    """The header of a TIFF file that Pillow cannot decode although OpenCV can (64-bit numbers, floating-point colours).

    None for every other file.
    """
    if not content.startswith(_TIFF_STARTS):
        return None
    try:
        with _without_pillow_limit(), Image.open(BytesIO(content)):
            return None
    except UnidentifiedImageError:
        pass
    except Exception as error:  # a damaged directory may raise nearly anything
        raise BrokenScene(f"{path}: cannot be decoded ({brief(error)})") from error
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(content[:8])
        file = BytesIO(content)
        file.seek(directory.next)
        directory.load(file)
        width, height = int(directory[TiffImagePlugin.IMAGEWIDTH]), int(directory[TiffImagePlugin.IMAGELENGTH])
    except Exception as error:
        raise BrokenScene(f"{path}: {UNREADABLE}") from error
    return ImageHeader(width, height, "TIFF", "")


def decode(
    content: bytes, source: Path | str, flags: int = cv2.IMREAD_COLOR, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decodes an image file with OpenCV (colours in the order blue, green, red).

    Raises BrokenScene naming `source` when it is not a readable image or has more than `max_pixels` pixels.
    """
    read_header(content, source, max_pixels)
    if content.startswith(_JPEG_START) and not _jpeg_is_whole(content):
        # before version 5, OpenCV fills the rest of a cut-off JPEG with gray and says nothing
        raise BrokenScene(f"{source}: the JPEG file is cut off")
    return decoded(content, source, flags)


def decoded(content: bytes, source: Path | str, flags: int) -> np.ndarray:
    """As `decode`, for a file whose header has been looked at."""
    level = cv2.utils.logging.setLogLevel(0)  # OpenCV's own lines on the terminal name no file; the error below does
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise BrokenScene(f"{source}: cannot be decoded ({brief(getattr(error, 'err', error))})") from error
    finally:
        cv2.utils.logging.setLogLevel(level)
    if image is None:
        raise BrokenScene(f"{source}: {UNREADABLE_TIFF if content.startswith(_TIFF_STARTS) else UNREADABLE}")
    return image


def _jpeg_is_whole(content: bytes) -> bool:
    """Whether an end marker follows the first scan of a JPEG; what stands behind the end marker does not matter.

    The segments before the scan are stepped over by their lengths: the preview inside an EXIF segment has end markers
    of its own.
    """
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == 0xFF:  # filling
            at += 1
        elif marker == _JPEG_SCAN:
            return _JPEG_END in content[at + 2 + length :]
        else:
            at += 2 + length
    return False


def orientation_of(content: bytes, path: Path | str) -> int:
    """The EXIF orientation of a file, 1 (upright) to 8."""
    with opened(content, path) as image:
        return _orientation(image)


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, ...) pixels as stored -> as a viewer shows them under an EXIF orientation (views where possible)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `turned`. Quarter turns are each other's inverse, all other orientations their own."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))
