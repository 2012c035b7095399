"""FocalClick: towards practical interactive image segmentation (Chen et al., CVPR 2022)."""

from __future__ import annotations

from clicklab.nn.coarse_to_fine import CoarseToFine


class FocalClickNet(CoarseToFine):
    """The network with FocalClick's way of looking: `FocusPredictor`, no mirrored view, masks above 0.5.

    Args:
        backbone: `b0`, `b3`, `hrnet18s`, `hrnet32` as released, or the small `tiny` and `mini` of this project.
        image_size: side in pixels of training crops, and of the coarse and the focus view in evaluation.
        halve: S1: the coarse segmentor sees its view at half the size. S2: it does not.
        click_radius: of the discs in the coarse view; official: 5, for S1 3 with SegFormer and 2 with HRNet.
    """

    mask_threshold = 0.5  # official scripts; the library's default is 0.49
