"""`clicklab report`: one HTML page of an evaluation, with the worst objects clicked once more."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clicklab.commands.compare import RUN
from clicklab.commands.data import READER_OPTIONS

if TYPE_CHECKING:
    from clicklab.visualize.report_data import Chosen


def add_report(commands: argparse._SubParsersAction) -> None:
    """`report RUN`."""
    command = commands.add_parser(
        "report", description="One HTML page: numbers, curves, the worst objects click by click."
    )
    command.add_argument("run_folder", metavar="RUN", help=RUN)
    command.add_argument("--against", metavar="RUN", help="another run: where do the two part?")
    command.add_argument(
        "--data", action="append", default=[], metavar="NAME=FOLDER", help=f"where the images lie now; {READER_OPTIONS}"
    )
    command.add_argument("--checkpoint", type=Path, metavar="FILE", help="where RUN's weights lie now")
    command.add_argument("--against-checkpoint", type=Path, metavar="FILE", help="the same of the other run")
    command.add_argument("--worst", type=int, default=20, metavar="N", help="objects shown (default %(default)s)")
    command.add_argument("--output", type=Path, metavar="FILE", help="the page (default: RUN/report.html)")
    command.add_argument("--device", default="auto", help="cpu, cuda ... (default: cuda where there is one)")
    command.set_defaults(run=run_report)


def run_report(options: argparse.Namespace) -> int:
    """Reads, clicks again, writes."""
    from clicklab.commands.compare import read_runs, with_own_names
    from clicklab.commands.devices import find_device
    from clicklab.commands.replays import Missing, Replays, pictures_of
    from clicklab.visualize.report_data import parted_objects, worst_objects
    from clicklab.visualize.report_page import report_page, save_page

    if options.worst < 0:
        raise ValueError(f"--worst is {options.worst}: give the number of objects to show, 0 or more")
    given = [options.run_folder, *([options.against] if options.against else [])]
    runs = with_own_names(read_runs(given))
    run, against = runs[0], runs[1] if options.against else None
    chosen = worst_objects(run, options.worst)
    if against is not None:
        chosen = merged(parted_objects(run, against, options.worst), chosen)
    device = find_device(options.device)
    checkpoints = [options.checkpoint, options.against_checkpoint]
    missing = Missing()
    replays = [Replays(one, file, options.data, device, missing) for one, file in zip(runs, checkpoints, strict=False)]
    pictures = pictures_of(chosen, replays, missing)
    hint = hint_of(len(pictures), against is not None, missing.said)
    path = options.output or run.file.parent / "report.html"
    save_page(report_page(run, against, pictures, hint), path)
    for text in missing.said:
        print(f"note: {text}")
    print(f"written: {path}")
    return 0


def merged(first: Sequence[Chosen], second: Sequence[Chosen]) -> list[Chosen]:
    """Both lists, each object once."""
    found: dict[tuple[str, int], Chosen] = {}
    for one in [*first, *second]:
        found.setdefault((one.dataset, one.row["index"]), one)
    return list(found.values())


def hint_of(shown: int, paired: bool, missing: Sequence[str]) -> str:
    """What stands above the dialogues."""
    if not shown:
        return "No dialogue is shown. " + " ".join(f"{text}." for text in missing)
    kinds = "Where the two runs part the most, then the worst objects" if paired else "The worst objects"
    text = f"{kinds}: those that took the most clicks, and of these the ones left with the lowest IoU. "
    text += "Move the slider or press the arrow keys on it to go through the clicks."
    return " ".join([text, *(f"{what}." for what in missing)])
