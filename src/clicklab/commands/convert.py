"""`clicklab convert`: an official checkpoint becomes a plain file of ours."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_convert(commands: argparse._SubParsersAction) -> None:
    """`convert OFFICIAL OUT`."""
    command = commands.add_parser("convert", description="Writes an official checkpoint as a plain file of ours.")
    command.add_argument("official", type=Path, help="a released file, or any checkpoint that `clicklab.load` opens")
    command.add_argument("out", type=Path, help="the file to write; NAME.safetensors is written in that format")
    command.add_argument("--half", action="store_true", help="round the weights to 16 bits, for half the size")
    command.set_defaults(run=run_convert)


def run_convert(options: argparse.Namespace) -> int:
    """Reads safely, writes a file that `clicklab.load` opens."""
    from clicklab.checkpoint import convert

    convert(options.official, options.out, options.half)
    print(f"written: {options.out}")
    return 0
