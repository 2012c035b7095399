"""Finding and reading the files of a dataset, with errors that name the file and the remedy."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from data_modules.formats.notes import Notes, brief, shown
from data_modules.scenes import BrokenScene

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm", ".pbm"}
)
# files that lie beside images in many tools' folders and are no images: nothing is said about them
SIDECAR_SUFFIXES = frozenset({".json", ".xml", ".txt", ".csv", ".md", ".yaml", ".yml", ".ini", ".db", ".html"})


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
    if file.exists() and not file.is_file():
        raise FileNotFoundError(f"{file} is a folder, pipe or device, not a file; the set comes from {page}")
    if not file.is_file():
        raise FileNotFoundError(f"the file {file} is missing; the set comes from {page}")
    return file


def list_images(folder: Path, notes: Notes | None = None) -> list[Path]:
    """Image files of a folder, hidden ones left out, sorted by name (upper case first, as the official readers).

    Args:
        folder: where to look, not below.
        notes: takes the names of files that are passed over: kinds that are not read, pipes, devices.
    """
    found, others = [], []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        kind = path.suffix.lower()
        if path.name.startswith("."):
            continue
        if kind in IMAGE_SUFFIXES and (path.is_file() or path.is_symlink()):  # a broken link is named when it is read
            found.append(path)
        elif kind not in SIDECAR_SUFFIXES and (kind in IMAGE_SUFFIXES or not path.is_dir()):
            others.append(path.name)
    if others and notes is not None:
        kinds = "files of kinds that are not read" if len(others) > 1 else "file of a kind that is not read"
        notes.add(f"passed over in {folder}", f"{folder}: {len(others)} {kinds}: {shown(others)}")
    return found


def first_stem(path: Path) -> str:
    """File name up to the FIRST dot, by which the official readers pair images and masks."""
    return path.name.split(".", 1)[0]


def read_bytes(path: Path) -> bytes:
    """Content of a file. Raises BrokenScene when it is missing, unreadable, empty, or no file (a pipe never ends)."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BrokenScene(f"{path}: not a file (a folder, pipe or device)")
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        if isinstance(error, BrokenScene):
            raise
        reason = getattr(error, "strerror", None) or error
        raise BrokenScene(f"{path}: cannot be read ({reason})") from error
    if not content:
        raise BrokenScene(f"{path}: the file is empty")
    return content


def read_list(path: Path) -> list[str]:
    """The lines of a list of names, without blank ones.

    Raises ValueError naming the file when it is no UTF-8 text or lists nothing.
    """
    content = path.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise ValueError(f"{path}: line {line} is not UTF-8 text; save the list as UTF-8") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise ValueError(f"{path} lists no images")
    return names


def need_inside(name: str, source: Path, entry: str) -> str:
    """A relative file name that an annotation gives, checked not to lead out of the folder it belongs to.

    Args:
        name: the name; folders in it may be separated by / or by the backslashes of Windows.
        source: the file that gives the name.
        entry: where in that file, for the message.

    Raises:
        ValueError: an absolute name, one with `..` or a zero byte, or none at all.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or "\0" in name or not parts.name:
        raise ValueError(
            f"{source}: {entry} is {brief(repr(name), 60)}, not a name inside the folder of the set; correct it there"
        )
    return name


def need_all_inside(names: Iterable[str], source: Path) -> None:
    """`need_inside` for the lines of a list."""
    for number, name in enumerate(names, start=1):
        need_inside(name, source, f"name {number}")


def file_below(folder: Path, name: str) -> Path:
    """The file of a relative name, whose folders may be separated by backslashes where there is no such file."""
    path = folder / name
    if "\\" in name and not os.path.lexists(path):
        return folder / name.replace("\\", "/")
    return path


def need_same_size(image: np.ndarray, mask: np.ndarray, image_path: Path, mask_path: Path) -> None:
    """Raises BrokenScene naming both files when image and mask differ in height or width."""
    if image.shape[:2] == mask.shape[:2]:
        return
    (h, w), (mh, mw) = image.shape[:2], mask.shape[:2]
    advice = "; if an EXIF tag turns one, exif=ignore reads both as stored" if (h, w) == (mw, mh) else ""
    sizes = f"{mw}x{mh} pixels, but its image {image_path.name} has {w}x{h}"
    raise BrokenScene(f"{mask_path}: {sizes}; they must be the same size{advice}")
