"""From a file to a network: our training checkpoints, converted files and official releases alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from clicklab.device import usable_device
from clicklab.external_checkpoint import PREFIX, fill, read_foreign
from clicklab.methods import METHODS, method_package


def load(path: str | Path, device: str | torch.device = "cpu", method: str | None = None) -> nn.Module:
    """The network of a checkpoint, in eval mode.

    Args:
        path: a file of a training run, of `clicklab convert`, or an official release of a known method.
        device: where to put it.
        method: reads the file as this method's. Only where two share their parameters: VTMR takes FocalClick's files.

    Raises:
        FileNotFoundError: no file there.
        ValueError: no such device; or not a checkpoint, unsafe, of no known method, or with keys that do not fit; the
            message says which.
    """
    device = usable_device(device)
    return read_network(path, method)[1].to(device).eval()


def convert(official: str | Path, out: str | Path) -> None:
    """Writes the network of any checkpoint that `load` opens as a plain file of ours: tensors and plain values only.

    Raises:
        FileNotFoundError, ValueError: as `load`; also when both paths are the same file, or `out` is a folder.
    """
    official, out = Path(official), Path(out)
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name the file to write")
    if official.resolve() == out.resolve():
        raise ValueError(f"{out}: give another file to write than the one to read")
    name, network = read_network(official)
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "clicklab_method": name,
        "hyper_parameters": {"variant": None, "network_options": network.arguments},
        "state_dict": {PREFIX + key: value for key, value in network.state_dict().items()},
    }
    with out.open("wb") as file:  # torch's own error for a place that cannot be written names no file
        torch.save(content, file)


def read_network(path: str | Path, method: str | None = None) -> tuple[str, nn.Module]:
    """Name of the method and network of a checkpoint; raises as `load`."""
    checkpoint = read_foreign(path)
    try:
        if "clicklab_method" in checkpoint:
            name = method or checkpoint["clicklab_method"]
            return name, _ours(checkpoint, name)
        return _official(checkpoint) if method is None else (method, method_package(method).from_official(checkpoint))
    except (ValueError, TypeError) as error:  # TypeError: the settings of another method
        own = checkpoint.get("clicklab_method", method)
        read_as = "" if method in (None, own) else f"a checkpoint of {own}, read as one of {method}: "
        raise ValueError(f"{path}: {read_as}{error}") from error


def _ours(checkpoint: dict[str, Any], method: str) -> nn.Module:
    missing = [key for key in ("hyper_parameters", "state_dict") if key not in checkpoint]
    if missing:
        raise ValueError(f"a ClickLab checkpoint with no {' and no '.join(missing)}")
    settings, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    options = settings.get("network_options") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(options, (dict, type(None))):
        raise ValueError("its hyper_parameters are not those of a ClickLab checkpoint")
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError("its state_dict holds something else than tensors")
    network = method_package(method).build(settings)
    fill(network, {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)})
    return network


def _official(checkpoint: dict[str, Any]) -> tuple[str, nn.Module]:
    weights = checkpoint.get("state_dict")
    if isinstance(weights, dict):
        for name in METHODS:
            package = method_package(name)
            if package.matches(weights):
                return name, package.from_official(checkpoint)
    if "patch_embed.proj.weight" in (checkpoint.get("model") or weights or checkpoint):
        raise ValueError(
            "holds a pre-trained ViT backbone only, not an interactive model; "
            "it is something to start training from: set `pretrained` to this file"
        )
    found = ", ".join(map(str, list(weights if isinstance(weights, dict) else checkpoint)[:8]))
    raise ValueError(f"of no known method ({', '.join(METHODS)}); its keys begin with: {found}")
