"""What was answered to a click: kept as the network saw it, in the full image as far as somebody looks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Self

from torch import Tensor

from clicklab.views.frames import View


class MaskPrediction(ABC):
    """K masks. Their maps in the full image are made when they are first asked for, and are then kept.

    Of a photo of 12 megapixels each map takes 48 MB, and a good part of a click's time; of several candidates usually
    one is looked at. What is made again is equal to the bit.
    """

    def __init__(self) -> None:
        self._maps: dict[int, Tensor] = {}
        self._all: Tensor | None = None

    @abstractmethod
    def __len__(self) -> int:
        """K."""

    @abstractmethod
    def make(self, index: int) -> Tensor:
        """(H, W) float32 probability of one mask."""

    def without_cache(self) -> Self:
        """The same answer without the maps made: as history keeps it."""
        small = copy(self)
        MaskPrediction.__init__(small)
        return small

    def map(self, index: int) -> Tensor:
        """(H, W) float32 probability of one mask."""
        if self._all is not None:
            return self._all[index]
        if index not in self._maps:
            self._maps[index] = self.make(index)
        return self._maps[index]

    def maps(self) -> Tensor:
        """(K, H, W) float32 probability of all masks."""
        if self._all is None:
            self._all = self.make_all()
            self._maps.clear()
        return self._all

    def make_all(self) -> Tensor:
        """`maps` anew, from those made already and the others."""
        first = self.map(0)
        together = first[None] if len(self) == 1 else first.repeat(len(self), 1, 1)
        for index in range(1, len(self)):
            together[index] = self.map(index)
            del self._maps[index]
        return together


class InitialMask(MaskPrediction):
    """One mask from outside, at which the zoom-in does not look (as officially).

    Args:
        probability: (H, W) float32.
    """

    def __init__(self, probability: Tensor) -> None:
        super().__init__()
        self.probability = probability

    def __len__(self) -> int:
        return 1

    def make(self, index: int) -> Tensor:
        """As `MaskPrediction.make`."""
        return self.probability


class ViewPrediction(MaskPrediction):
    """What a network answered in a view.

    Args:
        probability: (K, h, w) float32.
        view: where it looked.
    """

    def __init__(self, probability: Tensor, view: View) -> None:
        super().__init__()
        self.probability, self.view = probability, view

    def __len__(self) -> int:
        return len(self.probability)

    def make(self, index: int) -> Tensor:
        """As `MaskPrediction.make`."""
        return self.view.back(self.probability[index : index + 1])[0]

    def make_all(self) -> Tensor:
        """As `MaskPrediction.make_all`; in one go but on a CPU, where a resize's last bit depends on their number."""
        return super().make_all() if self.probability.device.type == "cpu" else self.view.back(self.probability)
