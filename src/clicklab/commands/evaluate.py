"""`clicklab evaluate`: the NoC of a checkpoint on datasets given by their folders."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clicklab.commands.data import READER_OPTIONS
from clicklab.commands.devices import find_device


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """`evaluate CHECKPOINT --data NAME=FOLDER ...`."""
    command = commands.add_parser("evaluate", description="Measures the NoC of a checkpoint on datasets.")
    command.add_argument(
        "checkpoint",
        type=Path,
        help="a training checkpoint, a converted file, an official .pth, or `clicklite`, the network that comes along",
    )
    command.add_argument(
        "--data", action="append", required=True, metavar="NAME=FOLDER", help=f"may be repeated; {READER_OPTIONS}"
    )
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="results.json, table, curve, journal"
    )
    command.add_argument("--method", help="read the checkpoint as this method's: `vtmr` takes FocalClick's files")
    command.add_argument("--max-clicks", type=int, default=20, help="clicks per object (default %(default)s)")
    command.add_argument("--limit", type=int, help="only the first objects of each dataset")
    command.add_argument("--batch-size", type=int, default=8, help="objects in lockstep (default %(default)s)")
    command.add_argument("--thresholds", type=float, nargs="+", default=[0.85, 0.90, 0.95], help="IoUs of NoC and NoF")
    command.add_argument(
        "--target-iou", type=float, help="stop an object at this IoU (default: highest threshold); 1.01: never"
    )
    command.add_argument(
        "--mask-threshold", type=float, help="probability of the mask (default: what the network asks for, mostly 0.49)"
    )
    command.add_argument(
        "--zoom-size", type=int, nargs="+", metavar="PIXELS", help="one: longer side, two: height width"
    )
    command.add_argument("--no-flip", action="store_true", help="do not average with the mirrored view")
    command.add_argument("--boundary-iou", action="store_true", help="measure BIoU@k as well")
    add_starts(command)
    command.add_argument(
        "--preset", choices=["official", "clean"], default="official", help="keep or drop official quirks"
    )
    command.add_argument(
        "--choice",
        choices=["both", "automatic", "oracle"],
        default="both",
        help="of several candidates take the best by score, or by the ground truth (default: both)",
    )
    cascade = command.add_mutually_exclusive_group()
    cascade.add_argument("--cfr", type=int, default=0, metavar="N", help="refine the answer to a click N times (CFR-N)")
    cascade.add_argument(
        "--a-cfr", type=int, metavar="N", help="at most N times, as long as the mask changes (A-CFR-N)"
    )
    command.add_argument("--cfr-pixels", type=int, default=20, help="A-CFR: what is no change (default %(default)s)")
    command.add_argument(
        "--cfr-clicks", choices=["first", "all"], help="clicks that are refined (default: official first, clean all)"
    )
    command.add_argument(
        "--precision",
        choices=["32-true", "bf16-mixed", "16-mixed"],
        default="32-true",
        help="of the network (%(default)s)",
    )
    command.add_argument("--compile", action="store_true", help="torch.compile: for long runs on a GPU")
    command.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    command.set_defaults(run=run_evaluate)


def add_starts(command: argparse.ArgumentParser) -> None:
    """What a dialogue starts from."""
    starts = command.add_mutually_exclusive_group()
    starts.add_argument(
        "--initial-masks",
        nargs="?",
        const="sp",
        choices=["sp", "stm"],
        help="start from the masks that the dataset brings (DAVIS585: sp or stm; default sp); without it: from nothing",
    )
    starts.add_argument("--perturb-iou", type=float, metavar="IOU", help="start from the target spoilt to this IoU")
    command.add_argument("--repeats", type=int, default=10, help="with --perturb-iou: runs per object (%(default)s)")


def run_evaluate(options: argparse.Namespace) -> int:
    """Loads, plays, writes; the same command continues a broken run."""
    from clicklab.api import evaluate
    from clicklab.checkpoint import load
    from clicklab.evaluation.results import table

    data = open_data(options.data, options.initial_masks)
    device = find_device(options.device)
    protocol = {"max_clicks": options.max_clicks, "thresholds": tuple(options.thresholds), "preset": options.preset}
    protocol |= {"mask_threshold": options.mask_threshold, "flip": False if options.no_flip else None}
    protocol |= {"boundary_iou": options.boundary_iou, "target_iou": options.target_iou, "choice": options.choice}
    protocol |= {"cascade": options.a_cfr or options.cfr, "cascade_adaptive": options.a_cfr is not None}
    protocol |= {"cascade_pixels": options.cfr_pixels, "precision": options.precision}
    protocol |= {"perturb_iou": options.perturb_iou, "repeats": options.repeats}
    if options.initial_masks:
        protocol["initial_masks"] = True
    if options.cfr_clicks:
        if not protocol["cascade"]:
            raise ValueError("--cfr-clicks says which clicks are refined: give --cfr N or --a-cfr N as well")
        protocol["cascade_once"] = options.cfr_clicks == "first"
    if options.zoom_size:
        protocol["zoom_size"] = options.zoom_size[0] if len(options.zoom_size) == 1 else tuple(options.zoom_size)
    results = evaluate(
        load(options.checkpoint, device, options.method),
        data,
        output=options.output,
        limit=options.limit,
        batch_size=options.batch_size,
        device=device,
        progress=True,
        compiled=options.compile,
        source=str(options.checkpoint),
        **protocol,
    )
    print(table(results))
    print(f"written: {options.output}/results.json")
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
