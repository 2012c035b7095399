"""Analytic networks: real masks from colour and distance to the clicks, without weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clicklab.records import Clicks, Prediction


def analytic(kind: str, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Tensor:
    """(B, 1, H, W) logits: high where colour and place are nearer to a positive click than to any negative one.

    `colour` uses the previous mask as well; `moody` answers an empty mask to clicks 3, 7, 11, .., so that a zoom-in loses its
    object.
    """
    size = torch.tensor(image.shape[-2:])
    height, width = image.shape[-2:]
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")) / size[:, None, None]
    near = [torch.full((len(image), height, width), 1.0), torch.full((len(image), height, width), 0.45)]
    for slot in range(clicks.slots):
        yx, label = clicks.yx[:, slot], clicks.label[:, slot]
        pixel = torch.minimum(yx.round().clamp(min=0), size - 1).long()
        colour = image[torch.arange(len(image)), :, pixel[:, 0], pixel[:, 1]]
        distance = (image - colour[..., None, None]).square().mean(dim=1).sqrt()
        distance = distance + 0.5 * (place - (yx / size)[..., None, None]).square().sum(dim=1).sqrt()
        for sign in (1, 0):
            seen = (label == sign)[:, None, None]
            near[1 - sign] = torch.where(seen, torch.minimum(near[1 - sign], distance), near[1 - sign])
    logits = 12 * (near[1] - near[0]) + 2 * prev_mask[:, 0] - 1
    if kind == "moody":
        empty = clicks.valid.sum(dim=1) % 4 == 3
        logits = torch.where(empty[:, None, None], logits - 50, logits)
    return logits[:, None]


class Analytic(nn.Module):
    """A network with `forward` only. `calls` notes the batch sizes it was asked for."""

    def __init__(self, kind: str = "colour") -> None:
        super().__init__()
        self.kind = kind
        self.calls: list[int] = []

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        self.calls.append(len(image))
        return Prediction(analytic(self.kind, image, clicks, prev_mask))
