"""What a dialogue knows at one moment: the image, the clicks, the masks answered, and where the network looked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from clicklab.inference.mask_prediction import MaskPrediction
from clicklab.inference.partial_mask import PartialMask, RegionMask
from clicklab.records import NEGATIVE, POSITIVE
from clicklab.views.boxes import Box
from clicklab.views.frames import Click, Size, View


@dataclass(eq=False)
class Encoding:
    """What `ClickNetwork.start` gave for one view of one image.

    Attributes:
        network_state: the state of `ClickNetwork.step`, of one view, or of a view and its mirror.
    """

    network_state: Any


@dataclass(frozen=True, eq=False)
class SessionImage:
    """An image, and what its network made of it: shared by all sessions on it, whoever plays them.

    An encoding lives as long as some state of a dialogue holds it, so that images cost no memory of their own. Only the
    first one, with which every object of the image begins, may be kept for good.

    Attributes:
        pixels: (3, H, W) float32 RGB in [0, 1] on the predictor's device.
        keeps_first: whether the first encoding lives as long as the image.
        encodings: by `View.key`.
        first: that encoding, or nothing.
    """

    pixels: Tensor
    keeps_first: bool = False
    encodings: WeakValueDictionary[Any, Encoding] = field(default_factory=WeakValueDictionary)
    first: list[Encoding] = field(default_factory=list)

    def remember(self, view: View, encoding: Encoding) -> None:
        """Shares what was made of a view with the other sessions on this image."""
        self.encodings[view.key] = encoding
        if self.keeps_first and not self.first:
            self.first.append(encoding)

    @classmethod
    def from_array(cls, image: np.ndarray, device: torch.device, keeps_first: bool = False) -> SessionImage:
        """From an image (H, W, 3) uint8 RGB.

        Raises:
            ValueError: another shape or type.
        """
        if not isinstance(image, np.ndarray):
            raise ValueError(f"image must be a numpy array (H, W, 3) uint8 RGB, got a {type(image).__name__}")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        pixels = torch.from_numpy(np.array(image)).to(device)  # a copy: the array may be read-only
        return cls(pixels.permute(2, 0, 1).float().div_(255), keeps_first)

    @property
    def size(self) -> Size:
        """(H, W)."""
        return self.pixels.shape[-2], self.pixels.shape[-1]


@dataclass(frozen=True, eq=False)
class SessionState:
    """Everything a dialogue knows after some clicks. Immutable: undo goes back to the state before.

    Attributes:
        image: what is clicked on.
        clicks: (y, x, label) in pixels of the full image, in click order.
        prediction: the masks answered, or the one given from outside; None before the first.
        score: (K,) trust in each candidate, None when there is one.
        chosen: the candidate that is the mask.
        region: what the zoom-in keeps looking at.
        view: what the network saw last.
        encoding: what the network's `start` gave for that view.
        network_state: what the network's last `step` on that view left behind; None before it.
        changes: pixels of the mask that each refinement pass after the last click has changed (CFR).
    """

    image: SessionImage
    clicks: tuple[Click, ...] = ()
    prediction: MaskPrediction | None = None
    score: Tensor | None = None
    chosen: int = 0
    region: Box | None = None
    view: View | None = None
    encoding: Encoding | None = None
    network_state: Any = None
    changes: tuple[int, ...] = ()

    def with_click(self, y: float, x: float, positive: bool = True) -> SessionState:
        """The state with one more click, not yet answered.

        Args:
            y: row, 0 <= y < H; the last half pixel is inside.
            x: column, 0 <= x < W.
            positive: on the object, or on what is not.

        Raises:
            ValueError: `y` or `x` is not a number, `positive` is not a bool, or the click lies outside the image.
        """
        if not isinstance(positive, (bool, np.bool_)) and not (isinstance(positive, Integral) and positive in (0, 1)):
            raise ValueError(f"positive is {positive!r}, expected True or False")
        if not all(isinstance(value, Real) and not isinstance(value, bool) for value in (y, x)):
            raise ValueError(f"a click is a row and a column, two numbers: got y={y!r}, x={x!r}")
        height, width = self.image.size
        if not (0 <= y < height and 0 <= x < width):
            raise ValueError(
                f"click (y={y}, x={x}) lies outside the image of height {height} and width {width}; "
                f"expected 0 <= y < {height} and 0 <= x < {width}"
            )
        click = (y, x, POSITIVE if positive else NEGATIVE)
        return replace(self, clicks=(*self.clicks, click), changes=())

    def with_choice(self, index: int) -> SessionState:
        """The state in which another candidate is the mask.

        Raises:
            ValueError: there is no such candidate.
        """
        count = 0 if self.prediction is None else len(self.prediction)
        if index not in range(count):
            raise ValueError(f"there is no candidate {index}: there are {count}, counted from 0")
        return replace(self, chosen=int(index))

    def without_cache(self) -> SessionState:
        """As history keeps it: maps of a large photo for every click would soon fill the memory."""
        return self if self.prediction is None else replace(self, prediction=self.prediction.without_cache())

    @property
    def probability_tensor(self) -> Tensor:
        """(H, W) float32 probability of the mask, on the predictor's device; zeros at the start."""
        if self.prediction is None:
            return torch.zeros(self.image.size, device=self.image.pixels.device)
        return self.prediction.map(self.chosen)

    def mask(self, threshold: float) -> PartialMask:
        """Where the probability of the mask is larger."""
        if self.prediction is None:
            return RegionMask.empty(self.image.size)
        return self.prediction.mask(self.chosen, threshold)
