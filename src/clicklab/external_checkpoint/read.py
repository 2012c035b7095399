"""From a checkpoint file of any kind to plain values and tensors; whole and unchanged, or an error in one line."""

from __future__ import annotations

import json
import mmap
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from clicklab.external_checkpoint.pickles import Refused, scan

MAX_HEADER = 2**24  # bytes that describe the tensors of a safetensors file
MAX_RECORDS = 100_000  # tensors in an archive


class Opaque:
    """Stands for a pickled object that files carry along and nothing here needs."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_LOSS = "isegm.model.modeling.transformer_helper.cross_entropy_loss"
# Python objects inside official files (docs/models.md#checkpoint-files) and beside the weights of other
# tools, and what is put in their place; any other is refused.
STAND_INS: dict[str, Any] = {
    f"{_LOSS}.CrossEntropyLoss": Opaque,
    f"{_LOSS}.cross_entropy": Opaque,
    "easydict.EasyDict": OrderedDict,  # PiClick's settings; only exact dictionary types may be filled while reading
    **dict.fromkeys(
        (
            "argparse.Namespace",
            "pathlib.PosixPath",
            "numpy.dtype",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
        ),
        Opaque,
    ),
}


def read_foreign(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint as plain values and CPU tensors; code inside the file never runs.

    Formats: PyTorch's archive (since 1.6; every checksum in it is compared), its older stream, safetensors. In the last
    two nothing tells whether a bit has changed.

    Args:
        path: the file, or the folder of a training run, which means its `checkpoints/last.ckpt`.

    Raises:
        FileNotFoundError: no file there.
        PermissionError: the file may not be read.
        ValueError: not a checkpoint, a damaged one, or one that holds unknown Python objects.
    """
    path = checkpoint_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if _is_safetensors(start, path.stat().st_size):
            return _safetensors(path)
        check_whole(path)
        stand_ins: list[Any] = [(stand_in, name) for name, stand_in in STAND_INS.items()]
        with torch.serialization.safe_globals(stand_ins):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(f"{path}: {_reason(error)}") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path}: holds a {type(checkpoint).__name__}, a checkpoint is a dictionary")
    return checkpoint


def checkpoint_file(path: str | Path) -> Path:
    """The file itself; in the folder of a training run the checkpoint that a run goes on from.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a folder without that file, or no file at all (a pipe, a device).
    """
    path = Path(path)
    if path.is_dir():
        inside = next((file for file in (path / "checkpoints/last.ckpt", path / "last.ckpt") if file.is_file()), None)
        if inside is None:
            raise ValueError(f"{path}: a folder without checkpoints/last.ckpt: give the checkpoint file inside it")
        return inside
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    if not path.is_file():
        raise ValueError(f"{path}: no regular file, so no checkpoint: give the file that holds the weights")
    return path


def check_whole(path: Path) -> None:
    """Compares the checksums of a checkpoint of PyTorch and goes through what it asks to be built, without loading it.

    Raises:
        ValueError, zipfile.BadZipFile: it is damaged, or no such file.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    (_check_archive if zipped else _check_stream)(path)


def _check_archive(path: Path) -> None:
    """Compares the checksums of a zip archive and goes through its pickle. Raises what `_reason` explains."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if len(records) > MAX_RECORDS or len({record.filename for record in records}) < len(records):
            raise Refused("damaged: records are there twice, or too many")
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise Refused("its records are compressed, which torch.save never does: save it again with torch.save")
        if sum(record.file_size for record in records) > size:
            raise Refused("damaged: its records are larger than the file")
        with_checksums = any(record.CRC for record in records)  # torch can be told to write none
        for record in records:
            if with_checksums:
                _read_through(archive, record)
            else:
                record.CRC = None  # ty: ignore[invalid-assignment] (zipfile then compares nothing)
        pickles = [record for record in records if record.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or any(record.filename.endswith("/constants.pkl") for record in records):
            raise Refused("a TorchScript program, or no PyTorch file at all: save the network's state_dict instead")
        scan(BytesIO(archive.read(pickles[0])), size, STAND_INS)


def _read_through(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> None:
    """In parts of 16 MiB; the end of the record compares its checksum."""
    with archive.open(record) as content:
        while content.read(2**24):
            pass


def _check_stream(path: Path) -> None:
    """Goes through the pickles of a file from before PyTorch 1.6: number, version, system, content, keys."""
    size = path.stat().st_size
    if not size:
        raise ValueError("an empty file")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for _ in range(5):
            scan(content, size, STAND_INS)  # ty: ignore[invalid-argument-type]


def _is_safetensors(start: bytes, size: int) -> bool:
    return len(start) == 9 and start[8:] == b"{" and struct.unpack("<Q", start[:8])[0] <= size - 8


def _safetensors(path: Path) -> dict[str, Any]:
    """Tensors under `state_dict`; of a file of ours also the method and its settings, which its metadata holds."""
    from safetensors import safe_open  # few files need it

    with path.open("rb") as file:
        if struct.unpack("<Q", file.read(8))[0] > MAX_HEADER:
            raise Refused(f"refused: more than {MAX_HEADER} bytes describe its tensors, which no checkpoint needs")
    with safe_open(path, framework="pt", device="cpu") as file:
        told = file.metadata() or {}
        checkpoint: dict[str, Any] = {"state_dict": {key: file.get_tensor(key) for key in file.keys()}}  # noqa: SIM118
    if "clicklab_method" in told:
        checkpoint["clicklab_method"] = told["clicklab_method"]
        checkpoint["hyper_parameters"] = json.loads(told.get("hyper_parameters", "null"))
    return checkpoint


def _reason(error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    text = str(error)
    if "Bad CRC-32" in text or ("differ" in text and isinstance(error, zipfile.BadZipFile)):
        return "damaged: its checksums do not fit its content, so a copy went wrong. Copy or download it again"
    text = text if isinstance(error, pickle.UnpicklingError) else ""
    if found := re.search(r"GLOBAL ([\w.]+)", text):
        return f"refused: it holds the Python object {found[1][:60]}, and reading that could run code"
    return (
        f"not a PyTorch checkpoint nor safetensors, or a damaged one ({type(error).__name__}): "
        "copy or download it again, or name another file"
    )
