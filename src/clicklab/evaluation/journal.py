"""A progress journal: one line per finished object, on disk at once, so that a broken evaluation can go on."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from clicklab.evaluation.object_result import ObjectResult, from_journal, journal_row
from clicklab.inference.predictor import predictor_for
from clicklab.inference.state import SessionImage, SessionState
from clicklab.nn.network import ClickNetwork, WrappedModule
from clicklab.records import EvaluationObject

PROBE_TOLERANCE = 0.02  # of probabilities: far above rounding, far below what another network answers


class Journal:
    """Append-only JSON lines: a header with the settings, then one line per object.

    Args:
        path: file; made with its folder if it does not exist.
        settings: whatever the results depend on; another journal than one of these settings is refused.

    Attributes:
        finished: dataset name -> index -> result, from earlier runs.
        checksums: dataset name -> index -> checksum of what was played there.

    Raises:
        ValueError: the file holds results of other settings, or is no journal, or its folder is a file.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.finished: dict[str, dict[int, ObjectResult]] = {}
        self.checksums: dict[str, dict[int, int]] = {}
        if path.parent.is_file():
            raise ValueError(f"{path.parent} is a file: name a folder for the results")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("a")
        try:
            self._begin(settings)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, settings: dict[str, Any]) -> None:
        """Takes what is there, with the file locked: a folder has one writer. Raises as the constructor."""
        path = self.path
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"{path.parent}: another evaluation is writing there: wait for its end, or give another output folder"
            ) from error
        rows, length = self._read()
        try:
            if rows:
                self._check(rows[0].get("settings"), json.loads(json.dumps(settings)), empty=len(rows) == 1)
            for row in rows[1:]:
                self._take(row)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no journal of this version of ClickLab ({error}); remove it to start anew"
            ) from error
        self._file.truncate(length if len(rows) > 1 else 0)
        if len(rows) < 2:
            self._write({"settings": settings})

    def add(self, dataset: str, result: ObjectResult, checksum: int) -> None:
        """Writes one finished object; it survives whatever happens next."""
        self._write({"dataset": dataset, "checksum": checksum, **journal_row(result)})

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        """All whole lines, and where they end: a line torn by a crash is dropped."""
        if not self.path.exists():
            return [], 0
        data = self.path.read_bytes()
        length = data.rfind(b"\n") + 1
        try:
            return [json.loads(line) for line in data[:length].splitlines()], length
        except ValueError as error:
            raise ValueError(
                f"{self.path} is no journal of an evaluation ({error}); remove it to start anew"
            ) from error

    def _take(self, row: dict[str, Any]) -> None:
        dataset, checksum = row.pop("dataset"), row.pop("checksum")
        if not isinstance(dataset, str) or type(checksum) is not int:
            raise TypeError(f"dataset {str(dataset)[:40]!r} with checksum {str(checksum)[:40]!r}")
        result = from_journal(row)
        self.finished.setdefault(dataset, {})[result.index] = result
        self.checksums.setdefault(dataset, {})[result.index] = checksum

    def _check(self, found: dict[str, Any] | None, wanted: dict[str, Any], empty: bool) -> None:
        if found is None:
            raise ValueError(f"{self.path} has no header; remove it to start anew")
        if empty:  # of a run that failed or was stopped before its first result: whoever mends a setting may go on
            return
        other = [name for name in wanted if not _same(name, found.get(name), wanted[name])]
        if other:
            changes = "; ".join(f"{name}: {found.get(name)} there, {wanted[name]} now" for name in other)
            raise ValueError(
                f"{self.path} holds results of other settings ({changes}). "
                "Give another output folder, or remove the file to start anew"
            )

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _same(name: str, found: Any, wanted: Any) -> bool:
    return same_answer(found, wanted) if name == "probe" else found == wanted


def checksum(item: EvaluationObject, with_start: bool) -> int:
    """Of all that a result depends on: image, target, and the mask to start from where one is used."""
    arrays = [item.image, item.target]
    if with_start and item.initial_mask is not None:
        arrays.append(item.initial_mask)
    total = zlib.crc32(f"{item.name}/{item.object}/{item.image.shape}".encode(errors="surrogateescape"))
    for array in arrays:
        total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return total


def fingerprint(network: ClickNetwork) -> str:
    """Class and checksum of all weights, so that results of two checkpoints are never mixed."""
    checksum = 0
    for name, tensor in (network.module if isinstance(network, WrappedModule) else network).state_dict().items():
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        checksum = zlib.crc32(data, zlib.crc32(name.encode(), checksum))
    return f"{network.class_name}:{checksum:08x}"


def behaviour(network: ClickNetwork) -> dict[str, Any]:
    """What tells networks of one class and the same weights apart, or of no weights: arguments and an answer.

    The answer is compared with some tolerance (`same_answer`), because another number of threads moves its last bits.
    """
    return {"arguments": json.loads(json.dumps(network.arguments, default=str)), "probe": probe_answer(network)}


def probe_answer(network: ClickNetwork) -> list[float]:
    """Probabilities on a grid of an image of stripes, after one click in its middle."""
    rows, columns = np.mgrid[:48, :64]
    image = np.stack([4 * columns, 5 * rows, 128 + 100 * np.sin(columns / 3)], axis=-1).astype(np.uint8)
    predictor = predictor_for(network)
    (answered,) = predictor.predict([SessionState(SessionImage.from_array(image, predictor.device)).with_click(24, 32)])
    return [round(value, 4) for value in answered.probability_tensor[4::8, 4::8].flatten().tolist()]


def same_answer(one: Any, other: Any) -> bool:
    """Whether two answers of `probe_answer` are those of one network."""
    return isinstance(one, list) and len(one) == len(other) and bool(np.allclose(one, other, atol=PROBE_TOLERANCE))
