"""How a process that works on the CPU treats its memory."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_KEPT = 256 * 2**20


def keep_freed_memory() -> None:
    """Lets the process keep freed memory for the next image instead of giving it back to the system (Linux only).

    Images, id maps and the maps inside a network are large enough for the system to map them anew every time, page by
    page. For data that costs more than augmenting it (benchmarks/data.py: a 640 x 480 crop takes a third of the time
    without it), for HRNet18s or ViT-xtiny an eighth of their time. At most 256 MiB stay with a process.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 32 * 2**20)  # the largest that glibc takes
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_TOP_PAD, 64 * 2**20)
