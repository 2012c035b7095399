"""FocalClick's answers: a coarse mask on which closer looks are painted, and the correction of a given mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from clicklab.inference.mask_prediction import MaskPrediction
from clicklab.views.boxes import Box
from clicklab.views.focus_crop import progressive_merge
from clicklab.views.frames import Click, resize


class Patch(ABC):
    """A closer look at a part of the image."""

    @abstractmethod
    def paint(self, probability: Tensor) -> None:
        """Writes its part into (H, W) float32 probability."""


@dataclass(frozen=True, eq=False)
class FocusPatch(Patch):
    """The refiner's answer.

    Attributes:
        logits: (1, h, w) float32 of the focus view.
        box: the focus crop.
    """

    logits: Tensor
    box: Box

    def paint(self, probability: Tensor) -> None:
        """As `Patch.paint`: takes the place of what was there."""
        probability[self.box.window] = resize(self.logits, self.box.size)[0].sigmoid()


class PatchedPrediction(MaskPrediction):
    """One mask: a ground and patches on it, in their order. Patches are as small as the views they come from.

    Args:
        ground: its first mask, as history keeps it.
        patches: from the first to the last one painted.
    """

    def __init__(self, ground: MaskPrediction, patches: tuple[Patch, ...] = ()) -> None:
        super().__init__()
        self.ground, self.patches = ground, patches

    @classmethod
    def over(cls, answer: MaskPrediction, patch: Patch) -> PatchedPrediction:
        """One more patch on an answer of one mask. The map is painted at once, on a copy of the answer's."""
        ground, before = (answer.ground, answer.patches) if isinstance(answer, PatchedPrediction) else (answer, ())
        painting = cls(ground.without_cache(), (*before, patch))
        probability = answer.map(0).clone()
        patch.paint(probability)
        painting._maps[0] = probability
        return painting

    def __len__(self) -> int:
        return 1

    def make(self, index: int) -> Tensor:
        """As `MaskPrediction.make`."""
        probability = self.ground.make(0).clone()
        for patch in self.patches:
            patch.paint(probability)
        return probability


class MergedPrediction(MaskPrediction):
    """The mask of a session that started from a given one: of the network's answer, the change at the last click.

    Args:
        own: the network's own answer, which it goes on from.
        before: (H, W) bool, the mask before the last click.
        clicks: (y, x, label) so far.
        threshold: a pixel belongs to a mask when its probability is larger.
        everything_else: see `progressive_merge`.
    """

    def __init__(
        self, own: PatchedPrediction, before: Tensor, clicks: tuple[Click, ...], threshold: float, everything_else: bool
    ) -> None:
        super().__init__()
        self.own, self.clicks, self.threshold, self.everything_else = own, clicks, threshold, everything_else
        self._before: Tensor | _Bits = before

    @property
    def before(self) -> Tensor:
        """(H, W) bool, the mask before the last click."""
        return self._before if isinstance(self._before, Tensor) else self._before.mask()

    def __len__(self) -> int:
        return 1

    def make(self, index: int) -> Tensor:
        """As `MaskPrediction.make`; 0 and 1."""
        after = self.own.map(0) > self.threshold
        return progressive_merge(self.before, after, self.clicks[-1][:2], self.everything_else).float()

    def without_cache(self) -> Self:
        """As `MaskPrediction.without_cache`."""
        small = super().without_cache()
        small.own = self.own.without_cache()
        if isinstance(self._before, Tensor):
            small._before = _Bits(self._before)
        return small


class _Bits:
    """A mask (H, W) bool in an eighth of its memory."""

    def __init__(self, mask: Tensor) -> None:
        self._shape, self._device = mask.shape, mask.device
        self._packed = np.packbits(mask.cpu().numpy())

    def mask(self) -> Tensor:
        """The mask, where it was."""
        bits = np.unpackbits(self._packed, count=self._shape.numel()).view(bool)
        return torch.from_numpy(bits).view(self._shape).to(self._device)
