"""What other tools put around a network's weights, taken off: containers, prefixes of keys, averages."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Under which names tools store the weights; an average of them, where there is one, is what its authors measured.
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "params_ema")
CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "module", "weights", "params")
PREFIXES = ("module.", "_orig_mod.", "model.", "network.")  # DDP, torch.compile, Lightning modules
COUNTERS = ("n_averaged",)  # of `torch.optim.swa_utils.AveragedModel`


def find_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint, whatever lies around them; empty where there are none.

    Raises:
        ValueError: keys that are not text, or tensors other than dense real ones.
    """
    inside: Mapping[str, Any] = checkpoint
    for _ in range(3):  # {"model": {"state_dict": ...}}
        name = next((name for name in (*AVERAGES, *CONTAINERS) if _holds_weights(inside.get(name))), None)
        if name is None:
            break
        if name in AVERAGES and any(_holds_weights(inside.get(other)) for other in CONTAINERS):
            warnings.warn(
                f"the file holds weights and their moving average: {name}, the average, is read", stacklevel=3
            )
        inside = inside[name]
    found = {key: value for key, value in inside.items() if isinstance(value, Tensor)}
    return without_wrappers(plain_weights(found))


def _holds_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(part, (Tensor, Mapping)) for part in value.values())


def without_wrappers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The keys as the network itself has them."""
    bare = {key.replace("_orig_mod.", ""): value for key, value in weights.items()}
    while prefix := next((prefix for prefix in PREFIXES if _all_begin(bare, prefix)), None):
        bare = {key.removeprefix(prefix): value for key, value in bare.items() if key not in COUNTERS}
    return bare


def _all_begin(weights: Mapping[str, Tensor], prefix: str) -> bool:
    keys = [key for key in weights if key not in COUNTERS]
    return bool(keys) and all(key.startswith(prefix) for key in keys)


def plain_weights(weights: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The same, known to be ordinary tensors under text.

    Raises:
        ValueError: a key that is not text, or a value that is not a dense real tensor; the message names it.
    """
    for key, value in weights.items():
        if not isinstance(key, str):
            raise ValueError(f"a key of its weights is a {type(key).__name__}, not text: save a network's state_dict")
        if fault := _fault(value):
            raise ValueError(f"{key[:60]!r} is {fault}; a network wants ordinary tensors: save its state_dict again")
    return dict(weights)


def _fault(value: Any) -> str | None:
    """What is not ordinary about a tensor."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    if value.is_meta:
        return "a meta tensor, which has no values"
    if value.is_quantized:
        return "a quantized tensor"
    if value.is_nested or value.layout != torch.strided:
        return "a sparse or nested tensor"
    if value.is_complex():
        return "a complex tensor"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"a tensor of {value.numel()} numbers of which the file holds fewer"
    return None
