"""`clicklab data`: look at datasets, build them, convert them."""

from __future__ import annotations

import argparse

READER_OPTIONS = "options of its reader behind a question mark: 'Folder=/photos?kind=binary&ignore_value=255'"


def add_data(commands: argparse._SubParsersAction) -> None:
    """`data ...`: what the data modules offer."""
    command = commands.add_parser("data", description="Look at datasets, build and convert them.")
    from data_modules.coco_lvis import build as build_coco_lvis
    from data_modules.tools import export_shapes, show

    data = command.add_subparsers(required=True, metavar="ACTION")
    for module in (show, export_shapes, build_coco_lvis):
        module.add_commands(data)
    check = data.add_parser("check", help="counts, broken files, what is missing and where it comes from")
    check.add_argument("dataset", metavar="NAME=FOLDER", help=READER_OPTIONS)
    check.set_defaults(run=run_check)


def run_check(options: argparse.Namespace) -> int:
    """Prints the report; exit code 1 where something is broken."""
    from data_modules.tools.check import check
    from data_modules.tools.dataset_spec import dataset_spec

    name, folder, reading = dataset_spec(options.dataset)
    report = check(name, folder, **reading)
    print(report)
    return 0 if report.complete else 1
