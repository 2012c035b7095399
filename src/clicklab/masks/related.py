"""What a first click on an object may mean beside that object: what it is part of, or what it touches.

Source: DISNet's relation-aware ground truth (docs/methods/disnet.md#related-targets). The paper's pseudo-code is not
available; [A-n] below are choices listed there. A training step draws centres, takes their sets, lets the user click
into `region`, and learns towards `sets.draw()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, one_hot, pad

from clicklab.masks.candidate_sets import MaskSets, PaddedObjects, kept_first, padded_objects, rendered
from clicklab.records import Batch

LEAST_REGION = 10  # pixels below which a region for the first click is too small
ERODED = 3  # pixels that a click keeps from the outline (RITM's three erosions)


@dataclass(frozen=True)
class RelatedSets:
    """Masks that all hold one object, the centre, from the inside to the outside.

    Attributes:
        sets: the masks; the first one is the centre itself. Samples without any object have none.
        region: (B, 1, H, W) bool, where the first click falls: inside every mask of the list.
    """

    sets: MaskSets
    region: Tensor


def draw_centres(batch: Batch, tree_prob: float = 0.5, generator: torch.Generator | None = None) -> Tensor:
    """(B,) int64: id of a random object of every sample, 0 where there is none.

    Args:
        batch: with `layers` and `objects`; which objects there are (small ones, stuff) is the target law's business.
        tree_prob: chance that only objects with a parent are drawn, if there are any: most objects of COCO+LVIS have
            none, and with them the hierarchy teaches nothing [A-30]. 0 draws all alike.
        generator: on the batch's device; None uses torch's global one.

    Raises:
        ValueError: the batch has no layers.
    """
    objects = padded_objects(batch)
    parts = objects.is_parent.any(2)
    chance = torch.rand(len(batch), 1, generator=generator, device=parts.device)
    among = torch.where((chance < tree_prob) & parts.any(1, keepdim=True), parts, objects.listed)
    weight = among.float() + (~among.any(1, keepdim=True)).float()  # multinomial refuses rows of zeros
    return objects.ids.gather(1, torch.multinomial(weight, 1, generator=generator))[:, 0]


def hierarchy_sets(batch: Batch, centres: Tensor, most: int = 7) -> RelatedSets:
    """The centre, the centre with its parent, with its grandparent, ... up to the root.

    Unions, because a parent need not hold all of its child [A-31]; so the masks are nested. A parent that adds nothing
    (both fill the crop) is left out. The first click falls on the centre's own pixels, outside of its children.

    Args:
        batch: with `layers` and `objects`.
        centres: (B,) ids as `draw_centres` gives them.
        most: longest list, counted from the inside (the number of queries that can be matched).

    Raises:
        ValueError: the batch has no layers.
    """
    objects = padded_objects(batch)
    assert batch.layers is not None
    centre, is_parent = _position(objects, centres), objects.is_parent
    children = (is_parent & centre[:, None]).any(2)
    above = [centre]
    for _ in range(most - 1):
        above.append((is_parent & above[-1][..., None]).any(1))
    chain = torch.stack(above, dim=1)
    levels = int(chain.any(2).any(0).sum())  # asked once: on a GPU every question waits
    chain = chain[:, : max(1, levels)].cumsum(1) > 0
    masks = rendered(batch.layers, objects.ids, torch.cat([chain, children[:, None]], dim=1))
    masks, inner = masks[:, :-1], masks[:, -1:]
    area = masks.flatten(2).sum(2)
    grows = torch.diff(area, dim=1, prepend=torch.zeros_like(area[:, :1])) > 0
    return RelatedSets(_compact(masks, grows), _region(masks[:, :1] & ~inner, masks[:, :1]))


def proximity_sets(batch: Batch, centres: Tensor, neighbours: int = 3, most: int = 7) -> RelatedSets:
    """Unions of the centre with every subset of the objects that it touches: small subsets first, then large contacts.

    Objects touch when their masks, each dilated by a 3 x 3 square, share a pixel; the shared pixels are the contact
    [A-33]. Ancestors and descendants of the centre do not count: they belong to `hierarchy_sets`.

    Args:
        batch: with `layers` and `objects`.
        centres: (B,) ids as `draw_centres` gives them.
        neighbours: only those with the largest contacts [A-34].
        most: longest list (2 ** neighbours would be the full one).

    Raises:
        ValueError: the batch has no layers.
    """
    objects = padded_objects(batch)
    assert batch.layers is not None
    centre = _position(objects, centres)  # (B, N)
    alone = rendered(batch.layers, objects.ids, centre[:, None])  # (B, 1, H, W)

    # the neighbours with the largest contacts: (B, neighbours, N), one object each
    contact = _contacts(batch.layers, objects, centres, alone) * ~_relatives(objects, centre)
    shared, order = contact.topk(min(neighbours, contact.shape[1]), dim=1, sorted=True)
    touching = one_hot(order, contact.shape[1]).bool() & (shared > 0)[..., None]

    # all subsets of the neighbours, as members (B, subsets, N); one exists where all of its neighbours do
    count = order.shape[1]
    subsets = [list(subset) for size in range(count + 1) for subset in combinations(range(count), size)]
    members = torch.stack([centre | touching[:, subset].any(1) for subset in subsets], dim=1)
    exists = torch.stack([centre.any(1) & (shared[:, subset] > 0).all(1) for subset in subsets], dim=1)

    # the first `most` of those that exist, drawn as masks
    longest = min(most, max(1, int(exists.sum(1).max())))
    first = kept_first(exists)[:, :longest]
    members = members.gather(1, first[..., None].expand(-1, -1, members.shape[2]))
    sets = _compact(rendered(batch.layers, objects.ids, members), exists.gather(1, first))
    return RelatedSets(sets, _region(_eroded(alone), alone))


def _eroded(mask: Tensor) -> Tensor:
    """A mask (B, 1, H, W) bool eroded by a square of `ERODED` pixels reach; the border of the image is no outline."""
    outside = -mask.float()
    for size in ((2 * ERODED + 1, 1), (1, 2 * ERODED + 1)):  # the square, one axis after the other
        outside = max_pool2d(outside, size, 1, padding=(size[0] // 2, size[1] // 2))
    return outside < 0


def _position(objects: PaddedObjects, centres: Tensor) -> Tensor:
    """(B, N) bool: True in the column of each centre."""
    return objects.listed & (objects.ids == centres[:, None])


def _compact(masks: Tensor, keep: Tensor) -> MaskSets:
    """The masks to keep in front, without columns that no sample needs (but one)."""
    order = kept_first(keep)[:, : max(1, int(keep.sum(1).max()))]
    valid = keep.gather(1, order)
    rows = torch.arange(len(masks), device=masks.device)[:, None]
    return MaskSets(masks[rows, order] & valid[..., None, None], valid)


def _region(wanted: Tensor, centre: Tensor) -> Tensor:
    """The region wanted for the first click, or the whole centre where next to nothing is left of it."""
    return torch.where(wanted.flatten(1).sum(1)[:, None, None, None] < LEAST_REGION, centre, wanted)


def _relatives(objects: PaddedObjects, centre: Tensor) -> Tensor:
    """(B, N) bool: the centre, its ancestors and its descendants."""
    is_parent = objects.is_parent
    above, below = centre, centre
    while True:  # one round per level of the tree
        higher, lower = above | (is_parent & above[..., None]).any(1), below | (is_parent & below[:, None]).any(2)
        if bool(((higher == above) & (lower == below)).all()):
            return above | below
        above, below = higher, lower


def _contacts(layers: Tensor, objects: PaddedObjects, centres: Tensor, alone: Tensor) -> Tensor:
    """(B, N) int64: pixels shared by the dilated centre (`alone`, (B, 1, H, W) bool) and every dilated object.

    Only pixels near both the centre and something else are looked at: the different ids in their 3 x 3 are counted.
    """
    # pixels within the dilated centre and within something else that is dilated: P of them
    other = ((layers > 0) & (layers != centres[:, None, None, None])).any(1, keepdim=True)
    near = max_pool2d(torch.cat([alone, other], dim=1).float(), 3, 1, padding=1).amin(1) > 0
    b, y, x = near.nonzero(as_tuple=True)

    # the ids in the 3 x 3 pixels around each, over all layers: (P, 9 L), sorted, so that equal ones are neighbours
    step = torch.arange(3, device=layers.device)
    dy, dx = step.repeat_interleave(3), step.repeat(3)
    around = pad(layers, (1, 1, 1, 1))[b[:, None], :, y[:, None] + dy, x[:, None] + dx].flatten(1).sort(1).values
    fresh = torch.ones_like(around, dtype=torch.bool)
    fresh[:, 1:] = around[:, 1:] != around[:, :-1]

    # each pixel counts once for each different id around it
    highest = int(objects.ids.max()) + 1
    counts = torch.zeros(len(layers), highest + 1, dtype=torch.int64, device=layers.device)
    seen = around.clamp(0, highest).long()
    counts.index_put_((b[:, None].expand_as(seen), seen), fresh.long(), accumulate=True)
    return counts.gather(1, objects.ids) * objects.listed
