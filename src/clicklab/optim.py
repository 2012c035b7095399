"""Parameter groups and schedules for the optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from clicklab.nn.vit import VisionTransformer


def layer_decay_groups(
    network: nn.Module, learning_rate: float, decay: float = 0.75, weight_decay: float = 0.02
) -> list[dict[str, Any]]:
    """Layer-wise learning-rate decay for a network whose `backbone` is a plain ViT.

    Patch and position embedding get `learning_rate * decay ** (depth + 1)`, block i (from 0) `decay ** (depth - i)`,
    everything outside the backbone the full rate. Biases, norms and positions of the backbone have no weight decay.

    The official code (SimpleClick and PiClick, `--layerwise-decay`) forgets `patch_embed_coords`, so that the layer
    that reads the clicks is never trained; here it is, like every other layer outside the backbone.

    Args:
        network: has `backbone: VisionTransformer`.
        learning_rate: of the last layers.
        decay: 0.75 in the official code.
        weight_decay: 0.02 in the official code.

    Returns:
        Groups with `params`, `lr`, `weight_decay` and `name`, together every trainable parameter once.
    """
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, VisionTransformer):
        raise ValueError(
            f"layer-wise decay wants a network with a plain ViT as `backbone`, not {type(network).__name__}"
        )
    last = len(backbone.blocks) + 1
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(_layer_and_decay(name, parameter, last), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * decay ** (last - layer),
            "weight_decay": weight_decay if shrinks else 0.0,
            "name": f"layer {layer}{'' if shrinks else ', no weight decay'}",
        }
        for (layer, shrinks), parameters in groups.items()
    ]


def _layer_and_decay(name: str, parameter: nn.Parameter, last: int) -> tuple[int, bool]:
    """Depth of a parameter, 0 for the embeddings to `last` outside the backbone, and whether it has weight decay."""
    inside = name.removeprefix("backbone.")
    if inside == name:
        return last, True  # the official code spares no bias or norm outside the backbone
    layer = int(inside.split(".")[1]) + 1 if inside.startswith("blocks.") else 0
    return layer, parameter.ndim > 1 and inside != "pos_embed"


def scaled_groups(network: nn.Module, learning_rate: float, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Parts of a network that learn at another rate; where parts lie inside each other, the innermost counts.

    Args:
        network: any.
        learning_rate: of everything that is in no part.
        factors: name of a part, as in `named_modules` -> what its learning rate is multiplied by.

    Returns:
        One group per learning rate, with `params`, `lr` and `name`, together every trainable parameter once.

    Raises:
        ValueError: the network has no part of a name.
    """
    parts = dict(network.named_modules())
    unknown = [part for part in factors if part not in parts]
    if unknown:
        raise ValueError(f"{type(network).__name__} has no part {', '.join(unknown)}")
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            holding = [part for part in factors if name.startswith(f"{part}.")]
            factor = factors[max(holding, key=len)] if holding else 1.0
            groups.setdefault(factor, []).append(parameter)
    return [
        {"params": parameters, "lr": learning_rate * factor, "name": f"rate x {factor:g}"}
        for factor, parameters in groups.items()
    ]


def warmup_cosine(
    optimizer: torch.optim.Optimizer, warmup: int, total: int, first_rate: float
) -> torch.optim.lr_scheduler.LambdaLR:
    """Learning rates that grow linearly from `first_rate`, alike for all groups, to their own, then fall to 0.

    Args:
        optimizer: its groups hold the rates to reach.
        warmup: steps until they are reached; 0 begins with them.
        total: steps of the whole run; half a cosine fills those after the warm-up.
        first_rate: of the first step.

    Raises:
        ValueError: the warm-up is not shorter than the run.
    """
    if not 0 <= warmup < total:
        raise ValueError(f"a warm-up of {warmup} steps does not fit into a run of {total}")

    def factor(step: int, rate: float) -> float:
        if step < warmup:
            return (first_rate + (rate - first_rate) * step / warmup) / rate
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (total - warmup))))

    factors: list[Callable[[int], float]] = [partial(factor, rate=group["lr"]) for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
