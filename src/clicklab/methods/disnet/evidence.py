"""What clicks and chosen proposal say about a feature map, worked out once for all correction blocks."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.clicks.maps import decay_maps
from clicklab.records import Clicks

LOG_FLOOR = 1e-6  # the logarithm of a mask stops here: sure background must stay a number


class Evidence(NamedTuple):
    """Clicks and mask at the size (h, w) of the features.

    Attributes:
        clicks: of B samples in pixels of the image, the first click in slot 0.
        size: (H, W) of the image.
        near: (B, 2, h, w) float32 decay maps of positive and negative clicks, formula 5.
        mask: (B, 2, h, w) float32 probability of the proposal and of its outside.
        log_mask: (B, 2, h, w) float32, their logarithms, never below log(LOG_FLOOR).
    """

    clicks: Clicks
    size: tuple[int, int]
    near: Tensor
    mask: Tensor
    log_mask: Tensor

    @classmethod
    def of(cls, clicks: Clicks, size: tuple[int, int], prior: Tensor, radii: tuple[float, float]) -> Evidence:
        """From clicks and a proposal.

        Args:
            clicks: the dialogue so far.
            size: (H, W) of the image.
            prior: (B, h, w) logits of the proposal; probabilities would be rounded to 0 and 1 too early.
            radii: reach of the first click and of all others, in cells of the feature map.
        """
        both = torch.stack([prior, -prior], dim=1)
        both = both.to(torch.promote_types(both.dtype, torch.float32))
        first, other = radii
        reach = torch.full((clicks.slots,), float(other), device=clicks.yx.device)
        reach[:1] = first
        near = decay_maps(clicks, size, (prior.shape[-2], prior.shape[-1]), reach)
        return cls(clicks, size, near, both.sigmoid(), F.logsigmoid(both).clamp_min(math.log(LOG_FLOOR)))
