"""Listing folders and decoding images, with errors that name the file and the remedy."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from scipy.io import loadmat

from data_modules.scenes import BrokenScene

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def need_folder(root: str | Path | None, *parts: str, page: str) -> Path:
    """`root/parts...` as a Path. Raises FileNotFoundError naming what is missing and the page that it comes from."""
    if root is None:
        raise FileNotFoundError(f"a folder is needed here; the set comes from {page}")
    folder = Path(root).expanduser().joinpath(*parts)
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} is missing; the set comes from {page}")
    return folder


def need_file(root: Path, *parts: str, page: str) -> Path:
    """`root/parts...` as a Path. Raises FileNotFoundError naming what is missing and the page that it comes from."""
    file = root.joinpath(*parts)
    if not file.is_file():
        raise FileNotFoundError(f"the file {file} is missing; the set comes from {page}")
    return file


def list_images(folder: Path) -> list[Path]:
    """Image files of a folder, hidden ones left out, sorted by name (upper case first, as the official readers)."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    return sorted(found, key=lambda path: path.name)


def first_stem(path: Path) -> str:
    """File name up to the FIRST dot, by which the official readers pair images and masks."""
    return path.name.split(".", 1)[0]


def read_bytes(path: Path) -> bytes:
    """Content of a file. Raises BrokenScene when it is missing, unreadable or empty."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BrokenScene(f"{path}: cannot be read ({error.strerror or error})") from error
    if not content:
        raise BrokenScene(f"{path}: the file is empty")
    return content


def decode(content: bytes, source: Path | str, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decodes an image file with OpenCV (BGR). Raises BrokenScene naming `source` when it is not a readable image."""
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags)
    except cv2.error as error:
        raise BrokenScene(f"{source}: cannot be decoded ({error.err})") from error
    if image is None:
        raise BrokenScene(f"{source}: not a readable image (cut off, or another kind of file)")
    if content.startswith(_JPEG_START) and _JPEG_END not in content[-4096:]:
        # OpenCV fills the rest of a cut-off JPEG with gray and says nothing
        raise BrokenScene(f"{source}: the JPEG file is cut off")
    return image


@contextmanager
def opened_mask(content: bytes, path: Path) -> Generator[Image.Image]:
    """A mask file as Pillow's image. Raises BrokenScene naming `path` where it cannot be read, in the block too."""
    try:
        with Image.open(BytesIO(content)) as image:
            yield image
    except UnidentifiedImageError as error:  # its text holds an address in memory, another one in every run
        raise BrokenScene(f"{path}: not a readable mask (cut off, or another kind of file)") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BrokenScene(f"{path}: not a readable mask ({error})") from error


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises BrokenScene naming the file."""
    return cv2.cvtColor(decode(read_bytes(path), path), cv2.COLOR_BGR2RGB)


def read_bgr_mask(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 mask as the official readers see it: three channels, blue first. Raises BrokenScene."""
    return decode(read_bytes(path), path)


def need_same_size(image: np.ndarray, mask: np.ndarray, image_path: Path, mask_path: Path) -> None:
    """Raises BrokenScene naming both files when image and mask differ in height or width."""
    if image.shape[:2] != mask.shape[:2]:
        (h, w), (mh, mw) = image.shape[:2], mask.shape[:2]
        turned = "; the photograph may carry an EXIF rotation that the mask lacks" if (h, w) == (mw, mh) else ""
        raise BrokenScene(
            f"{mask_path}: {mw}x{mh} pixels, but its image {image_path} has {w}x{h}; they must be the same size{turned}"
        )


def read_mat(path: Path, variable: str) -> np.ndarray:
    """One variable of a MATLAB file (version 7 or older). Raises BrokenScene naming the file."""
    content = read_bytes(path)
    try:
        return loadmat(BytesIO(content), variable_names=[variable])[variable]
    except Exception as error:  # scipy raises a dozen kinds, zlib.error among them, for a damaged file
        raise BrokenScene(f"{path}: not a readable MATLAB file with {variable} ({error})") from error
