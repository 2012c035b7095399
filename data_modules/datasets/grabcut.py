"""GrabCut and Berkeley: 50 and 100 objects, masks with an ignore band (docs/data.md#grabcut-and-berkeley)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from clicklab.records import IGNORE
from data_modules.datasets.pairs import PairedMasks

RITM_PAGE = "the data section of the RITM repository (github.com/SamsungLabs/ritm_interactive_segmentation, 'Datasets')"


class GrabCut(PairedMasks):
    """`data_GT/*` (jpg, JPG, bmp) and `boundary_GT/*.bmp`: channel 0 of a mask, 128 ignored, more is the object.

    So is 1, as officially: masks that hold 0 and 1 only are read too.
    """

    name = "GrabCut"
    page = f"Microsoft Research's GrabCut database, unpacked as in {RITM_PAGE}"
    licence = "research use"
    published: ClassVar[Mapping[str, int]] = {"images": 50, "objects": 50, "images with ignored pixels": 42}
    images_folder = "data_GT"
    masks_folder = "boundary_GT"

    def ids(self, mask: np.ndarray) -> np.ndarray:
        # channel 0 only: three Berkeley masks differ by some pixels between their channels
        channel = mask[..., 0]
        return np.where(channel == 128, IGNORE, (channel > 128) | (channel == 1)).astype(np.int32)


class Berkeley(GrabCut):
    """`images/*` and `masks/*`, read as GrabCut; 96 scenes, two of them three times (whole, a, b)."""

    name = "Berkeley"
    page = f"the interactive part of the Berkeley segmentation data (McGuinness and O'Connor), as in {RITM_PAGE}"
    published: ClassVar[Mapping[str, int]] = {"images": 100, "objects": 100}
    images_folder = "images"
    masks_folder = "masks"
