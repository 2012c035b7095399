"""A progress journal: one line per finished object, on disk at once, so that a broken evaluation can go on."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from clicklab.evaluation.lockstep import ObjectResult
from clicklab.nn.network import ClickNetwork, WrappedModule
from clicklab.records import EvaluationObject


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
        rows, length = self._read()
        try:
            if rows:
                self._check(rows[0].get("settings"), json.loads(json.dumps(settings)), empty=len(rows) == 1)
            for row in rows[1:]:
                self._take(row)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no journal of this version of ClickLab ({error!r}); remove it to start anew"
            ) from error
        self._file: IO[str] = path.open("a")
        self._file.truncate(length if len(rows) > 1 else 0)
        if len(rows) < 2:
            self._write({"settings": settings})

    def add(self, dataset: str, result: ObjectResult, checksum: int) -> None:
        """Writes one finished object; it survives whatever happens next."""
        self._write({"dataset": dataset, "checksum": checksum, **asdict(result)})

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
        row["clicks"] = [tuple(click) for click in row["clicks"]]
        if not 1 <= len(row["clicks"]) == len(row["ious"]):
            raise TypeError(f"{len(row['clicks'])} clicks and {len(row['ious'])} IoUs of one object")
        self.finished.setdefault(dataset, {})[row["index"]] = ObjectResult(**row)
        self.checksums.setdefault(dataset, {})[row["index"]] = checksum

    def _check(self, found: dict[str, Any] | None, wanted: dict[str, Any], empty: bool) -> None:
        if found is None:
            raise ValueError(f"{self.path} has no header; remove it to start anew")
        if empty:  # of a run that failed or was stopped before its first result: whoever mends a setting may go on
            return
        other = [name for name in wanted if found.get(name) != wanted[name]]
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
    weights = (network.module if isinstance(network, WrappedModule) else network).state_dict()
    for name, tensor in weights.items():
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        checksum = zlib.crc32(data, zlib.crc32(name.encode(), checksum))
    return f"{network.class_name}:{checksum:08x}"
