"""Files that are there as a whole or not at all: written beside their place and renamed."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def written_whole(path: str | Path) -> Generator[Path]:
    """Gives the path to write to; behind the block the file takes its place. Folders are made.

    Killed meanwhile, or on a full disk, a file that was there before stays as it was.

    Raises:
        OSError: it cannot be written; the message names the file.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # a power cut behind the renaming must not leave an empty file
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    except RuntimeError as error:  # torch.save's own for a file that cannot be written names neither file nor reason
        if "PytorchStreamWriter" not in str(error) and "inline_container" not in str(error):
            raise
        raise OSError(f"{path} could not be written: is the disk full, or the folder not yours?") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
