"""`clicklab demo`: train, measure and draw a small network on generated shapes."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_demo(commands: argparse._SubParsersAction) -> None:
    """`demo`: what `make demo` runs."""
    command = commands.add_parser(
        "demo", description="Trains a small network on generated shapes, measures it and draws what it does."
    )
    command.add_argument("--output", type=Path, default=Path("runs/demo"), metavar="DIR")
    command.add_argument("--steps", type=int, default=850, help="training steps (default %(default)s)")
    command.set_defaults(run=run_demo)


def run_demo(options: argparse.Namespace) -> int:
    """Everything from nothing, on the CPU, in minutes."""
    from clicklab.commands.shapes_demo import demo

    demo(options.output, steps=options.steps)
    return 0
