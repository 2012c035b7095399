"""Arguments of commands that say which network to use."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from clicklab.commands.network_options import add_network_options, network_options

if TYPE_CHECKING:
    from clicklab.nn.network import ClickNetwork

PEERS = "opencv-grabcut, random-walker, sam:facebook/sam2.1-hiera-tiny"


def add_network(command: argparse.ArgumentParser) -> None:
    """`CHECKPOINT [--method M] [--network-option NAME=VALUE ...]`."""
    command.add_argument(
        "checkpoint",
        help="a training checkpoint, a converted file or an official .pth; `clicklite`, the network that comes along; "
        f"a peer ({PEERS}); or a network of your own: mypackage.module:factory",
    )
    command.add_argument("--method", help="read the checkpoint as this method's: `vtmr` takes FocalClick's files")
    add_network_options(command)


def open_network(options: argparse.Namespace, device: Any) -> ClickNetwork:
    """The network that the arguments of `add_network` name. Raises as `clicklab.load`."""
    from clicklab.loading import load

    return load(options.checkpoint, device, options.method, network_options(options.network_option))
