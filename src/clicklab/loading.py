"""From a name to a network: a checkpoint file, a peer, or a factory of the user's own. One function decides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

import clicklab.checkpoint
from clicklab.device import usable_device
from clicklab.nn.network import ClickNetwork, as_click_network
from clicklab.peers import CLASSICAL, SAM, is_peer, open_peer

FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")  # module:name, as entry points are written
NAMES = f"a file, {', '.join(CLASSICAL)}, {SAM}MODEL or mypackage.module:factory"


def load(
    path: str | Path | None = None,
    device: str | torch.device = "cpu",
    method: str | None = None,
    network_options: Mapping[str, Any] | None = None,
    ema: bool | None = None,
) -> ClickNetwork:
    """A network by name, in eval mode.

    Args:
        path: a checkpoint of ours or an official one (`clicklab.checkpoint.load`); a peer: `opencv-grabcut`,
            `random-walker`, `sam:MODEL` with a folder, an official `.pth` of SAM or a repository on the Hub; or
            `mypackage.module:factory`, a function or class that gives a torch module. None: the network that comes with
            ClickLab.
        device: where to put it.
        method: reads a file as this method's. Only where two share their parameters: VTMR takes FocalClick's files.
        network_options: arguments of the network's constructor, or of the factory.
        ema: of a run that averaged its weights: True the average, False the last step; None: the average if there is
            one.

    Raises:
        FileNotFoundError: no file there.
        ValueError: no such device or option; not a checkpoint; a peer whose library or weights are missing; a factory
            that cannot be imported or gives no network. The message says what to do.
    """
    text, options = str(path or ""), dict(network_options or {})
    peer, factory = is_peer(text), bool(FACTORY.fullmatch(text)) and not Path(text).exists()
    if not peer and not factory:
        return clicklab.checkpoint.load(path, device, method, network_options, ema)
    if method is not None:
        raise ValueError(f"{text}: a method is asked for ({method}), but only files of weights are read as a method's")
    if ema is not None:
        raise ValueError(f"{text}: ema chooses among the weights of a training run's checkpoint; leave it out here")
    network = open_peer(text, **options) if peer else _made_by_factory(text, options)
    return network.to(usable_device(device)).eval()


def _made_by_factory(name: str, options: Mapping[str, Any]) -> ClickNetwork:
    place, _, attribute = name.partition(":")
    try:
        module = import_module(place)
    except ImportError as error:
        raise ValueError(
            f"{name}: {place} cannot be imported ({error}); is it installed, or its folder on PYTHONPATH?"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        found = "has no" if factory is None else "has something else than a function or class as"
        raise ValueError(f"{name}: {place} {found} {attribute}")
    try:
        network = factory(**options)
    except TypeError as error:  # options that do not fit
        raise ValueError(f"{name}: the factory cannot be called with these options: {error}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{name}: gave a {type(network).__name__}, expected a torch module (docs/models.md)")
    return as_click_network(network)
