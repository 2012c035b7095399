"""`--network-option NAME=VALUE`: arguments of a network's constructor that need no other weights, or of a factory."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import yaml


def add_network_options(command: argparse.ArgumentParser) -> None:
    """The flag, which may be repeated."""
    command.add_argument(
        "--network-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the network, in place of the checkpoint's, e.g. score_rule=iou (PiClick); may be repeated",
    )


def network_options(given: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE words as a mapping; values are read as YAML, so that 3, 0.5, true, null and [1, 2] are what they say.

    Raises:
        ValueError: a word without a name or `=`, or a value that is not YAML.
    """
    found = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ValueError(f"--network-option {word}: expected NAME=VALUE, for example score_rule=iou")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--network-option {word}: {value!r} cannot be read as a value") from error
    return found
