"""Parameter groups for the optimiser."""

from __future__ import annotations

from typing import Any

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
