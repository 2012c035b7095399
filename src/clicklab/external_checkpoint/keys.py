"""Renaming the keys of an official file by a table, and filling a network from them, strictly."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

KeyTable = Sequence[
    tuple[str, str | None]
]  # (pattern of a whole key, our name with \1 for groups, or None: known and dropped)
PREFIX = "network."  # of the network's keys in the state of a LightningModule


def rename_keys(weights: Mapping[str, Tensor], table: KeyTable) -> dict[str, Tensor]:
    """Applies the first matching row of the table to every key; rows that say None drop theirs.

    Raises:
        ValueError: keys that no row knows; the message lists them.
    """
    renamed: dict[str, Tensor] = {}
    unknown = []
    for key, value in weights.items():
        row = next((row for row in table if re.fullmatch(row[0], key)), None)
        if row is None:
            unknown.append(key)
        elif row[1] is not None:
            renamed[re.sub(row[0], row[1], key)] = value
    if unknown:
        raise ValueError(f"{len(unknown)} unknown keys: {_some(unknown)}; is it the file of another network?")
    return renamed


def fill(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Loads strictly.

    Raises:
        ValueError: keys that miss or are too many, shapes that differ; the message lists them.
    """
    wanted = network.state_dict()
    faults = {
        "missing": sorted(wanted.keys() - weights.keys()),
        "unknown": sorted(weights.keys() - wanted.keys()),
        "of another shape": [
            f"{key} {list(weights[key].shape)} instead of {list(wanted[key].shape)}"
            for key in wanted.keys() & weights.keys()
            if weights[key].shape != wanted[key].shape
        ],
    }
    if any(faults.values()):
        told = "; ".join(f"{len(keys)} keys {what}: {_some(keys)}" for what, keys in faults.items() if keys)
        raise ValueError(f"the weights do not fit {type(network).__name__}: {told}")
    network.load_state_dict(OrderedDict(weights))


def count_layers(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Number of the layers whose keys begin with `prefix`, as they count them: more than there are where some miss."""
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in weights if key.startswith(prefix))


def recorded_settings(checkpoint: Mapping[str, Any], method: str, released: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments of the official model that the file records; {} where it records none.

    Args:
        checkpoint: the official file.
        method: printed name.
        released: settings that every released model has; with others the network would be another one.

    Raises:
        ValueError: another value of `released` is recorded, or the settings are in no known form.
    """
    config = checkpoint.get("config") or {}
    params = (config.get("params") or {}) if isinstance(config, Mapping) else None
    if not isinstance(params, Mapping) or not all(isinstance(entry, Mapping) for entry in params.values()):
        raise ValueError("its `config` is not what official code stores: take it out, or save the file again")
    settings = {str(name): entry.get("value") for name, entry in params.items()}
    for name, value in released.items():
        if settings.get(name, value) != value:
            raise ValueError(
                f"made with {name}={str(settings[name])[:30]}, which no released {method} has and ClickLab cannot run"
            )
    return settings


def _some(keys: Sequence[str], limit: int = 2) -> str:
    """The first keys and how many more; keys of foreign files can be anything, so they are cut and kept in one line."""
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(key[:90] if key.isprintable() else ascii(key)[:90] for key in keys[:limit]) + more
