"""How many of the data module's random clicks a training sample starts with."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.records import EMPTY, NEGATIVE, POSITIVE, Clicks

FirstClicks = Literal["thinned", "uniform", "all"]
UNIFORM_MOST = 10  # paper: 1 to 10 clicks


def choose_first_clicks(clicks: Clicks, law: FirstClicks, target: Tensor | None = None) -> Clicks:
    """The clicks to start with, in no more slots than before.

    Args:
        clicks: random clicks on the target and off it.
        law: `thinned` keeps few, see `thinned`; `uniform` any 1 to 10 of them, one positive at least; `all` keeps all.
        target: (B, 1, H, W), 1 on the target. With it, `uniform` makes up for clicks that a sample lacks by random ones
            on the target, so that all numbers from 1 to 10 are equally likely; without, a sample with few stays so.
    """
    if law == "all" or not clicks.slots:
        return clicks
    return thinned(clicks) if law == "thinned" else _some(clicks if target is None else _filled_up(clicks, target))


def thinned(clicks: Clicks, gamma: float = 0.7) -> Clicks:
    """Of m clicks of a sign k are drawn with replacement, with probability proportional to gamma^k.

    At least one positive click is kept where there is one. A click may come twice, and a target that is a union of
    objects may lose its click on one of them, both as officially (docs/methods/piclick.md#samples).
    """
    parts = [_drawn(clicks, sign, int(sign == POSITIVE), gamma) for sign in (POSITIVE, NEGATIVE)]
    both = Clicks(torch.cat([part.yx for part in parts], dim=1), torch.cat([part.label for part in parts], dim=1))
    return _first(both, both.valid.to(torch.float32), clicks.slots)


def _drawn(clicks: Clicks, sign: int, least: int, gamma: float) -> Clicks:
    """Random clicks of one sign, with replacement."""
    is_sign, device = clicks.label == sign, clicks.yx.device
    found = is_sign.sum(1, keepdim=True)
    least_here = found.clamp_max(least)
    # the inverse of the cumulated probabilities of 0 .. found - least
    rest = 1 - gamma ** (found - least_here + 1).float()
    extra = torch.log1p(-torch.rand(len(clicks), 1, device=device) * rest) / math.log(gamma)
    count = torch.minimum(least_here + extra.floor().long(), found)
    choice = (torch.rand(clicks.label.shape, device=device) * found).long().clamp_max((found - 1).clamp_min(0))
    place = is_sign.to(torch.uint8).argsort(dim=1, descending=True, stable=True).gather(1, choice)
    empty = torch.arange(clicks.slots, device=device) >= count
    return Clicks(
        clicks.yx.gather(1, place[..., None].expand(-1, -1, 2)).masked_fill(empty[..., None], -1.0),
        torch.full_like(clicks.label, sign).masked_fill(empty, EMPTY),
    )


def _filled_up(clicks: Clicks, target: Tensor) -> Clicks:
    """At least 10 clicks: random ones on the target in the empty slots of a sample, where it has a target."""
    inside = (target == 1).flatten(1)
    there = inside.any(1, keepdim=True)
    missing = max(UNIFORM_MOST - clicks.slots, 0)
    label = F.pad(clicks.label, (0, missing), value=EMPTY)
    place = torch.multinomial((inside | ~there).float(), label.shape[1], replacement=True)
    drawn = torch.stack([place // target.shape[-1], place % target.shape[-1]], dim=-1)
    free = (label == EMPTY) & there & (torch.arange(label.shape[1], device=label.device) < UNIFORM_MOST)
    yx = torch.where(free[..., None], drawn.to(clicks.yx), F.pad(clicks.yx, (0, 0, 0, missing), value=-1.0))
    return Clicks(yx, label.masked_fill(free, POSITIVE))


def _some(clicks: Clicks) -> Clicks:
    """Any 1 to 10 clicks of each sample, a positive one first."""
    device = clicks.yx.device
    rank = torch.rand(clicks.label.shape, device=device).masked_fill(~clicks.valid, -1.0)
    lead = torch.where(clicks.label == POSITIVE, rank, -1.0).argmax(1, keepdim=True)
    rank.scatter_(1, lead, torch.where(clicks.valid.gather(1, lead), 2.0, -1.0))
    mixed = _first(clicks, rank, clicks.slots)
    count = torch.randint(1, UNIFORM_MOST + 1, (len(clicks), 1), device=device)
    empty = torch.arange(clicks.slots, device=device) >= count
    return Clicks(mixed.yx.masked_fill(empty[..., None], -1.0), mixed.label.masked_fill(empty, EMPTY))


def _first(clicks: Clicks, rank: Tensor, slots: int) -> Clicks:
    """The slots of highest rank."""
    order = rank.argsort(dim=1, descending=True, stable=True)[:, :slots]
    return Clicks(clicks.yx.gather(1, order[..., None].expand(-1, -1, 2)), clicks.label.gather(1, order))
