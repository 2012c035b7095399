"""Reading pickles of plain data and numpy arrays without running what they may contain."""

from __future__ import annotations

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.formats.files import read_bytes
from data_modules.formats.notes import brief
from data_modules.scenes import BrokenScene

# everything that plain containers, numpy arrays and numpy numbers need; none of these runs code of the file's choice
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not plain data; nothing of it was run")
        if name == "_reconstruct":
            return _empty_array
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def _empty_array(kind: type, shape: tuple[int, ...], letter: bytes) -> np.ndarray:
    """What numpy's `_reconstruct` makes before the content follows: an array of no size, here never one of another."""
    if kind is not np.ndarray or tuple(shape) != (0,):
        raise pickle.UnpicklingError("it asks for an array of a size without content")
    return np.ndarray(shape, dtype=letter.decode("ascii") if isinstance(letter, bytes) else letter)


def load_pickle(path: Path) -> Any:
    """Content of a pickle of dicts, lists, tuples, numbers, strings and numpy arrays.

    Raises:
        BrokenScene: missing or damaged file, or one that asks for any other class or function; the message names it.
    """
    content = read_bytes(path)
    try:
        return _PlainUnpickler(BytesIO(content)).load()
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise BrokenScene(f"{path}: not a pickle of plain data ({brief(error)})") from error
