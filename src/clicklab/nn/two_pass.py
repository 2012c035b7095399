"""The contract of networks with two passes: a coarse mask of a small view, then a closer look at what changed."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from torch import Tensor

from clicklab.nn.network import ClickNetwork
from clicklab.records import Clicks, Prediction


class Refinement(NamedTuple):
    """What the refiner says of focus views (B, 3, H, W).

    Attributes:
        logits: (B, 1, H, W) the refined mask.
        edge: (B, 1, H, W) logits of being near an edge that the coarse view cannot show.
        coarse: (B, 1, H, W) the coarse logits of the same crop.
    """

    logits: Tensor
    edge: Tensor
    coarse: Tensor


class TwoPassNetwork(ClickNetwork):
    """A `ClickNetwork` whose `start` and `step` give the coarse mask, and `refine` the second pass.

    Attributes:
        image_size: side in pixels of the coarse and of the focus view.
    """

    flip = False  # two passes have no mirrored view
    mask_threshold = 0.5
    second_stage = True
    predictor = "clicklab.inference.focus_predictor.FocusPredictor"
    image_size: int

    @abstractmethod
    def refine(self, image: Tensor, clicks: Clicks, coarse: Prediction, boxes: Tensor) -> Refinement:
        """The mask anew inside one box of each coarse view.

        Args:
            image: (B, 3, h, w) RGB in [0, 1], the focus views: the boxes cut out of the full images.
            clicks: B samples, pixels of the focus views.
            coarse: what `step` gave for B views.
            boxes: (B, 4) float32 x0, y0, x1, y1 in pixels of the coarse view, ends outside.
        """
        raise NotImplementedError
