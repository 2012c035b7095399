"""`clicklab compare`: several runs and published numbers in one table, and whether the differences are real."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clicklab.visualize.comparison import Comparison
    from clicklab.visualize.results_file import Run
    from clicklab.visualize.run_differences import Difference

RUN = "an --output folder of `evaluate`, a results.json, or the folder of a training run; NAME=RUN gives it a name"


def add_compare(commands: argparse._SubParsersAction) -> None:
    """`compare RUN RUN ...`."""
    command = commands.add_parser(
        "compare", description="One table and one figure of several runs and of published numbers."
    )
    command.add_argument("runs", nargs="+", metavar="RUN", help=f"{RUN}; the first is what the others are held against")
    command.add_argument(
        "--published", metavar="NAMES", help="rows of papers: methods or files of the catalogue, with commas between"
    )
    command.add_argument("--metrics", nargs="+", metavar="M", help="for example NoC@90 NoF@90 IoU@5 (NoC@85 NoC@90)")
    command.add_argument(
        "--format", choices=["text", "markdown", "latex", "csv"], default="text", help="what is printed (%(default)s)"
    )
    command.add_argument("--output", type=Path, metavar="DIR", help="writes the table in all formats, and the curves")
    command.add_argument("--strict", action="store_true", help="refuse runs whose settings or objects differ")
    command.set_defaults(run=run_compare)


def run_compare(options: argparse.Namespace) -> int:
    """Reads, compares, prints, writes."""
    from clicklab.visualize.comparison import compare
    from clicklab.visualize.published import published_rows
    from clicklab.visualize.run_differences import as_sentences, differences
    from clicklab.visualize.table_formats import FORMATS

    runs = with_own_names(read_runs(options.runs))
    names = [name.strip() for name in (options.published or "").split(",") if name.strip()]
    table = compare(runs, published_rows(names) if names else (), options.metrics or (), official_counts(runs))
    if options.strict and table.refused:
        raise ValueError(f"--strict: not the same conditions: {'; '.join(table.refused)}. Measure with the same ones")
    found = differences(runs, table.metrics)
    writer, _ = FORMATS[options.format]
    print(writer(table).rstrip("\n"))
    if options.format == "text" and found:
        print("\n" + as_sentences(found))
    if options.output is not None:
        write_all(table, found, runs, options.output)
        print(f"\nwritten: {options.output}/table.txt, .md, .tex, .csv, curves.png, .pdf, .svg")
    return 0


def read_runs(given: Sequence[str]) -> list[Run]:
    """The runs named on the command line; raises as `read_run`."""
    from clicklab.visualize.results_file import read_run

    return [read_run(text) for text in given]


def with_own_names(runs: Sequence[Run]) -> list[Run]:
    """Runs whose folders are called alike get the folder above in front.

    Raises:
        ValueError: two are still called alike.
    """
    labels = [run.label for run in runs]
    renamed = [_with_folder(run) if labels.count(run.label) > 1 else run for run in runs]
    labels = [run.label for run in renamed]
    if twice := [run for run in renamed if labels.count(run.label) > 1]:
        raise ValueError(f"two runs are called {twice[0].label}: give them names, for example ours={twice[0].file}")
    return renamed


def _with_folder(run: Run) -> Run:
    """The folder above in front of the name, unless the name was given by hand."""
    from clicklab.visualize.results_file import label_of

    above = run.file.resolve().parent.parent.name
    return replace(run, label=f"{above}/{run.label}") if run.label == label_of(run.file) else run


def official_counts(runs: Sequence[Run]) -> dict[str, int]:
    """Dataset -> objects of the whole set, as far as the readers know it."""
    from clicklab.visualize.comparison import plain_name
    from data_modules.datasets import DATASETS, dataset_class

    counts = {}
    for name in {plain_name(name) for run in runs for name in run.datasets}:
        published = dataset_class(name).published if name in DATASETS else {}
        for key in ("objects", "val objects", "test objects"):
            if key in published:
                counts[name] = published[key]
                break
    return counts


def write_all(table: Comparison, found: Sequence[Difference], runs: Sequence[Run], folder: Path) -> None:
    """The table in every format, the differences below the text, the figure in every format."""
    from clicklab.visualize.comparison_curves import save_curves
    from clicklab.visualize.run_differences import as_sentences
    from clicklab.visualize.table_formats import FORMATS

    folder.mkdir(parents=True, exist_ok=True)
    for name, (writer, ending) in FORMATS.items():
        text = writer(table)
        if name == "text":
            text += "\n\n" + as_sentences(found)
        (folder / f"table.{ending}").write_text(text.rstrip("\n") + "\n", encoding="utf-8", errors="surrogateescape")
    save_curves(runs, folder)
