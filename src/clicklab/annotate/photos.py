"""Photos of a folder: which there are, their pixels as a person sees them, and scaled pictures of them for the page."""

from __future__ import annotations

import hashlib
import re
import threading
import warnings
from collections import OrderedDict
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
MOST_PIXELS = 170_000_000  # of one photo: a small file may unpack to any size, and Pillow itself refuses 179 million
CACHED_BYTES = 1 << 28  # of decoded photos kept
CACHED_PICTURES = 64 << 20  # bytes of scaled pictures kept


class UnreadablePhoto(ValueError):
    """The text names the photo, the reason and the remedy."""


def list_photos(folder: Path, without: Path | None = None) -> tuple[list[str], list[str]]:
    """Photos below a folder, in the order of people (photo 2 before photo 10).

    Args:
        folder: where to look; hidden files and folders are left out.
        without: the output folder.

    Returns:
        paths relative to the folder, with slashes; and sentences about files that were passed over.

    Raises:
        FileNotFoundError: no such folder, or no photo in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: give the folder that holds your photos")
    found, remarks = [], []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") for part in parts) or (without is not None and without in path.parents):
            continue
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        name = "/".join(parts)
        if not _is_text(name):
            remarks.append(f"{name!a} is passed over: its name is not UTF-8; rename it")
            continue
        found.append(name)
    if not found:
        kinds = " ".join(sorted(SUFFIXES))
        raise FileNotFoundError(f"there is no photo in {folder} (looked for {kinds}, in its folders too)")
    return sorted(found, key=_natural), remarks


def read_photo(path: Path) -> tuple[np.ndarray, str]:
    """Pixels of a photo as it is meant to be seen, and a hash of its file.

    Turned as EXIF says; the first page of several; 16-bit and float files are spread from their least to their largest
    value; what is transparent stands on white.

    Returns:
        (H, W, 3) uint8 RGB, and 32 hexadecimal digits.

    Raises:
        UnreadablePhoto: missing, not an image, cut off, or too large.
    """
    if path.exists() and not path.is_file():
        raise UnreadablePhoto(f"{path.name} is a folder, pipe or device: name the file of a photo")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadablePhoto(f"{path.name} cannot be read ({error.strerror or error})") from error
    try:
        pixels = decode(content, path.name)
    except UnreadablePhoto as error:
        raise UnreadablePhoto(f"{error}: replace the file or skip it (S)") from error
    return pixels, hashlib.sha256(content).hexdigest()[:32]


def decode(content: bytes, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of the content of an image file; see `read_photo`.

    Raises:
        UnreadablePhoto: not an image, cut off, or too large; the text begins with `name`.
    """
    try:
        with warnings.catch_warnings(), Image.open(BytesIO(content)) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is ours
            width, height = image.size
            if width * height > MOST_PIXELS:
                limit = MOST_PIXELS // 1_000_000
                raise UnreadablePhoto(f"{name} has {width} x {height} pixels, at most {limit} million can be read")
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
    except UnreadablePhoto:
        raise
    except UnidentifiedImageError as error:  # its text holds an address in memory
        raise UnreadablePhoto(f"{name} is not an image that can be read") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise UnreadablePhoto(f"{name} is damaged ({error})") from error


class Photos:
    """The photos of one folder, decoded when first asked for and kept as long as there is room.

    Args:
        folder: that the paths are relative to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pixels: OrderedDict[str, tuple[np.ndarray, str]] = OrderedDict()
        self._pictures: OrderedDict[tuple, bytes] = OrderedDict()
        self._turn = threading.Lock()
        self._reading: dict[str, threading.Lock] = {}

    def read(self, path: str) -> tuple[np.ndarray, str]:
        """As `read_photo`. Nobody may write into the array."""
        with self._turn:
            if path in self._pixels:
                self._pixels.move_to_end(path)
                return self._pixels[path]
            reading = self._reading.setdefault(path, threading.Lock())
        with reading:  # whoever asks for the same photo meanwhile waits for it
            with self._turn:
                if path in self._pixels:
                    return self._pixels[path]
            found = read_photo(self.folder / path)
            found[0].setflags(write=False)
            with self._turn:
                self._pixels[path] = found
                self._reading.pop(path, None)
                while (
                    sum(pixels.nbytes for pixels, _ in self._pixels.values()) > CACHED_BYTES and len(self._pixels) > 1
                ):
                    self._pixels.popitem(last=False)
        return found

    def thumbnail(self, path: str, side: int) -> bytes:
        """A small JPEG, its longer side at most `side`; a large JPEG is not decoded in full for it."""
        key = (path, side)
        if (known := self._known(key)) is not None:
            return known
        try:
            with warnings.catch_warnings(), Image.open(self.folder / path) as image:
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                if image.mode in ("L", "RGB", "YCbCr") and image.size[0] * image.size[1] <= MOST_PIXELS:
                    image.draft("RGB", (2 * side, 2 * side))
                    small = ImageOps.exif_transpose(image).convert("RGB")
                    small.thumbnail((side, side))
                    return self._keep(key, _jpeg(np.asarray(small), 80))
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            pass  # `read` says what is wrong
        pixels, _ = self.read(path)
        return self._keep(key, _jpeg(_scaled(pixels, side / max(pixels.shape[:2])), 80))

    def picture(self, path: str, box: tuple[int, int, int, int], width: int) -> bytes:
        """A part of a photo as JPEG.

        Args:
            path: of the photo.
            box: (left, top, right, bottom) in its pixels, ends excluded.
            width: of the picture; never more than the part has.
        """
        key = (path, box, width)
        if (known := self._known(key)) is not None:
            return known
        pixels, _ = self.read(path)
        left, top, right, bottom = box
        part = pixels[top:bottom, left:right]
        return self._keep(key, _jpeg(_scaled(part, width / part.shape[1]), 90))

    def _known(self, key: tuple) -> bytes | None:
        with self._turn:
            if key in self._pictures:
                self._pictures.move_to_end(key)
            return self._pictures.get(key)

    def _keep(self, key: tuple, picture: bytes) -> bytes:
        with self._turn:
            self._pictures[key] = picture
            while sum(map(len, self._pictures.values())) > CACHED_PICTURES:
                self._pictures.popitem(last=False)
        return picture


def _rgb(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 of any kind of image."""
    if image.mode[0] in "IF":  # 16 and 32 bits
        values = np.asarray(image, dtype=np.float32)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        scaled = np.nan_to_num((values - low) * (255 / ((high - low) or 1)), nan=0.0, posinf=255, neginf=0)
        gray = scaled.round().clip(0, 255).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _scaled(pixels: np.ndarray, factor: float) -> np.ndarray:
    if factor >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    content = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "JPEG", quality=quality)
    return content.getvalue()


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Numbers in names count as numbers."""
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"(\d+)", name.casefold())]


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
