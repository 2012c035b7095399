"""The weights of image classification or pre-training that a run starts from."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from clicklab.external_checkpoint.read import read_foreign
from clicklab.external_checkpoint.wrappers import find_weights

# Layers that read clicks: only interactive networks have them.
INTERACTIVE = ("patch_embed_coords.", "maps_transform.", "feature_extractor.", "normalization.")


def read_backbone(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file that `pretrained` names, wrappers taken off.

    Raises:
        FileNotFoundError: no file there.
        ValueError: no checkpoint, or that of a whole interactive network.
    """
    checkpoint = read_foreign(path)
    try:
        weights = find_weights(checkpoint)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if "clicklab_method" in checkpoint or any(key.startswith(INTERACTIVE) for key in weights):
        raise ValueError(
            f"{path}: a whole interactive network, and `pretrained` wants a backbone. "
            f"To fine-tune from it: make train-METHOD VARIANT=finetune FROM={path}"
        )
    return weights
