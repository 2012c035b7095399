"""MATLAB files (version 7 or older): one variable, bounded in memory."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.io import loadmat

from data_modules.formats.files import read_bytes
from data_modules.formats.notes import brief
from data_modules.scenes import BrokenScene

LARGEST_ID = 65535
LARGEST_VARIABLE = 2**28  # bytes; the label maps of the largest images of SBD and BSDS take a few hundred thousand

_HEADER = 128  # bytes before the first variable
_MATRIX, _COMPRESSED, _LAST_KIND = 14, 15, 18  # kinds of elements


def read_mat(path: Path, variable: str) -> np.ndarray:
    """One variable of a MATLAB file. Raises BrokenScene naming the file."""
    content = read_bytes(path)
    _need_sound_streams(content, path)
    try:
        return loadmat(BytesIO(content), variable_names=[variable])[variable]
    except Exception as error:  # scipy raises a dozen kinds, zlib.error among them, for a damaged file
        raise BrokenScene(f"{path}: not a readable MATLAB file with {variable} ({brief(error)})") from error


def _need_sound_streams(content: bytes, path: Path) -> None:
    """Refuses a file whose compressed variables are damaged or would fill the memory.

    scipy reads them as they come: damage that their check sums would have shown makes it crash, and a kilobyte may hold
    a megabyte of zeros.
    """
    order: Literal["little", "big"] = "big" if content[126:128] == b"MI" else "little"
    at = _HEADER
    while at + 8 <= len(content):
        kind = int.from_bytes(content[at : at + 4], order)
        length = int.from_bytes(content[at + 4 : at + 8], order)
        if at + 8 + length > len(content):
            raise BrokenScene(f"{path}: the MATLAB file is cut off or damaged; fetch or unpack it again")
        if kind == _COMPRESSED:
            stream = zlib.decompressobj()
            try:
                variable = stream.decompress(content[at + 8 : at + 8 + length], LARGEST_VARIABLE)
            except zlib.error as error:
                raise BrokenScene(f"{path}: damaged ({brief(error)}); fetch or unpack it again") from error
            if len(variable) >= LARGEST_VARIABLE:
                raise BrokenScene(f"{path}: a variable of more than {LARGEST_VARIABLE} bytes is no label map")
            if not stream.eof or int.from_bytes(variable[4:8], order) + 8 != len(variable):
                raise BrokenScene(f"{path}: the MATLAB file is cut off or damaged; fetch or unpack it again")
        elif kind == _MATRIX and not _is_nested(memoryview(content)[at + 8 : at + 8 + length], order):
            raise BrokenScene(f"{path}: the MATLAB file is damaged; fetch or unpack it again")
        at += 8 + length


def _is_nested(data: memoryview, order: Literal["little", "big"]) -> bool:
    """Whether the elements of an uncompressed matrix lie inside of it, one behind the other, down to the last one."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            return False
        first = int.from_bytes(data[at : at + 4], order)
        if first >> 16:  # a short element: its length and content stand in the tag
            kind, length, start, stop = first & 0xFFFF, first >> 16, at + 4, at + 8
        else:
            kind, length = first, int.from_bytes(data[at + 4 : at + 8], order)
            start, stop = at + 8, at + 8 + length + -length % 8  # filled up to eight bytes
        if not 1 <= kind <= _LAST_KIND or start + length > min(stop, len(data)):
            return False
        if kind == _MATRIX and not _is_nested(data[start : start + length], order):
            return False
        at = stop
    return True


def small_ids(labels: np.ndarray, path: Path) -> np.ndarray:
    """Label map of any dtype as int32, values above 65535 renumbered 1, 2, ... in rising order.

    Raises BrokenScene naming the file for values that are no labels (negative, fractions, text).
    """
    if labels.dtype.kind not in "buif" or not labels.size:
        raise BrokenScene(f"{path}: its label map holds {labels.dtype}, not numbers")
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.rint(labels)).all()):
        raise BrokenScene(f"{path}: its label map holds numbers that are not whole")
    if labels.min() < 0:
        raise BrokenScene(f"{path}: its label map holds negative numbers")
    if labels.max() <= LARGEST_ID:
        return labels.astype(np.int32)
    found = np.unique(labels[labels > 0])
    return np.where(labels > 0, np.searchsorted(found, labels) + 1, 0).astype(np.int32)
