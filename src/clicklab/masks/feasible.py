"""Which annotated objects could be meant by the clicks so far.

Source: PiClick, Algorithm 1, as its released code has it (docs/methods/piclick.md#feasible-targets).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from clicklab.masks.candidate_sets import MaskSets, PaddedObjects, kept_first, padded_objects
from clicklab.records import EMPTY, POSITIVE, Batch, Clicks


def feasible_sets(batch: Batch, clicks: Clicks | None = None) -> MaskSets:
    """All objects of the tables that hold every positive and no negative click, parts and stuff regions too.

    They come in table order. The sample's target follows as the last mask where it is not among them: because it is a
    union of objects, or because the clicks rule it out. So no list is empty.

    Args:
        batch: with `layers` and `objects`.
        clicks: judge by these instead of the batch's own.

    Raises:
        ValueError: the batch has no layers.
    """
    objects = padded_objects(batch)
    assert batch.layers is not None
    fits = consistent(batch.layers, objects, batch.clicks if clicks is None else clicks)
    listed = (objects.target & fits).any(1) & (objects.target.sum(1) == 1)
    count = fits.sum(1)
    most = int((count + ~listed).max())
    order = kept_first(pad(fits, (0, 1)))[:, :most]  # one column more than objects, for the target
    ids, layer = (pad(rows, (0, 1)).gather(1, order) for rows in (objects.ids, objects.layer))
    number = torch.arange(most, device=fits.device)
    of_sample = torch.arange(len(batch), device=fits.device)[:, None]
    masks = (batch.layers[of_sample, layer] == ids[..., None, None]) & (number < count[:, None])[..., None, None]
    extra = (~listed).nonzero()[:, 0]
    masks[extra, count[extra]] = batch.target[extra, 0] == 1
    return MaskSets(masks, number < (count + ~listed)[:, None])


def consistent(layers: Tensor, objects: PaddedObjects, clicks: Clicks) -> Tensor:
    """(B, N) bool: the object holds all positive clicks and no negative one, by the ids under the clicks alone.

    Args:
        layers: (B, L, H, W) ids.
        objects: the tables.
        clicks: taken at the pixel that they are in; outside of the image there is no object.
    """
    limit = torch.tensor(layers.shape[-2:], device=layers.device)
    place = clicks.yx.floor().long()
    inside = ((place >= 0) & (place < limit)).all(2)
    place = torch.minimum(place.clamp_min(0), limit - 1)
    rows = torch.arange(len(place), device=layers.device)[:, None]
    under = layers[rows, :, place[..., 0], place[..., 1]]  # (B, clicks, L)
    layer = objects.layer[..., None].expand(-1, -1, clicks.slots)
    hit = (under.transpose(1, 2).gather(1, layer) == objects.ids[..., None]) & inside[:, None]
    label = clicks.label[:, None]
    return objects.listed & ((hit == (label == POSITIVE)) | (label == EMPTY)).all(2)
