"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes beside `path` and renames, so that the name never stands for half a file.

    Args:
        path: the file; one that exists is replaced. Its folder is made if missing.
        write: puts the content into the open file that it is given.

    Raises:
        OSError: naming `path`, when it cannot be written (a full disk, say).
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            write(file)
        part.replace(path)
    except OSError as error:
        remedy = "; free some space, then run it again" if error.errno == errno.ENOSPC else ""
        named = OSError(f"{path}: cannot be written ({error.strerror or error}){remedy}")
        named.errno = error.errno
        raise named from error
    finally:
        if part.exists():
            part.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """`write_whole` for content at hand."""
    write_whole(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """`write_whole` for text, as UTF-8."""
    write_bytes(path, text.encode())
