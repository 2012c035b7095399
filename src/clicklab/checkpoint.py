"""From a file to a network: our training checkpoints, converted files and official releases alike."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from clicklab.device import usable_device
from clicklab.export.onnx_network import OPTIONS
from clicklab.export.onnx_stages import open_exported
from clicklab.external_checkpoint import (
    PREFIX,
    fill,
    find_weights,
    no_larger_than,
    plain_weights,
    read_foreign,
)
from clicklab.methods import METHODS, method_package, official_method
from clicklab.nn.network import ClickNetwork
from clicklab.nn.variants import check_options
from clicklab.shipped import checkpoint_path
from clicklab.whole_file import written_whole

HUB = "hf:"  # before owner/name of a folder on the Hugging Face hub
WEIGHTS = "model.safetensors"  # in a folder of `clicklab.save`


def load(
    path: str | Path | None = None,
    device: str | torch.device = "cpu",
    method: str | None = None,
    network_options: Mapping[str, Any] | None = None,
    ema: bool | None = None,
) -> ClickNetwork:
    """The network of a checkpoint, in eval mode.

    Args:
        path: a file of a training run, of `clicklab convert`, or an official release of a known method, as its authors
            or other tools stored it; the folder of a run means its last checkpoint. None, or the name `clicklite`: the
            network that comes with ClickLab. Also a folder of `clicklab export` (it runs in onnxruntime), one of
            `clicklab.save`, or `hf:owner/name` for such a folder on the Hugging Face hub.
        device: where to put it.
        method: reads the file as this method's. Only where two share their parameters: VTMR takes FocalClick's files.
        network_options: arguments of the network's constructor that need no other weights, in place of the file's,
            e.g. `{"score_rule": "iou"}` of PiClick or `{"sigma": 22.0}` of VTMR.
        ema: of a run that averaged its weights (`experiments/_base/ema.yaml`): True the average, False the weights of
            the last step. None takes the average where there is one, which is what the run measured.

    Raises:
        FileNotFoundError: no file there.
        ValueError: no such device or option; an average is asked for where there is none; or not a checkpoint, unsafe,
            of no known method, or with keys that do not fit; the message says which.
    """
    device = usable_device(device)
    place = hub_folder(str(path)) if str(path).startswith(HUB) else checkpoint_path(path)
    if (place / OPTIONS).is_file():
        if method or network_options or ema is not None:
            raise ValueError(f"{place} holds exported graphs, which take neither another method nor other options")
        return open_exported(place).to(device).eval()
    _, network = read_network(place / WEIGHTS if (place / WEIGHTS).is_file() else place, method, ema)
    if network_options:
        network = with_options(network, network_options)
    return network.to(device).eval()


def hub_folder(name: str) -> Path:
    """The local copy of a folder on the Hugging Face hub; fetched where it is not there yet.

    Args:
        name: `hf:owner/name`.

    Raises:
        ValueError: huggingface_hub is not installed, or the folder cannot be fetched.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise ValueError(f"{name}: pip install huggingface_hub first, or name a local folder") from error
    allowed = ["*.safetensors", "*.json", "*.onnx", "README.md"]
    try:
        return Path(snapshot_download(name.removeprefix(HUB), allow_patterns=allowed))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(f"{name} cannot be fetched ({_short(error)}): check the name and the connection") from error


def with_options(network: ClickNetwork, options: Mapping[str, Any]) -> ClickNetwork:
    """The same weights in a network with other constructor arguments.

    Raises:
        ValueError: an argument that does not exist, or one that wants other weights.
    """
    kind = type(network)
    check_options(kind, options)
    try:
        with no_larger_than(network.state_dict(), options):
            other = kind(**{**network.arguments, **options})
        fill(other, network.state_dict())
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        raise ValueError(
            f"network option {given[:60]}: these weights were not trained with it ({_short(error)}); leave it out, or "
            "train with it"
        ) from error
    return other


def convert(official: str | Path, out: str | Path, half: bool = False) -> None:
    """Writes the network of any checkpoint that `load` opens as a plain file of ours: tensors and plain values only.

    Args:
        official: the file to read.
        out: the file to write, beside it first, so that a file of that name is replaced as a whole or not at all; with
            the suffix `.safetensors` in that format.
        half: round the weights to 16 bits, for half the size; `load` gives them back in 32.

    Raises:
        FileNotFoundError, ValueError: as `load`; also when both paths are the same file, or `out` is a folder.
        OSError: the file cannot be written; the message names it.
    """
    official, out = Path(official), Path(out)
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name the file to write")
    if official.resolve() == out.resolve():
        raise ValueError(f"{out}: give another file to write than the one to read")
    name, network = read_network(checkpoint_path(official))
    write_weights(name, network, out, half)


def write_weights(name: str, network: ClickNetwork, out: Path, half: bool = False) -> None:
    """Writes a network as a plain file, as `convert` does.

    Args:
        name: of its method.
        network: any of ours.
        out: the file; with the suffix `.safetensors` in that format.
        half: weights in 16 bits.
    """
    settings = {"variant": None, "network_options": network.arguments}
    weights = {PREFIX + key: value.contiguous() for key, value in network.state_dict().items()}
    if half:
        weights = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    with written_whole(out) as part:
        if out.suffix == ".safetensors":
            save_file(weights, part, {"clicklab_method": name, "hyper_parameters": json.dumps(settings)})
        else:
            torch.save({"clicklab_method": name, "hyper_parameters": settings, "state_dict": weights}, part)


def read_network(path: str | Path, method: str | None = None, ema: bool | None = None) -> tuple[str, ClickNetwork]:
    """Name of the method and network of a checkpoint; raises as `load`."""
    checkpoint = read_foreign(path)
    if ema is not None:
        checkpoint = _averaged(checkpoint, ema, path)
    own = checkpoint.get("clicklab_method")
    read_as = "" if method in (None, own) or own is None else f"a checkpoint of {own}, read as one of {method}: "
    with one_line_about(f"{path}: {read_as}"):
        if own is not None:
            name = method or str(own)
            return name, _ours(checkpoint, name)
        return _official(checkpoint, method)


def _averaged(checkpoint: dict[str, Any], ema: bool, path: str | Path) -> dict[str, Any]:
    """The checkpoint with the average or the last step as its weights. Raises ValueError where it has no average."""
    last_step = checkpoint.get("current_model_state")  # Lightning's name; the average is the state_dict then
    if ema and last_step is None:
        raise ValueError(f"{path}: its run kept no average of the weights (overlay ema.yaml); leave ema out")
    return checkpoint if ema or last_step is None else {**checkpoint, "state_dict": last_step}


@contextmanager
def one_line_about(place: str) -> Generator[None]:
    """Content that is not what a method stores ends in one error that names the file, wherever it came to light."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}{error}") from error
    except (TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise ValueError(
            f"{place}its content is not what this method stores ({_short(error)}): take a file as it was released"
        ) from error


def _short(error: Exception) -> str:
    """The beginning of an error's own text in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _ours(checkpoint: dict[str, Any], method: str) -> ClickNetwork:
    missing = [key for key in ("hyper_parameters", "state_dict") if key not in checkpoint]
    if missing:
        raise ValueError(f"a ClickLab checkpoint with no {' and no '.join(missing)}: take another one of the run")
    settings, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    options = settings.get("network_options") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(options, (dict, type(None))):
        raise ValueError("its hyper_parameters are not those of a ClickLab checkpoint: take another one of the run")
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError("its state_dict holds something else than tensors: take another checkpoint of the run")
    weights = {
        key.removeprefix(PREFIX).replace("_orig_mod.", ""): value
        for key, value in plain_weights(state).items()
        if key.startswith(PREFIX)
    }
    package = method_package(method)
    with no_larger_than(weights, options):
        network = package.build(settings)
    fill(network, weights)
    return network


def _official(checkpoint: dict[str, Any], method: str | None) -> tuple[str, ClickNetwork]:
    weights = find_weights(checkpoint)
    if any(key.startswith(("neck.levels.", "segmentor.")) for key in weights):
        raise ValueError(
            "weights of a ClickLab network without its settings: take the run's checkpoint, or what `clicklab convert` "
            "makes of it"
        )
    name = method or official_method(weights)
    if name is None:
        raise ValueError(_unknown(checkpoint, weights))
    package = method_package(name)
    if not hasattr(package, "from_official"):
        raise ValueError(f"no weights of {name} were released: take a checkpoint that ClickLab wrote")
    with no_larger_than(weights):
        network = package.from_official({"state_dict": weights, "config": checkpoint.get("config")})
    check_options(type(network), network.arguments)  # what the file records need not be of the right type
    return name, network


def _unknown(checkpoint: Mapping[str, Any], weights: Mapping[str, Any]) -> str:
    if "patch_embed.proj.weight" in weights:
        return (
            "holds a pre-trained ViT backbone only, not an interactive model; "
            "it is something to start training from: set `pretrained` to this file"
        )
    found = ", ".join(str(key)[:30] for key in list(weights or checkpoint)[:3])
    return f"of no known method ({', '.join(METHODS)}); its keys begin with: {found}"
