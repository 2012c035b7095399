"""Peers: what is measured and used beside the methods, but not trained here.

* `opencv-grabcut`, `random-walker`: classical algorithms, driven by the same clicks (`grabcut`, `random_walker`),
* `sam:NAME`: the SAM family through the `transformers` library (`sam`); NAME is a folder, an official `.pth` of SAM, or
  a name on the Hugging Face Hub.

`clicklab.loading.load` opens them by name, wherever a checkpoint is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from clicklab.nn.network import ClickNetwork

# name -> class; imported when it is asked for, as each needs a library of its own
CLASSICAL: dict[str, str] = {
    "opencv-grabcut": "clicklab.peers.grabcut:GrabCut",
    "random-walker": "clicklab.peers.random_walker:RandomWalker",
}
SAM = "sam:"  # stands before the name of a model of the SAM family


def is_peer(name: str) -> bool:
    """Whether a name means a peer, not a file."""
    return name in CLASSICAL or name.startswith(SAM)


def open_peer(name: str, **options: Any) -> ClickNetwork:
    """The network of a peer.

    Args:
        name: one for which `is_peer` is true.
        options: arguments of its constructor, e.g. `radius=8` of `opencv-grabcut`.

    Raises:
        ValueError: an unknown option, a missing library, or weights that cannot be had; the message says what to do.
    """
    if name.startswith(SAM):
        from clicklab.peers.open_sam import open_sam

        return open_sam(name.removeprefix(SAM), **options)
    module, _, kind = CLASSICAL[name].partition(":")
    try:
        return getattr(import_module(module), kind)(**options)
    except TypeError as error:  # an argument that does not exist
        raise ValueError(f"{name}: {str(error).partition(' ')[2] or error}") from error
