"""Reading other people's checkpoint files without running their code, and renaming their keys by a table."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

KeyTable = Sequence[
    tuple[str, str | None]
]  # (pattern of a whole key, our name with \1 for groups, or None: known and dropped)
PREFIX = "network."  # of the network's keys in the state of a LightningModule


class Opaque:
    """Stands for a pickled object that official files carry along and nothing here needs."""


_LOSS = "isegm.model.modeling.transformer_helper.cross_entropy_loss"
# Python objects inside official files (docs/models.md#checkpoint-files), and what is put in their
# place; any other is refused.
STAND_INS: dict[str, Any] = {
    f"{_LOSS}.CrossEntropyLoss": Opaque,
    f"{_LOSS}.cross_entropy": Opaque,
    "easydict.EasyDict": OrderedDict,  # PiClick's settings; only exact dictionary types may be filled while reading
}


def read_foreign(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint, old or new file format, as plain values and CPU tensors; code inside the file never runs.

    Raises:
        FileNotFoundError: no file there.
        PermissionError: the file may not be read.
        ValueError: not a checkpoint, or one that holds unknown Python objects.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    if path.is_dir():
        raise ValueError(f"{path}: a folder, give the checkpoint file inside it")
    stand_ins: list[Any] = [(stand_in, name) for name, stand_in in STAND_INS.items()]
    try:
        with torch.serialization.safe_globals(stand_ins):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ValueError(f"{path}: {_reason(error)}") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path}: holds a {type(checkpoint).__name__}, a checkpoint is a dictionary")
    return checkpoint


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, pickle.UnpicklingError) else ""
    if found := re.search(r"GLOBAL ([\w.]+)", text):
        return f"refused: it holds the Python object {found[1]}, and reading that could run code"
    if "persistent_load" in text:  # a class with its source text, as PyTorch before 1.6 stored modules
        return "refused: a Python class is stored in it the way of PyTorch before 1.6; save it again with a newer one"
    return f"not a PyTorch checkpoint, or a damaged one ({type(error).__name__})"


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
        raise ValueError(f"{len(unknown)} unknown keys: {_some(unknown)}")
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
    """Number of the layers whose keys begin with `prefix`."""
    return 1 + max(int(key.removeprefix(prefix).split(".")[0]) for key in weights if key.startswith(prefix))


def recorded_settings(checkpoint: Mapping[str, Any], method: str, released: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments of the official model that the file records; {} where it records none.

    Args:
        checkpoint: the official file.
        method: printed name.
        released: settings that every released model has; with others the network would be another one.

    Raises:
        ValueError: another value of `released` is recorded.
    """
    params = (checkpoint.get("config") or {}).get("params") or {}
    settings = {name: entry["value"] for name, entry in params.items()}
    for name, value in released.items():
        if settings.get(name, value) != value:
            raise ValueError(
                f"made with {name}={settings[name]}, which no released {method} has and ClickLab cannot run"
            )
    return settings


def _some(keys: Sequence[str], limit: int = 20) -> str:
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more
