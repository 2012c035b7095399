"""DAVIS (345 frames) and COCO_MVal (800 objects): any channel above 0 is the object.

Source: docs/data.md#davis-and-coco_mval.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from data_modules.datasets.grabcut import RITM_PAGE
from data_modules.datasets.pairs import PairedMasks


class DAVIS(PairedMasks):
    """`img/*` and `gt/*`: everything above 0 in any channel is the one object, nothing is ignored."""

    name = "DAVIS"
    view_scale = 1.5
    page = f"DAVIS 2016, the 345 frames chosen for interactive segmentation, as in {RITM_PAGE}"
    licence = "research use"
    published: ClassVar[Mapping[str, int]] = {"images": 345, "objects": 345}
    images_folder = "img"
    masks_folder = "gt"

    def ids(self, mask: np.ndarray) -> np.ndarray:
        return (mask.max(axis=2) > 0).astype(np.int32)


class COCO_MVal(DAVIS):
    """DAVIS layout; 800 objects on 722 different photographs of COCO val, named `<category><number>_<COCO id>.jpg`."""

    name = "COCO_MVal"
    view_scale = 1.0
    page = f"COCO_MVal, as in {RITM_PAGE}"
    licence = "annotations of COCO: CC BY 4.0; images: terms of Flickr"
    published: ClassVar[Mapping[str, int]] = {"images": 800, "objects": 800}
