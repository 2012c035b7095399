"""What was answered to a click: kept as the network saw it, in the full image as far as somebody looks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Self

import torch
from torch import Tensor

from clicklab.inference.cell_mask import CellMask
from clicklab.inference.partial_mask import PartialMask, RegionMask
from clicklab.views.bilinear import SMALL_KERNEL, Taps, equals_resize, resized_from, values_at
from clicklab.views.boxes import filled_lines
from clicklab.views.frames import Frame, View

LARGE = 1 << 20  # pixels of the part of a photo from which on an answer is not laid back as a whole
ENLARGED = 4  # and so many times the pixels of the view


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

    def mask(self, index: int, threshold: float) -> PartialMask:
        """Where the probability of one mask is larger."""
        return RegionMask.of((self.map(index) > threshold).cpu().numpy())

    def filled_lines(self, index: int, threshold: float) -> Tensor:
        """(H + W,) `clicklab.views.boxes.filled_lines` of the same mask, on the device of the maps."""
        return filled_lines(self.map(index) > threshold)

    def seen_in(self, index: int, view: View) -> Tensor:
        """(1, h, w): what a view shows of the probability of one mask."""
        return view.image(self.map(index)[None])

    def sum(self, index: int) -> Tensor:
        """() NaN or infinite where a probability of one mask is."""
        return self.map(index).sum()

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
        self._masks: dict[tuple[int, float], CellMask] = {}

    def __len__(self) -> int:
        return len(self.probability)

    def without_cache(self) -> Self:
        """As `MaskPrediction.without_cache`."""
        small = super().without_cache()
        small._masks = {}
        return small

    def mask(self, index: int, threshold: float) -> PartialMask:
        """As `MaskPrediction.mask`; in large photos only where it may be."""
        if (index, threshold) not in self._masks:
            found = self._large_mask(index, threshold)
            if found is None:
                return super().mask(index, threshold)
            self._masks[index, threshold] = found
        return self._masks[index, threshold]

    def filled_lines(self, index: int, threshold: float) -> Tensor:
        """As `MaskPrediction.filled_lines`."""
        if self._large_frame() is None:
            return super().filled_lines(index, threshold)
        return torch.from_numpy(self.mask(index, threshold).filled_lines())

    def seen_in(self, index: int, view: View) -> Tensor:
        """As `MaskPrediction.seen_in`; of large photos only the pixels that the view shows are made."""
        answered, shown = self._large_frame(), _only_frame(view)
        if answered is None or shown is None or sum(shown.size) <= SMALL_KERNEL:
            return super().seen_in(index, view)
        down, across = Taps.of(shown.box.size[0], shown.size[0]), Taps.of(shown.box.size[1], shown.size[1])
        place = answered.paste_box
        rows = torch.cat([down.first, down.second]) + (shown.box.y0 - place.y0)
        columns = torch.cat([across.first, across.second]) + (shown.box.x0 - place.x0)
        (height, width), grid = place.size, self.probability[index]
        values = values_at(grid, place.size, rows.clamp(0, height - 1), columns.clamp(0, width - 1))
        values[(rows < 0) | (rows >= height)] = 0.0
        values[:, (columns < 0) | (columns >= width)] = 0.0
        return resized_from(values, down, across)[None]

    def sum(self, index: int) -> Tensor:
        """As `MaskPrediction.sum`."""
        return self.probability[index].sum()

    def _large_mask(self, index: int, threshold: float) -> CellMask | None:
        frame = self._large_frame()
        if frame is None:
            return None
        return CellMask.above(self.probability[index], frame.paste_box, frame.outer, threshold)

    def _large_frame(self) -> Frame | None:
        """Where the answer lies, if it is large, and the places that matter can be computed alone."""
        frame = _only_frame(self.view)
        if frame is None or self.probability.device.type != "cpu" or self.probability.dtype != torch.float32:
            return None
        (height, width), (rows, columns) = frame.paste_box.size, self.probability.shape[1:]
        large = height * width >= max(LARGE, ENLARGED * rows * columns) and height >= rows and width >= columns
        return frame if large and equals_resize() else None

    def make(self, index: int) -> Tensor:
        """As `MaskPrediction.make`."""
        return self.view.back(self.probability[index : index + 1])[0]

    def make_all(self) -> Tensor:
        """As `MaskPrediction.make_all`; in one go but on a CPU, where a resize's last bit depends on their number."""
        return super().make_all() if self.probability.device.type == "cpu" else self.view.back(self.probability)


def _only_frame(view: View) -> Frame | None:
    """The frame of a view that is one crop, resized; others inside it show all of it as it is."""
    frame, *others = view.frames
    plain = all(inner == Frame.whole(frame.size) for inner in others)
    return frame if plain and isinstance(frame, Frame) else None
