"""`clicklab data`: look at datasets, build them, convert them."""

from __future__ import annotations

import argparse

from data_modules.tools.arguments import READER_OPTIONS, add_actions

__all__ = ["READER_OPTIONS", "add_data"]


def add_data(commands: argparse._SubParsersAction) -> None:
    """`data ...`: what the data modules offer."""
    command = commands.add_parser("data", description="Look at datasets, build and convert them.")
    add_actions(command.add_subparsers(required=True, metavar="ACTION"))
