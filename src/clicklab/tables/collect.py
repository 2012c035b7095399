"""A table in the paper's own form: our measured rows beside the published ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clicklab.tables.plan import Site, evaluation, variant_of
from clicklab.tables.spec import COSTS, MEAN, Column, Row, Table

ORACLE = "-oracle"  # stands behind a dataset's name where the user picked among candidates


@dataclass(frozen=True)
class Line:
    """One printed line.

    Attributes:
        name: of the row.
        origin: `published` or `measured`.
        values: one per column, None where there is no number.
    """

    name: str
    origin: str
    values: tuple[float | None, ...]


def columns_here(table: Table, site: Site) -> tuple[Column, ...]:
    """The table's columns; where other datasets take the place of its own, each with the metrics that the table has."""
    if not site.on:
        return table.columns
    metrics = tuple(dict.fromkeys(column.metric for column in table.columns))
    return tuple(Column(dataset, metric) for dataset in site.on for metric in metrics)


def lines(table: Table, site: Site, costs: Mapping[str, Mapping[str, float]]) -> list[Line]:
    """All lines of a table: each row as published, and as measured here where it was.

    Args:
        table: of `experiments/tables.yaml`.
        site: where results lie.
        costs: row name -> params and GFLOP, see `network_costs`.
    """
    columns, found = columns_here(table, site), []
    for row in table.rows:
        if not site.on and any(value is not None for value in row.published):
            found.append(Line(row.name, "published", row.published))
        values = measured(row, table, columns, site, costs.get(row.name, {}))
        if any(value is not None for value in values):
            found.append(Line(row.name, "measured", values))
    return found


def measured(
    row: Row, table: Table, columns: Sequence[Column], site: Site, costs: Mapping[str, float]
) -> tuple[float | None, ...]:
    """What was measured here of a row, one value per column, None where nothing was."""
    if row.method is None:
        return (None,) * len(columns)
    oracle = row.evaluate.get("choice") == "oracle"
    over = [dataset for dataset in table.over if site.has(dataset)]
    records = {name: _record(row, name, site, oracle) for name in {*over, *(column.dataset for column in columns)}}

    def value(column: Column) -> float | None:
        if column.metric in COSTS:
            return costs.get(column.metric)
        if column.dataset != MEAN:
            return _number(records[column.dataset], column.metric)
        numbers = [_number(records[name], column.metric) for name in over]
        known = [number for number in numbers if number is not None]
        return sum(known) / len(known) if known and len(known) == len(table.over) else None

    return tuple(value(column) for column in columns)


def _record(row: Row, dataset: str, site: Site, oracle: bool) -> Mapping[str, Any]:
    """The record of a dataset: where the user picks, that of the oracle, which a network of one mask does not have."""
    run = evaluation(row, dataset, site)
    file = run.folder / "results.json" if run else None
    if file is None or not file.is_file():
        return {}
    records = json.loads(file.read_text(encoding="utf-8"))["datasets"]
    return records.get(dataset + ORACLE if oracle else dataset) or records.get(dataset) or {}


def _number(record: Mapping[str, Any], metric: str) -> float | None:
    """One number of a dataset's record; None where it was not measured."""
    kind, _, at = metric.partition("@")
    if kind in ("NoC", "NoF"):
        found = record.get(kind.lower(), {}).get(at)
    elif kind in ("IoU", "BIoU"):
        curve = record.get("miou" if kind == "IoU" else "biou", [])
        found = curve[int(at) - 1] if int(at) <= len(curve) else None
    else:
        found = record.get({"picks": "selections", "SPC": "spc"}[kind])
    return None if found is None or (isinstance(found, float) and math.isnan(found)) else found


def network_costs(rows: Sequence[Row], site: Site, file: Path | None) -> dict[str, dict[str, float]]:
    """Row name -> `params` (millions) and `GFLOP` of its network, from what `benchmarks/model_cost.py` wrote.

    Raises:
        ValueError: the file is something else.
    """
    if file is None:
        return {}
    try:
        networks = json.loads(file.read_text(encoding="utf-8"))["networks"]
        known = {
            (entry["method"], entry["variant"]): {
                "params": entry["parameters"],
                "GFLOP": entry["operations"]["first"]["all"],
            }
            for entry in networks
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not what benchmarks/model_cost.py writes ({error})") from error
    return {row.name: known.get((row.method, variant_of(row, site)), {}) for row in rows}


def as_text(columns: Sequence[Column], found: Sequence[Line]) -> str:
    """Plain text, columns aligned."""
    cells = [["", "", *map(str, columns)], *_cells(columns, found)]
    widths = [max(map(len, entries)) for entries in zip(*cells, strict=True)]

    def aligned(row: Sequence[str]) -> str:
        name, origin, *numbers = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        return "  ".join([name.strip().ljust(widths[0]), origin.strip().ljust(widths[1]), *numbers])

    head, *body = map(aligned, cells)
    return "\n".join([head, "-" * len(head), *body])


def as_markdown(columns: Sequence[Column], found: Sequence[Line]) -> str:
    """A Markdown table."""
    head = ["row", "", *map(str, columns)]
    rows = [head, ["---"] * len(head), *_cells(columns, found)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def as_latex(columns: Sequence[Column], found: Sequence[Line]) -> str:
    """A LaTeX tabular with booktabs rules; datasets span their metrics; published rows are marked by a dagger."""
    datasets = list(dict.fromkeys(column.dataset for column in columns))
    spans = [f"\\multicolumn{{{sum(c.dataset == d for c in columns)}}}{{c}}{{{_escaped(d)}}}" for d in datasets]
    head = ["", *(_escaped(column.metric) for column in columns)]
    body = [
        [_escaped(line.name) + (r"$^\dagger$" if line.origin == "published" else "")]
        + [_shown(*pair) for pair in zip(columns, line.values, strict=True)]
        for line in found
    ]
    rows = "\n".join(" & ".join(row) + r" \\" for row in body)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}; rows with a dagger are published numbers, the others measured",
            rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
            r"\toprule",
            " & ".join(["", *spans]) + r" \\",
            " & ".join(head) + r" \\",
            r"\midrule",
            rows,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _cells(columns: Sequence[Column], found: Sequence[Line]) -> list[list[str]]:
    """The text of every line: name, origin, numbers."""
    return [
        [line.name, line.origin, *(_shown(column, value) for column, value in zip(columns, line.values, strict=True))]
        for line in found
    ]


def _shown(column: Column, value: float | None) -> str:
    if value is None:
        return "-"
    if column.metric.startswith("NoF"):
        return f"{value:g}"
    return f"{value:.3f}" if "IoU" in column.metric or column.metric == "SPC" else f"{value:.2f}"


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "#%&_$" else letter for letter in text)
