"""The schema of results: one record per object, from whose fields metric state, journal and JSON rows are derived.

A new number per object is one more field of `ObjectResult`, and the line of `lockstep` that fills it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clicklab.records import EMPTY

SCHEMA = 1  # of `results.json`: raised when a field changes its meaning or goes


@dataclass(frozen=True)
class Column:
    """How a field of `ObjectResult` is stored.

    Attributes:
        kind: of its numbers.
        shape: of one object's value in a tensor; names stand for sizes: `clicks` for the most clicks of an object,
            `passes` for the most refinement passes of a click. None: it is no number, and in no tensor.
        fill: what fills up values that are shorter, or that are not there.
        optional: None stands for "not measured".
        in_json: whether the rows of `results.json` have it; "where set": only where it is not 0 or None.
        heading: of the column of `results.csv`; None: it has none of its own.
        text: the value as CSV text.
    """

    kind: type = float
    shape: tuple[str | int, ...] | None = ()
    fill: float = math.nan
    optional: bool = False
    in_json: bool | str = True
    heading: str | None = None
    text: Callable[[Any], Any] = lambda value: value


def _stored(**how: Any) -> dict[str, Column]:
    """The metadata of a field."""
    return {"column": Column(**how)}


@dataclass(frozen=True)
class ObjectResult:
    """One object, played to its end.

    Attributes:
        index: position in the dataset.
        name: file stem of the image.
        object: id inside the annotation.
        clicks: (y, x, label) in click order, label 1 positive, 0 negative.
        ious: float32 IoU after each click.
        seconds: this object's share of the wall time.
        boundary_ious: BIoU after each click when the protocol asks for it.
        selections: how often another candidate was taken than the network's own choice (`choice` oracle).
        changes: for each click the pixels that each refinement pass changed (`cascade`), None without.
        initial_iou: of the mask before the first click, where the protocol starts from one.
        first_seconds: the part of `seconds` until the first answer; networks may answer later clicks by less work.
        oracle: the best candidate was taken by the ground truth.
    """

    index: int = field(metadata=_stored(kind=int, fill=EMPTY, heading="index"))
    name: str = field(metadata=_stored(kind=str, shape=None, heading="name"))
    object: int = field(metadata=_stored(kind=int, fill=EMPTY, heading="object"))
    clicks: list[tuple[int, int, int]] = field(
        metadata=_stored(kind=int, shape=("clicks", 3), fill=EMPTY, heading="clicks", text=len)
    )
    ious: list[float] = field(metadata=_stored(shape=("clicks",)))
    seconds: float = field(metadata=_stored(heading="seconds", text="{:.4f}".format))
    boundary_ious: list[float] | None = field(
        default=None, metadata=_stored(shape=("clicks",), optional=True, in_json="where set")
    )
    selections: int = field(default=0, metadata=_stored(kind=int, fill=EMPTY, in_json="where set"))
    changes: list[list[int]] | None = field(
        default=None,
        metadata=_stored(kind=int, shape=("clicks", "passes"), fill=EMPTY, optional=True, in_json="where set"),
    )
    initial_iou: float | None = field(default=None, metadata=_stored(optional=True, in_json="where set"))
    first_seconds: float = field(default=0.0, compare=False, metadata=_stored(in_json=False))
    oracle: bool = field(default=False, metadata=_stored(kind=bool, shape=None, in_json=False))


def columns() -> dict[str, Column]:
    """Field of `ObjectResult` -> how it is stored."""
    return {entry.name: entry.metadata["column"] for entry in fields(ObjectResult)}


def number_columns() -> dict[str, Column]:
    """Those of `columns` that stand in tensors."""
    return {name: column for name, column in columns().items() if column.shape is not None}


def to_tensors(results: Sequence[ObjectResult], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Field -> (n, ...) tensor of n results, filled up to the sizes.

    Args:
        results: any number.
        sizes: of the names in `Column.shape`.
    """
    tensors = {}
    for name, column in number_columns().items():
        shape = [sizes[side] if isinstance(side, str) else side for side in column.shape or ()]
        filled = np.full((len(results), *shape), column.fill, dtype=np.int64 if column.kind is int else np.float32)
        for row, result in enumerate(results):
            _write(filled, (row,), getattr(result, name))
        tensors[name] = torch.from_numpy(filled)
    return tensors


def from_tensors(tensors: Mapping[str, Tensor], names: Mapping[int, str]) -> list[ObjectResult]:
    """The inverse of `to_tensors`.

    Args:
        tensors: of n rows; torchmetrics makes numbers of tensors with one element.
        names: image of each index.
    """
    indices = tensors["index"].reshape(-1).tolist()
    limit = tensors["ious"].numel() // max(1, len(indices))
    sizes = {"clicks": limit, "passes": -1}
    stored: dict[str, list[Any]] = {}
    for name, column in number_columns().items():
        sides = [side if isinstance(side, int) else sizes[side] for side in column.shape or ()]
        stored[name] = tensors[name].reshape([len(indices), *sides]).tolist() if indices else []
    results = []
    for row, index in enumerate(indices):
        clicks = sum(iou == iou for iou in stored["ious"][row])  # the others are nan
        values = {name: _value(values[row], number_columns()[name], clicks) for name, values in stored.items()}
        results.append(ObjectResult(name=names[index], **values))
    return results


def _value(stored: Any, column: Column, clicks: int) -> Any:
    """One object's value without what filled it up; None where nothing is left of an optional one.

    Args:
        stored: a number, or nested lists with one entry for each possible click.
        column: how it is stored.
        clicks: of the object.
    """
    if not isinstance(stored, list):
        return None if column.optional and _is_fill(stored, column) else stored
    entries = [_entry(entry, column) for entry in stored[:clicks]]
    measured = any(entry != [] and not _is_fill(entry, column) for entry in entries)
    return None if column.optional and not measured else entries


def _entry(stored: Any, column: Column) -> Any:
    """A click's part of a value: a number, a click itself as a tuple, or a list that is as long as it is."""
    if not isinstance(stored, list):
        return stored
    *_, last = column.shape or (None,)
    return tuple(stored) if isinstance(last, int) else [number for number in stored if not _is_fill(number, column)]


def to_row(result: ObjectResult) -> dict[str, Any]:
    """The row of `results.json`."""
    row = {}
    for name, column in columns().items():
        value = getattr(result, name)
        if column.in_json is True or (column.in_json == "where set" and value is not None and value != 0):
            row[name] = [list(click) for click in value] if name == "clicks" else value
    return row


def journal_row(result: ObjectResult) -> dict[str, Any]:
    """The row of a journal: every field."""
    return asdict(result)


def from_journal(row: Mapping[str, Any]) -> ObjectResult:
    """The result of a journal's row.

    Raises:
        TypeError: a field is missing, unknown, or holds something else than it should.
    """
    known = columns()
    if unknown := sorted(row.keys() - known.keys()):
        raise TypeError(f"unknown fields {', '.join(unknown)}")
    if missing := [entry.name for entry in fields(ObjectResult) if _required(entry) and entry.name not in row]:
        raise TypeError(f"missing fields {', '.join(missing)}")
    for name, value in row.items():
        if not _holds(value, known[name]):
            raise TypeError(f"{name} is {str(value)[:40]!r}, expected {_wanted(known[name])}")
    given: dict[str, Any] = {**row, "clicks": [tuple(click) for click in row["clicks"]]}
    if not 1 <= len(given["clicks"]) == len(given["ious"]):
        raise TypeError(f"{len(given['clicks'])} clicks and {len(given['ious'])} IoUs of one object")
    return ObjectResult(**given)


def _required(entry: Field[Any]) -> bool:
    return entry.default is MISSING


def _write(filled: np.ndarray, place: tuple[int, ...], value: Any) -> None:
    """Writes a number or nested lists of numbers, each as long as it is."""
    if isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            _write(filled, (*place, number), part)
    elif value is not None:
        filled[place] = value


def _is_fill(value: Any, column: Column) -> bool:
    return value != value if math.isnan(column.fill) else value == column.fill


def _holds(value: Any, column: Column, depth: int = 0) -> bool:
    """Whether a value of a journal is of a column's kind."""
    if value is None:
        return column.optional and depth == 0
    if column.shape is not None and depth < len(column.shape):
        side = column.shape[depth]
        return (
            isinstance(value, list)
            and (not isinstance(side, int) or len(value) == side)
            and all(_holds(part, column, depth + 1) for part in value)
        )
    if column.kind is float:
        return type(value) in (int, float)
    return type(value) is column.kind


def _wanted(column: Column) -> str:
    words: dict[type, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    word = words[column.kind]
    return word if not column.shape else f"a list, {word} in each place"
