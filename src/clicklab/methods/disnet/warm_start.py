"""Starting P from a trained PiClick, whose proposal network has the same layers.

Source: docs/methods/disnet.md#proposal-network-p.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from clicklab.external_checkpoint import fill, find_weights, plain_weights, read_foreign

PREFIX = "network."  # of the network's keys in a checkpoint of ours
# PiClick's target reasoning module has no counterpart, and of its mask decoder's nine layers the first are taken
SURPLUS = re.compile(r"(iou|onehot)_head\..*|mask_decoder\.layers\.\d+\..*")
DRAWN = "patch_embed_coords.proj.weight"  # reads previous mask, positive and negative clicks; here the positive alone


def piclick_weights(source: str | Path) -> dict[str, Tensor] | None:
    """Weights of a PiClick checkpoint of ours by their names; None where `source` is for the backbone alone.

    Raises:
        FileNotFoundError: no file at the path.
        ValueError: an official checkpoint, or one of another method.
    """
    if str(source) == "mae":
        return None
    checkpoint = read_foreign(source)
    method = checkpoint.get("clicklab_method")
    if method is None:
        if any(key.startswith("backbone.") for key in find_weights(checkpoint)):
            raise ValueError(
                f"{source}: an official checkpoint; make it one of ours first: clicklab convert {source} OUT"
            )
        return None
    if method != "piclick":
        raise ValueError(
            f"{source}: a checkpoint of {str(method)[:20]}; DISNet starts from one of piclick or from a MAE file. "
            f"To fine-tune a DISNet: make train-disnet VARIANT=finetune FROM={source}"
        )
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict):
        raise ValueError(f"{source}: a ClickLab checkpoint with no state_dict: take another one of the run")
    return {key.removeprefix(PREFIX): value for key, value in plain_weights(state).items() if key.startswith(PREFIX)}


def start_from(network: nn.Module, given: Mapping[str, Tensor]) -> None:
    """Fills a DISNet in place: all of P, and the layers of R that mean what layers of PiClick mean.

    Args:
        network: `DISNetNet`.
        given: what `piclick_weights` gave.

    Raises:
        ValueError: a PiClick of another size.
    """
    own = network.state_dict()
    weights = {key: value for key, value in given.items() if key in own or not SURPLUS.fullmatch(key)}
    drawn, signs = weights.pop(DRAWN, None), weights.pop("click_embed", None)
    if DRAWN not in own:
        weights.pop("patch_embed_coords.proj.bias", None)
    elif drawn is not None:
        weights[DRAWN] = drawn[:, 1:2]
    if signs is not None:  # of negative and of positive clicks
        weights |= {key: signs for key in own if key.endswith(".codes.sign")}
        weights |= {"click_embed": signs[1]} if "click_embed" in own else {}
    weights |= {key.replace("mask_decoder", "refinement"): weights[key] for key in given if ".mask_embed." in key}
    untouched = {key: value for key, value in own.items() if key.startswith("refinement.") or key == "click_embed"}
    fill(network, untouched | weights)
