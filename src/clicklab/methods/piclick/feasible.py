"""Which annotated objects could be meant by the clicks so far (paper, Algorithm 1; card piclick, section 9.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from clicklab.records import EMPTY, POSITIVE, Batch, Clicks


@dataclass(frozen=True)
class TargetSets:
    """Possible targets of every sample.

    Attributes:
        masks: (B, N, H, W) bool.
        valid: (B, N) bool, False for masks that only fill up the batch. At least one per sample is True.
    """

    masks: Tensor
    valid: Tensor


def feasible_sets(batch: Batch, clicks: Clicks | None = None) -> TargetSets:
    """All objects that contain every positive and no negative click, parts and stuff regions too.

    The sample's target comes last where it is no such object: a union of objects, or one that the clicks rule out.

    Args:
        batch: with `layers` and `objects`.
        clicks: judge by these instead of the batch's own, in pixels of its images.

    Raises:
        ValueError: the batch has no layers.
    """
    if batch.layers is None or batch.objects is None:
        raise ValueError("PiClick learns from all objects of a scene: set data.with_layers to true")
    ids = pad_sequence([table.ids for table in batch.objects], batch_first=True)  # 0: filled up
    layer = pad_sequence([table.layer for table in batch.objects], batch_first=True)
    target = pad_sequence([table.target for table in batch.objects], batch_first=True)
    fits = (ids > 0) & consistent(batch.layers, ids, layer, batch.clicks if clicks is None else clicks)
    listed = (target & fits).any(1) & (target.sum(1) == 1)
    count = int(fits.sum(1).max()) if ids.shape[1] else 0  # the one number that the host has to know
    order = fits.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]
    ids, layer, fits = ids.gather(1, order), layer.gather(1, order), fits.gather(1, order)
    rows = torch.arange(len(ids), device=ids.device)[:, None]
    masks = (batch.layers[rows, layer] == ids[..., None, None]) & fits[..., None, None]
    return TargetSets(
        torch.cat([masks, (batch.target == 1) & ~listed[:, None, None, None]], dim=1),
        torch.cat([fits, ~listed[:, None]], dim=1),
    )


def consistent(layers: Tensor, ids: Tensor, layer: Tensor, clicks: Clicks) -> Tensor:
    """(B, N) bool: the object holds all positive clicks and no negative one.

    Args:
        layers: (B, L, H, W) ids.
        ids, layer: (B, N) the objects and where their pixels are.
        clicks: truncated to pixels; those outside the image are moved to its border.
    """
    limit = torch.tensor(layers.shape[-2:], device=layers.device) - 1
    place = torch.minimum(clicks.yx.long().clamp_min(0), limit)
    rows = torch.arange(len(ids), device=ids.device)[:, None]
    under = layers[rows, :, place[..., 0], place[..., 1]]  # (B, clicks, L)
    hit = under.transpose(1, 2).gather(1, layer[..., None].expand(-1, -1, clicks.slots)) == ids[..., None]
    label = clicks.label[:, None]
    return ((hit == (label == POSITIVE)) | (label == EMPTY)).all(2)
