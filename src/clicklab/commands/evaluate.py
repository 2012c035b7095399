"""`clicklab evaluate`: the NoC of a checkpoint on datasets given by their folders."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from clicklab.commands.data import READER_OPTIONS
from clicklab.commands.devices import find_device
from clicklab.commands.networks import add_network, open_network
from clicklab.commands.record_flags import add_record_flags, given_fields
from clicklab.commands.worst_pictures import save_worst, worst_count
from clicklab.evaluation.protocol import BATCH_SIZE, EvaluationProtocol
from clicklab.inference.options import InferenceOptions
from clicklab.views.zoom_in import ZoomIn

SEEING = [field.name for field in fields(InferenceOptions)]
IN_WORDS = (
    "zoom_in",
    "cascade",
    "cascade_adaptive",
    "cascade_once",
    "initial_masks",
    "recorded_clicks",
)  # have flags of other names


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """`evaluate CHECKPOINT --data NAME=FOLDER ...`."""
    command = commands.add_parser("evaluate", description="Measures the NoC of a checkpoint on datasets.")
    add_network(command)
    command.add_argument(
        "--data", action="append", required=True, metavar="NAME=FOLDER", help=f"may be repeated; {READER_OPTIONS}"
    )
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="results.json, table, curve, journal"
    )
    command.add_argument("--limit", type=int, metavar="N", help="only the first objects of each dataset")
    command.add_argument(
        "--batch-size", type=int, default=BATCH_SIZE, metavar="N", help="objects in lockstep (default %(default)s)"
    )
    add_options(command)
    command.add_argument(
        "--clicks",
        type=Path,
        metavar="FILE",
        help="replay what people clicked (`clicklab annotate export --format clicks`) in place of the simulated user; "
        "targets and images are those of --data",
    )
    command.add_argument("--pictures", metavar="worst:N", help="draw the N objects that took the most clicks")
    command.add_argument("--compile", action="store_true", help="torch.compile: for long runs on a GPU")
    command.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    command.set_defaults(run=run_evaluate)


def add_options(command: argparse.ArgumentParser) -> None:
    """One flag for each field of the protocol; some of them in words that papers use."""
    seeing = command.add_argument_group("what the network sees, and how its answer is read")
    own = [field.name for field in fields(EvaluationProtocol) if field.name not in SEEING]
    add_record_flags(seeing, EvaluationProtocol, flags={"cascade_pixels": "--cfr-pixels"}, leave_out=[*own, *IN_WORDS])
    add_record_flags(seeing, ZoomIn, prefix="zoom_", defaults="default: the network's own", leave_out=["target_size"])
    cascade = seeing.add_mutually_exclusive_group()
    cascade.add_argument("--cfr", type=int, default=0, metavar="N", help="refine the answer to a click N times (CFR-N)")
    cascade.add_argument(
        "--a-cfr", type=int, metavar="N", help="at most N times, as long as the mask changes (A-CFR-N)"
    )
    seeing.add_argument(
        "--cfr-clicks", choices=["first", "all"], help="clicks that are refined (default: official first, clean all)"
    )
    playing = command.add_argument_group("how objects are played and counted")
    add_record_flags(playing, EvaluationProtocol, leave_out=[*SEEING, *IN_WORDS])
    playing.add_argument(
        "--initial-masks",
        nargs="?",
        const="sp",
        choices=["sp", "stm"],
        help="start from the masks that the dataset brings (DAVIS585: sp or stm; default sp); without it: from nothing",
    )


def protocol_fields(options: argparse.Namespace) -> dict[str, Any]:
    """Field of `EvaluationProtocol` -> value, of those that the command line sets; the zoom-in rule is left to others.

    Raises:
        ValueError: flags that make no sense together.
    """
    given = given_fields(EvaluationProtocol, options)
    if given.pop("initial_masks", None):  # which ones is the reader's business
        given["initial_masks"] = True
    if options.cfr or options.a_cfr:
        given |= {"cascade": options.a_cfr or options.cfr, "cascade_adaptive": options.a_cfr is not None}
    if options.cfr_clicks:
        if "cascade" not in given:
            raise ValueError("--cfr-clicks says which clicks are refined: give --cfr N or --a-cfr N as well")
        given["cascade_once"] = options.cfr_clicks == "first"
    return given


def run_evaluate(options: argparse.Namespace) -> int:
    """Loads, plays, writes; the same command continues a broken run."""
    from clicklab.api import evaluate
    from clicklab.evaluation.results import table

    protocol = protocol_fields(options)
    count = worst_count(options.pictures) if options.pictures else 0
    # masks to start from are the dialogues' own where some are replayed
    data = open_data(options.data, None if options.clicks else options.initial_masks)
    device = find_device(options.device)
    network = open_network(options, device)
    if rule := given_fields(ZoomIn, options, prefix="zoom_"):
        protocol["zoom_in"] = replace(network.zoom_in or ZoomIn(), **rule)
    results = evaluate(
        network,
        data,
        output=options.output,
        limit=options.limit,
        batch_size=options.batch_size,
        device=device,
        progress=True,
        compiled=options.compile,
        source=" ".join([str(options.checkpoint), *options.network_option]),
        clicks=options.clicks,
        **protocol,
    )
    print(table(results))
    print(f"written: {options.output}/results.json")
    if count:
        sheets = save_worst(options.output, count, network, options.data, device)
        print(f"written: {options.output}/pictures: {len(sheets)} sheets")
    return 0 if all(record["objects"] for record in results["datasets"].values()) else 1


def open_data(given: Sequence[str], initial_masks: str | None) -> dict[str, Any]:
    """Name -> dataset, with the masks to start from where some are asked for. Raises ValueError, FileNotFoundError."""
    from data_modules.datasets import open_dataset
    from data_modules.tools.dataset_spec import dataset_spec

    words = [dataset_spec(text) for text in given]
    names = [name for name, *_ in words]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"--data: {twice[0]} is given twice; measure the folders one by one, into an --output each")
    starts = {name: with_initial_masks(name, initial_masks) if initial_masks else {} for name in names}
    return {name: open_dataset(name, folder, **reading | starts[name]) for name, folder, reading in words}


def with_initial_masks(name: str, kind: str) -> dict[str, str]:
    """The reader's option for the masks that a dataset brings. Raises ValueError for one that brings none."""
    from data_modules.datasets import options_of

    if "initial" not in options_of(name):
        raise ValueError(
            f"--initial-masks: {name} brings no masks to start from; leave it out, or make some with --perturb-iou 0.8"
        )
    return {"initial": kind}
