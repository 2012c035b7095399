"""VTMR: variance-insensitive and target-preserving mask refinement (no public code; docs/methods/vtmr.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from clicklab.external_checkpoint import PREFIX, fill, find_weights, plain_weights, read_foreign
from clicklab.nn.coarse_to_fine import CoarseToFine
from clicklab.nn.coarse_to_fine_keys import is_official, read_official
from clicklab.views.zoom_warp import TargetZoom


class VTMRNet(CoarseToFine):
    """FocalClick's network, parameter by parameter, with a late second look through a target-aware zoom.

    Args:
        backbone: `b0` and `b3` in the paper; whatever `CoarseToFine` knows.
        image_size: side in pixels of training crops, and of all views in evaluation.
        halve: the coarse segmentor sees its view at half the size (FocalClick's S1); not in the paper.
        click_radius: of the discs in the coarse view.
        sigma: of the zoom, in pixels of a view of 256 (paper: 11, without a unit); None: no second look.
        guided_by: what the zoom goes by (paper, Table 6): the `mask`, the `clicks`, or `both`.
    """

    predictor = "clicklab.methods.vtmr.predictor.VTMRPredictor"

    def __init__(
        self,
        backbone: str = "b0",
        image_size: int = 256,
        halve: bool = False,
        click_radius: float = 5.0,
        sigma: float | None = 11.0,
        guided_by: Literal["mask", "clicks", "both"] = "both",
    ) -> None:
        super().__init__(backbone, image_size, halve, click_radius)
        self.target_zoom = None if sigma is None else TargetZoom(image_size, sigma, guided_by=guided_by)

    def load_pretrained(self, source: str | Path) -> None:
        """Fills the backbone from image classification, or everything from a FocalClick or VTMR checkpoint.

        Args:
            source: as in `CoarseToFine.load_pretrained`, or the path of a checkpoint, official or ours.
        """
        weights = None if source == "imagenet" else whole_network(read_foreign(source))
        if weights is None:
            super().load_pretrained(source)
        else:
            fill(self, weights)


def whole_network(checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The weights of a checkpoint of a whole network by our names; None for any other file."""
    if "clicklab_method" in checkpoint:
        state = checkpoint.get("state_dict")
        own = plain_weights(state) if isinstance(state, dict) else {}
        return {key.removeprefix(PREFIX): value for key, value in own.items() if key.startswith(PREFIX)}
    weights = find_weights(checkpoint)
    if not is_official(weights):
        return None
    return read_official({"state_dict": weights, "config": checkpoint.get("config")})[1]
