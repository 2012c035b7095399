"""`clicklab sweep`: the file that W&B agents run, run on this machine by Optuna; no account is needed."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clicklab.whole_file import written_whole

if TYPE_CHECKING:
    from clicklab.sweeps.spec import Sweep


def add_sweep(commands: argparse._SubParsersAction) -> None:
    """`sweep experiments/METHOD/sweep.yaml`."""
    command = commands.add_parser("sweep", help="run a sweep file here: grid, random or Bayesian, resumable")
    command.add_argument("file", type=Path, help="experiments/METHOD/sweep.yaml")
    command.add_argument("--variant", nargs="+", default=[], metavar="NAME", help="overlays of the method, e.g. tiny")
    command.add_argument("--jobs", type=int, default=1, help="trials at a time (default %(default)s)")
    command.add_argument("--trials", type=int, help="in all, by all workers (default: the whole grid)")
    command.add_argument("--storage", type=Path, metavar="FILE", help="shared by workers; default: in --output")
    command.add_argument("--output", type=Path, metavar="DIR", help="default: runs/sweep/METHOD-VARIANT")
    command.add_argument("--no-evaluate", action="store_true", help="leave out the file's block `evaluate`")
    command.add_argument("--collect", action="store_true", help="run nothing: write the tables and the picture again")
    command.add_argument("--wandb-file", action="store_true", help="print the file as `wandb sweep` takes it, and end")
    command.set_defaults(run=run_sweep)


def run_sweep(options: argparse.Namespace) -> int:
    """Runs what is missing, then writes trials.csv, evaluations.csv and sweep.png. Exit code 1 where a trial failed."""
    from clicklab.sweeps.spec import for_wandb, read_sweep

    overlays = overlay_files(options.file, options.variant)
    if options.wandb_file:
        print(for_wandb(options.file, overlays), end="")
        return 0
    sweep = read_sweep(options.file)
    if sweep.method != "grid" and options.trials is None and not options.collect:
        raise ValueError(f"{options.file} is a {sweep.method} search, which has no end: give --trials N")
    measured = bool(sweep.evaluate and sweep.data) and not options.no_evaluate
    if measured and not options.collect:
        need_data(sweep)
    from clicklab.sweeps.study import evaluation_rows, open_study, rows_of, run_study
    from clicklab.sweeps.trial import evaluate, train, trial_folder

    name = "-".join([options.file.parent.name, *options.variant])
    home = options.output or Path("runs/sweep") / name
    study = open_study(sweep, name, options.storage or home / "study.log")

    def objective(values: Mapping[str, Any]) -> tuple[float, list[dict[str, Any]]]:
        folder = trial_folder(home, values)
        found = train(sweep, values, overlays, folder, group=name)
        return found, evaluate(sweep, folder) if measured else []

    try:
        if not options.collect:
            run_study(study, sweep, objective, options.trials, options.jobs)
    finally:
        rows = rows_of(study, sweep)
        write_rows(rows, home / "trials.csv")
        write_rows(evaluation_rows(study, sweep), home / "evaluations.csv")
        draw(rows, sweep, home / "sweep.png")
        print(f"{len(rows)} trials: {home}/trials.csv, sweep.png; the same command goes on")
    return 1 if any(row["failed"] for row in rows) else 0


def need_data(sweep: Sweep) -> None:
    """Says before any training that what is measured after it is not there. Raises ValueError, FileNotFoundError."""
    for word in sweep.data:
        folder = word.partition("=")[2].partition("?")[0]
        if "$" in folder:
            raise ValueError(
                f"{sweep.path}: its block `evaluate` measures on {word}, and that variable is not set: "
                "DATA_ROOT=/data clicklab sweep ..., or --no-evaluate"
            )
        if not Path(folder).is_dir():
            raise FileNotFoundError(
                f"{sweep.path}: its block `evaluate` measures on {word}, and {folder} is missing; or --no-evaluate"
            )


def overlay_files(file: Path, variants: Sequence[str]) -> list[str]:
    """The files of overlays: the method's own, or else those of all methods.

    Raises:
        ValueError: there is no such overlay; the message lists what there is.
    """
    found = []
    for variant in variants:
        places = [file.parent / f"{variant}.yaml", file.parent.parent / "_base" / f"{variant}.yaml"]
        fitting = [place for place in places if place.is_file()]
        if not fitting:
            known = sorted(path.stem for path in file.parent.glob("*.yaml"))
            raise ValueError(f"--variant {variant}: there is no {places[0]}; known: {', '.join(known)}")
        found.append(str(fitting[0]))
    return found


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows as CSV, written beside and renamed; nothing where there are none."""
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    with written_whole(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def draw(rows: Sequence[Mapping[str, Any]], sweep: Sweep, path: Path) -> None:
    """The heat map or line of the parameters that vary; nothing while no trial has ended well."""
    from clicklab.visualize.sweeps import sweep_figure

    varied = [name for name in sweep.parameters if len({str(row.get(name)) for row in rows}) > 1]
    if not varied or all(row[sweep.metric] is None for row in rows):
        return
    with written_whole(path) as part:
        sweep_figure(rows, varied, sweep.metric, sweep.minimize).savefig(part, dpi=150, format="png")
