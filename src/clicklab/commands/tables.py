"""`clicklab tables`: the tables of the five papers, run and laid out beside the published numbers."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clicklab.tables.plan import Run, Site
    from clicklab.tables.spec import Table


def add_tables(commands: argparse._SubParsersAction) -> None:
    """`tables [NAME ...] [--dry-run | --train --evaluate | --collect]`."""
    command = commands.add_parser("tables", help="the papers' tables: list, run, lay out beside the published numbers")
    command.add_argument("names", nargs="*", metavar="TABLE", help="piclick-5, or piclick for all of a paper")
    command.add_argument("--dry-run", action="store_true", help="print the commands that would be run")
    command.add_argument("--train", action="store_true", help="train what is missing; the same command goes on")
    command.add_argument("--evaluate", action="store_true", help="measure what is missing")
    command.add_argument("--collect", action="store_true", help="print what was measured beside the published numbers")
    command.add_argument("--format", choices=["text", "markdown", "latex"], default="text", help="of --collect")
    command.add_argument("--scale", choices=["paper", "tiny"], default="paper", help="tiny: small networks and photos")
    command.add_argument("--on", nargs="+", default=[], metavar="DATASET", help="measure on these instead")
    command.add_argument("--limit", type=int, help="only the first objects of each dataset")
    command.add_argument("--data-root", type=Path, metavar="DIR", help="of datasets; default: DATA_ROOT or data")
    command.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), metavar="DIR", help="released files")
    command.add_argument("--runs", type=Path, metavar="DIR", help="default: runs/tables, tiny: runs/tables-tiny")
    command.add_argument("--hours", type=Path, metavar="FILE", help="what benchmarks/hours.py wrote: GPU hours per row")
    command.add_argument("--costs", type=Path, metavar="FILE", help="what benchmarks/model_cost.py wrote")
    command.add_argument("--file", type=Path, default=Path("experiments/tables.yaml"), help="default %(default)s")
    command.set_defaults(run=run_tables)


def run_tables(options: argparse.Namespace) -> int:
    """Lists, or does what was asked for. Exit code 1 where a run failed or could not start."""
    from clicklab.tables.spec import read_tables

    tables = _chosen(read_tables(options.file), options.names)
    site = _site(options)
    if options.dry_run:
        for table in tables:
            print("\n".join([f"# {table.source}", *(run.line() for run in _runs(table, site)), ""]))
        return 0
    failed = _run(tables, site, options) if options.train or options.evaluate else 0
    if options.collect:
        _print_collected(tables, site, options)
    elif not (options.train or options.evaluate):
        _print_list(tables, site, _hours(options.hours))
    return 1 if failed else 0


def _chosen(tables: dict[str, Table], names: Sequence[str]) -> list[Table]:
    """Tables by name or by paper; all where nothing is named."""
    found = []
    for name in names:
        fitting = [table for table in tables.values() if name in (table.name, table.paper)]
        if not fitting:
            raise ValueError(f"there is no table {name!r}; known: {', '.join(tables)}")
        found += fitting
    return found or list(tables.values())


def _site(options: argparse.Namespace) -> Site:
    from clicklab.tables.plan import Site

    tiny = options.scale == "tiny"
    data = options.data_root or Path(os.environ.get("DATA_ROOT", "data"))
    return Site(
        experiments=options.file.parent,
        data=data,
        checkpoints=options.checkpoints,
        runs=options.runs or Path("runs/tables-tiny" if tiny else "runs/tables"),
        tiny=tiny,
        on=tuple(options.on) or (("GrabCut",) if tiny else ()),
        limit=options.limit or (10 if tiny else None),
    )


def _runs(table: Table, site: Site) -> list[Run]:
    """All runs of a table, trainings before evaluations."""
    from clicklab.tables.plan import distinct, evaluation, training

    trainings = distinct(training(row, site) for row in table.rows)
    pairs = [(row, dataset) for row in table.rows for dataset in site.datasets(table)]
    return trainings + distinct(evaluation(row, dataset, site) for row, dataset in pairs)


def _run(tables: Sequence[Table], site: Site, options: argparse.Namespace) -> int:
    from clicklab.tables.plan import distinct, training, write_tiny_overlay
    from clicklab.tables.run import run_missing

    trained_by = {run.folder: row for table in tables for row in table.rows if (run := training(row, site))}

    def prepare(run: Run) -> None:
        if site.tiny and run.folder in trained_by:
            write_tiny_overlay(trained_by[run.folder], run, site)

    runs = distinct(run for table in tables for run in _runs(table, site))
    wanted = [run for run in runs if (options.train if run.command[0] == "fit" else options.evaluate)]
    return run_missing(wanted, site, prepare)


def _print_collected(tables: Sequence[Table], site: Site, options: argparse.Namespace) -> None:
    from clicklab.tables.collect import as_latex, as_markdown, as_text, columns_here, lines, network_costs

    layout = {"text": as_text, "markdown": as_markdown, "latex": as_latex}[options.format]
    comment = "% " if options.format == "latex" else ""
    for table in tables:
        columns, costs = columns_here(table, site), network_costs(table.rows, site, options.costs)
        found = lines(table, site, costs)
        print(f"{comment}{table.source}")
        if site.tiny:
            print(f"{comment}Tiny scale, trained for minutes: says that the rows run, not how good they are.")
        print(layout(columns, found) if found else f"{comment}nothing was measured yet: --train --evaluate")
        print()


def _print_list(tables: Sequence[Table], site: Site, hours: dict[tuple[str, ...], float]) -> None:
    """One line a table: rows that we have, that can run here, that were measured; and what is missing."""
    print(f"{'table':<20}{'rows':>5}{'ours':>6}{'here':>6}{'measured':>10}{'GPU hours':>11}  missing here")
    total = [0, 0, 0, 0]
    for table in tables:
        ours = [row for row in table.rows if row.method]
        plans = [_runs(replace(table, rows=(row,)), site) for row in ours]
        here = sum(not any(run.missing for run in runs) for runs in plans)
        done = sum(all(run.is_finished for run in runs if run.command[0] == "evaluate") for runs in plans)
        missing = dict.fromkeys(path.name for runs in plans for run in runs for path in run.missing)
        trainings = {(row.method or "", *row.overlays) for row in ours}
        spent = sum(hours.get(training, 0.0) for training in trainings)
        numbers = [len(table.rows), len(ours), here, done]
        total = [before + now for before, now in zip(total, numbers, strict=True)]
        counts = f"{numbers[0]:>5}{numbers[1]:>6}{here:>6}{done:>10}{f'{spent:.0f}' if spent else '-':>11}"
        print(f"{table.name:<20}{counts}  {', '.join(missing) or '-'}")
    print(f"{'all':<20}{total[0]:>5}{total[1]:>6}{total[2]:>6}{total[3]:>10}")
    print("rows: in the paper. ours: methods that this project has. here: data and files are on this machine.")
    print("next: clicklab tables NAME --dry-run, or --train --evaluate --collect; --scale tiny for minutes on a CPU")


def _hours(path: Path | None) -> dict[tuple[str, ...], float]:
    """(method, overlays ...) -> hours on one GPU, as `benchmarks/hours.py` estimated them."""
    if path is None:
        return {}
    try:
        recipes: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["recipes"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not what benchmarks/hours.py writes ({error})") from error
    return {(entry["method"], *entry["overlays"]): entry["one"]["hours"] for entry in recipes if "one" in entry}
