"""Several runs side by side: one table of methods x datasets, what differs between them, which is best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clicklab.evaluation.protocol import ORACLE
from clicklab.visualize.comparable import CAPPED_PUBLISHED, counted_differences, seen_differences
from clicklab.visualize.published import PublishedRow
from clicklab.visualize.results_file import Run

MEAN = "mean"
USUAL = ("NoC@85", "NoC@90")  # what the papers print
UPWARDS = ("IoU@", "BIoU@")  # larger is better; of all others smaller


@dataclass(frozen=True)
class Cell:
    """A number of the table.

    Attributes:
        value: None where there is none.
        marks: letters of the notes that explain why it is not quite like the others.
        comparable: made under the conditions of the first run, so that it may be the best.
        best: of all comparable ones in its column.
    """

    value: float | None
    marks: tuple[str, ...] = ()
    comparable: bool = True
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A run, or a row that was published.

    Attributes:
        label: its name.
        published: whether it was taken from a paper.
        cells: (dataset, metric) -> number.
        marks: letters of the notes on all of it.
        source: of published numbers.
    """

    label: str
    published: bool
    cells: Mapping[tuple[str, str], Cell]
    marks: tuple[str, ...] = ()
    source: str = ""


@dataclass
class Comparison:
    """The table.

    Attributes:
        datasets: in the order of the runs; last `MEAN`, where a mean over several makes sense.
        metrics: shown of each dataset.
        rows: the runs, then what was published.
        notes: letter -> what it stands for.
        refused: what `--strict` does not let pass.
    """

    datasets: list[str]
    metrics: list[str]
    rows: list[Row]
    notes: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[tuple[str, str]]:
        """(dataset, metric) of each column of numbers."""
        return [(dataset, metric) for dataset in self.datasets for metric in self.metrics]


def compare(
    runs: Sequence[Run],
    published: Sequence[PublishedRow] = (),
    metrics: Sequence[str] = (),
    official_counts: Mapping[str, int] | None = None,
) -> Comparison:
    """Puts runs and published rows into one table; the first run is what the others are measured against.

    Args:
        runs: one or more.
        published: rows of papers; those without any of the runs' datasets and metrics are left out.
        metrics: for example NoC@90, NoF@90, IoU@5; default: NoC@85 and NoC@90, or all NoC that the runs share.
        official_counts: dataset -> objects of the whole set, which published numbers are of.

    Raises:
        ValueError: no run, runs that share no dataset or played other objects under one name, or a metric that no run
            has.
    """
    if not runs:
        raise ValueError("name at least one run to compare")
    check_same_objects(runs)
    datasets = list(dict.fromkeys(plain_name(name) for run in runs for name in run.datasets))
    shown = list(metrics) or usual_metrics(runs)
    for metric in metrics:
        if all(value_of(record, metric) is None for run in runs for record in run.datasets.values()):
            raise ValueError(f"--metrics: no run has {metric}; they have {', '.join(known_metrics(runs))}")
    builder = _Builder(runs[0], Comparison(datasets, shown, []), official_counts or {})
    for run in runs:
        builder.add_run(run)
    for row in published:
        builder.add_published(row)
    return _with_best(_with_means(builder.table))


def check_same_objects(runs: Sequence[Run]) -> None:
    """Raises ValueError where one name stands for other objects in two runs, or runs have no dataset in common."""
    first = runs[0]
    names = {plain_name(name) for name in first.datasets}
    for run in runs[1:]:
        if not names & {plain_name(name) for name in run.datasets}:
            raise ValueError(
                f"{first.label} and {run.label} share no dataset ({', '.join(first.datasets)}; "
                f"{', '.join(run.datasets)}): compare runs of the same --data"
            )
    known: dict[tuple[str, int], tuple[str, str]] = {}
    for run in runs:
        for dataset, record in run.datasets.items():
            for row in record["objects"]:
                key, what = (plain_name(dataset), row["index"]), f"{row['name']}, object {row['object']}"
                label, earlier = known.setdefault(key, (run.label, what))
                if earlier != what and not _repeated(run):
                    raise ValueError(
                        f"{label} and {run.label} played different data under the name {key[0]}: object {key[1]} is "
                        f"{earlier} there and {what} here. Measure both on the same folder"
                    )


def _repeated(run: Run) -> bool:
    """Whether objects were played several times, so that positions count runs and not objects."""
    protocol = run.protocol
    return protocol.get("perturb_iou") is not None or bool(protocol.get("click_spread"))


def plain_name(dataset: str) -> str:
    """The dataset's name without what says how candidates were chosen."""
    return dataset.removesuffix(ORACLE)


def usual_metrics(runs: Sequence[Run]) -> list[str]:
    """NoC@85 and NoC@90 as far as all runs have them; or else all NoC that they share."""
    shared = [
        key
        for key in known_metrics(runs)
        if key.startswith("NoC@")
        and all(value_of(record, key) is not None for run in runs for record in run.datasets.values() if record["noc"])
    ]
    found = [key for key in USUAL if key in shared] or shared
    if not found:
        raise ValueError("the runs share no threshold of NoC: measure them with the same --thresholds")
    return found


def known_metrics(runs: Sequence[Run]) -> list[str]:
    """All metrics that some record has."""
    names: dict[str, None] = {}
    for run in runs:
        for record in run.datasets.values():
            for section, title in (("noc", "NoC@"), ("nof", "NoF@")):
                names |= dict.fromkeys(f"{title}{key}" for key in record.get(section) or {})
            for section, title in (("miou", "IoU@"), ("biou", "BIoU@")):
                names |= dict.fromkeys(f"{title}{k}" for k in range(1, 1 + len(record.get(section) or [])))
    return [*names, "SPC"]


def value_of(record: Mapping[str, Any], metric: str) -> float | None:
    """A metric of a dataset's record, None where it has none."""
    if metric == "SPC":
        return record.get("spc")
    title, _, key = metric.partition("@")
    if title in ("NoC", "NoF"):
        return (record.get(title.lower()) or {}).get(key)
    curve = record.get({"IoU": "miou", "BIoU": "biou"}.get(title, "")) or []
    return curve[int(key) - 1] if key.isdigit() and 0 < int(key) <= len(curve) else None


class _Builder:
    """Fills the table row by row; equal notes share a letter."""

    def __init__(self, reference: Run, table: Comparison, official_counts: Mapping[str, int]) -> None:
        self.reference, self.table, self.official = reference, table, official_counts

    def add_run(self, run: Run) -> None:
        """One row, or two where a network's candidates were chosen in two ways."""
        for suffix in ("", ORACLE):
            records = {
                plain_name(name): record
                for name, record in run.datasets.items()
                if name.endswith(ORACLE) == bool(suffix)
            }
            if records:
                self._add_way(run, records, oracle=bool(suffix))

    def _add_way(self, run: Run, records: Mapping[str, Mapping[str, Any]], oracle: bool) -> None:
        label = f"{run.label}, the user picks" if oracle else run.label
        counted = counted_differences(self.reference.protocol, run.protocol)
        seen, own_choice = seen_differences(self.reference.protocol, run.protocol)
        marks = []
        if counted:
            marks.append(self._note(f"played or counted otherwise than {self.reference.label}: {'; '.join(counted)}"))
            self.table.refused.append(f"{label}: {'; '.join(counted)}")
        if seen:
            marks.append(self._note(f"sees otherwise than {self.reference.label}: {'; '.join(seen)}"))
            if own_choice:
                self.table.refused.append(f"{label}: {'; '.join(seen)}")
        if oracle:
            marks.append(self._note("of several candidates the best one was picked by the ground truth"))
        fine = not counted and not oracle
        cells = {
            (dataset, metric): self._cell(dataset, records.get(dataset), metric, label, fine)
            for dataset in self.table.datasets
            for metric in self.table.metrics
        }
        self.table.rows.append(Row(label, False, cells, tuple(marks)))

    def _cell(self, dataset: str, record: Mapping[str, Any] | None, metric: str, label: str, fine: bool) -> Cell:
        if record is None:
            return Cell(None, comparable=False)
        marks: list[str] = []
        wanted = self._reference_record(dataset)
        if wanted is not None and len(wanted["objects"]) != len(record["objects"]):
            text = f"{dataset}: {len(record['objects'])} objects, {self.reference.label} {len(wanted['objects'])}"
            marks.append(self._note(text))
            if f"{label}: {text}" not in self.table.refused:
                self.table.refused.append(f"{label}: {text}")
        return Cell(value_of(record, metric), tuple(marks), fine and not marks)

    def _reference_record(self, dataset: str) -> Mapping[str, Any] | None:
        datasets = self.reference.datasets
        return datasets.get(dataset) or datasets.get(dataset + ORACLE)

    def add_published(self, published: PublishedRow) -> None:
        """A row of a paper, compared where the first run was played as the papers do."""
        numbers = {
            (dataset, metric): published.numbers.get(dataset, {}).get(metric)
            for dataset in self.table.datasets
            for metric in self.table.metrics
        }
        if all(value is None for value in numbers.values()):
            return
        marks = []
        if published.oracle:
            marks.append(self._note("of several candidates the best one was picked by the ground truth"))
        other = counted_differences(self.reference.protocol, CAPPED_PUBLISHED)
        if other:
            marks.append(
                self._note(f"published numbers are played otherwise than {self.reference.label}: {'; '.join(other)}")
            )
        fine = not published.oracle and not other
        cells = {key: self._published_cell(key[0], value, fine) for key, value in numbers.items()}
        self.table.rows.append(Row(published.label, True, cells, tuple(marks), published.source))

    def _published_cell(self, dataset: str, value: float | None, fine: bool) -> Cell:
        record, whole = self._reference_record(dataset), self.official.get(dataset)
        if value is None or record is None or whole is None or len(record["objects"]) == whole:
            return Cell(value, (), fine)
        played = len(record["objects"])
        mark = self._note(f"{dataset}: published numbers are of {whole} objects, {self.reference.label} has {played}")
        return Cell(value, (mark,), comparable=False)

    def _note(self, text: str) -> str:
        """The letter of a note."""
        for letter, known in self.table.notes.items():
            if known == text:
                return letter
        letter = _letter(len(self.table.notes))
        self.table.notes[letter] = text
        return letter


def _letter(number: int) -> str:
    """a, b, .., z, aa, ab, .."""
    rest, place = divmod(number, 26)
    return (_letter(rest - 1) if rest else "") + chr(ord("a") + place)


def _with_means(table: Comparison) -> Comparison:
    """A column with the mean over the datasets, for rows that have all of them."""
    if len(table.datasets) < 2:
        return table
    rows = []
    for row in table.rows:
        cells = dict(row.cells)
        for metric in table.metrics:
            parts = [row.cells[dataset, metric] for dataset in table.datasets]
            values = [part.value for part in parts if part.value is not None]
            whole = len(values) == len(parts) and not metric.startswith("NoF@")
            mean = math.fsum(values) / len(values) if whole else None
            marks = tuple(dict.fromkeys(mark for part in parts for mark in part.marks)) if whole else ()
            cells[MEAN, metric] = Cell(mean, marks, comparable=all(part.comparable for part in parts))
        rows.append(replace(row, cells=cells))
    return replace(table, datasets=[*table.datasets, MEAN], rows=rows)


def _with_best(table: Comparison) -> Comparison:
    """Marks the best comparable number of each column; of equals all; none where there is nothing to compare."""
    best = {}
    for column in table.columns:
        cells = [row.cells[column] for row in table.rows]
        values = [shown(cell.value, column[1]) for cell in cells if cell.comparable and cell.value is not None]
        if len(values) > 1:
            best[column] = max(values, key=float) if column[1].startswith(UPWARDS) else min(values, key=float)
    rows = [
        replace(row, cells={column: _marked(cell, column, best) for column, cell in row.cells.items()})
        for row in table.rows
    ]
    return replace(table, rows=rows)


def _marked(cell: Cell, column: tuple[str, str], best: Mapping[tuple[str, str], str]) -> Cell:
    """The cell, marked where it is as good as the best: numbers that are printed alike are equally good."""
    if column not in best or not cell.comparable or cell.value is None:
        return cell
    return replace(cell, best=shown(cell.value, column[1]) == best[column])


def shown(value: float | None, metric: str) -> str:
    """A number as tables print it: clicks with two decimals, IoU and seconds with three, counts whole."""
    if value is None:
        return "–"
    decimals = {"NoC": 2, "NoF": 0}.get(metric.partition("@")[0], 3)
    return f"{value:.{decimals}f}"
