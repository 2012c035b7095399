"""`experiments/tables.yaml` as records: columns, rows, published numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MEAN = "mean"  # a column over all datasets of `Table.over`
COSTS = ("params", "GFLOP")  # properties of the network, measured on no dataset


@dataclass(frozen=True)
class Column:
    """One column: a metric on a dataset.

    Attributes:
        dataset: as printed in the papers, or `mean`.
        metric: NoC@90, NoF@90, IoU@5, BIoU@5, picks, SPC, params or GFLOP.
    """

    dataset: str
    metric: str

    def __str__(self) -> str:
        return f"{self.dataset} {self.metric}"


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: as the paper prints it.
        published: one number per column, None where the paper has none.
        method: of `clicklab.methods.METHODS`; None for a peer that we do not have.
        overlays: files of experiments/<method>/ on top of its config.yaml, in order.
        released: file name of checkpoints/catalog.yaml that stands for the training, or None.
        evaluate: options of `clicklab evaluate`.
        network_options: options of the network that need no other weights.
    """

    name: str
    published: tuple[float | None, ...]
    method: str | None = None
    overlays: tuple[str, ...] = ()
    released: str | None = None
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    network_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """One table or figure of a paper.

    Attributes:
        name: for the command line, such as `piclick-5`.
        source: paper, number, and what has to be known to read it.
        columns: in the paper's order.
        rows: in the paper's order.
        over: the datasets that a `mean` column is taken over.
    """

    name: str
    source: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    over: tuple[str, ...] = ()

    @property
    def paper(self) -> str:
        """The method whose paper the table stands in."""
        return self.name.partition("-")[0]

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that have to be measured."""
        named = [column.dataset for column in self.columns if column.metric not in COSTS]
        wanted = [*(name for name in named if name != MEAN), *(self.over if MEAN in named else ())]
        return tuple(dict.fromkeys(wanted))


def read_tables(path: Path) -> dict[str, Table]:
    """All tables of a file, by name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, or a table or row that lacks something; the message names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run this in the repository, or give --file")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: expected a mapping from table names to tables")
    return {name: _table(name, entry, path) for name, entry in entries.items()}


def _table(name: str, entry: Any, path: Path) -> Table:
    try:
        columns = tuple(Column(dataset, metric) for dataset, metrics in entry["columns"].items() for metric in metrics)
        shared = entry.get("evaluate", {})
        rows = tuple(_row(row, shared, len(columns)) for row in entry["rows"])
        return Table(name, entry["source"], columns, rows, tuple(entry.get("over", ())))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: table {name}: {error}") from error


def _row(entry: Mapping[str, Any], shared: Mapping[str, Any], columns: int) -> Row:
    published = entry.get("published") or [None] * columns
    if len(published) != columns:
        raise ValueError(f"row {entry['name']!r} has {len(published)} published numbers for {columns} columns")
    return Row(
        name=entry["name"],
        published=tuple(published),
        method=entry.get("method"),
        overlays=tuple(entry.get("overlays", ())),
        released=entry.get("released"),
        evaluate={**shared, **entry.get("evaluate", {})},
        network_options=entry.get("network_options", {}),
    )
