"""The `clicklab` command. Training commands are Lightning's own CLI; the others are small parsers. Imports are lazy."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DATA = "options of its reader behind a question mark: 'Folder=/photos?kind=binary&ignore_value=255'"
TRAINING = {
    "fit": "train a method from experiments/*.yaml (LightningCLI)",
    "validate": "measure a training checkpoint on the validation sets of its configuration (LightningCLI)",
    "test": "measure a training checkpoint on the test sets of its configuration (LightningCLI)",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command; user errors end in one line and exit code 2 (CLICKLAB_DEBUG=1 shows the traceback)."""
    from data_modules.process_memory import keep_freed_memory

    arguments = sys.argv[1:] if argv is None else argv
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names need not be text: such bytes are printed as they are
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        if arguments and arguments[0] in TRAINING:
            from clicklab.train_command import train

            return train(arguments)
        options = build_parser(with_data=arguments[:1] == ["data"]).parse_args(arguments)
        return options.run(options)
    except (ValueError, OSError) as error:
        return in_one_line(error, "clicklab")
    except KeyboardInterrupt:
        print("\nclicklab: stopped; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130


def in_one_line(error: Exception, program: str) -> int:
    """Says what the user did wrong and returns exit code 2; raises the error again for CLICKLAB_DEBUG=1."""
    if os.environ.get("CLICKLAB_DEBUG"):
        raise error
    print(f"{program}: error: {error}", file=sys.stderr)
    return 2


def run_script(main: Callable[[], None]) -> int:
    """The exit code of a script (`benchmarks/`) whose mistakes end in one line too."""
    try:
        main()
    except (ValueError, OSError) as error:
        return in_one_line(error, Path(sys.argv[0]).name)
    return 0


def build_parser(with_data: bool = True) -> argparse.ArgumentParser:
    """The parser of the commands that need no trainer; `data` costs an import of torch: on demand."""
    parser = argparse.ArgumentParser(prog="clicklab", description="Train, compare and use click-based segmentation.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, text in TRAINING.items():
        commands.add_parser(name, help=text, add_help=False)
    add_evaluate(commands)
    add_convert(commands)
    add_data(commands, with_data)
    add_demo(commands)
    return parser


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """`evaluate CHECKPOINT --data NAME=FOLDER ...`."""
    command = commands.add_parser("evaluate", help="NoC of a checkpoint, ours or official, on datasets given by folder")
    command.add_argument("checkpoint", type=Path, help="a training checkpoint, a converted file or an official .pth")
    command.add_argument(
        "--data", action="append", required=True, metavar="NAME=FOLDER", help=f"may be repeated; {DATA}"
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
    from clicklab.evaluation.report import table

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
    from data_modules.dataset_words import dataset_words
    from data_modules.datasets import open_dataset

    words = [dataset_words(text) for text in given]
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


def find_device(name: str) -> str:
    """`auto` is the GPU where there is one. Raises ValueError for a device that this machine lacks."""
    import torch

    from clicklab.device import usable_device

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(usable_device(name, "--device"))


def add_convert(commands: argparse._SubParsersAction) -> None:
    """`convert OFFICIAL OUT`."""
    command = commands.add_parser("convert", help="an official checkpoint into our plain format (no foreign pickles)")
    command.add_argument("official", type=Path)
    command.add_argument("out", type=Path)
    command.set_defaults(run=run_convert)


def run_convert(options: argparse.Namespace) -> int:
    """Reads safely, writes a file that `clicklab.load` opens."""
    from clicklab.checkpoint import convert

    convert(options.official, options.out)
    print(f"written: {options.out}")
    return 0


def add_data(commands: argparse._SubParsersAction, with_actions: bool) -> None:
    """`data ...`: what the data modules offer."""
    command = commands.add_parser("data", help="look at datasets, build and convert them")
    if not with_actions:
        return
    from data_modules import build_coco_lvis, export_shapes, show

    data = command.add_subparsers(required=True, metavar="ACTION")
    for module in (show, export_shapes, build_coco_lvis):
        module.add_commands(data)
    check = data.add_parser("check", help="counts, broken files, what is missing and where it comes from")
    check.add_argument("dataset", metavar="NAME=FOLDER", help=DATA)
    check.set_defaults(run=run_check)


def run_check(options: argparse.Namespace) -> int:
    """Prints the report; exit code 1 where something is broken."""
    from data_modules.check import check
    from data_modules.dataset_words import dataset_words

    name, folder, reading = dataset_words(options.dataset)
    report = check(name, folder, **reading)
    print(report)
    return 0 if report.complete else 1


def add_demo(commands: argparse._SubParsersAction) -> None:
    """`demo`: what `make demo` runs."""
    command = commands.add_parser("demo", help="train a small network on generated shapes, measure and draw it")
    command.add_argument("--output", type=Path, default=Path("runs/demo"), metavar="DIR")
    command.add_argument("--steps", type=int, default=850, help="training steps (default %(default)s)")
    command.set_defaults(run=run_demo)


def run_demo(options: argparse.Namespace) -> int:
    """Everything from nothing, on the CPU, in minutes."""
    from clicklab.demo import demo

    demo(options.output, steps=options.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
