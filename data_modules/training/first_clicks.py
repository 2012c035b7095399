"""Where the random first clicks of a training sample fall.

Source: the official MultiPointSampler (docs/training.md#initial-clicks). All randomness comes from the numpy generator
    passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch

from clicklab.clicks.distance import distance_to_background
from data_modules.training.targets import Target

Point = tuple[int, int, bool]


@dataclass(frozen=True)
class InitialClickSampling:
    """Where the random first clicks fall. Defaults: all released official configs (CFR-ICL ViT-H: 12 points).

    Attributes:
        max_points: most clicks per sign.
        gamma: n more clicks have probability proportional to gamma^n.
        expand_ratio: the border zone reaches ceil(expand_ratio * sqrt(area)) pixels around the target.
        erode_prob: chance that positive clicks keep away from an object's outline, by `erode_pixels`.
        erode_pixels: how far (official: 3 erosions with a 3 x 3 square).
        first_ratio: the first positive click on every chosen object goes to a pixel deeper than the greatest depth of
            its eroded mask divided by this (FocalClick: 1.7, RITM's `first_click_center`); None: anywhere, as the rest.
        background, other, border: shares of negative clicks anywhere outside, on other objects, close to the target.
    """

    max_points: int = 24
    gamma: float = 0.8
    expand_ratio: float = 0.1
    erode_prob: float = 0.9
    erode_pixels: int = 3
    first_ratio: float | None = None
    background: float = 0.1
    other: float = 0.4
    border: float = 0.5

    def __post_init__(self) -> None:
        shares = (self.background, self.other, self.border)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"points.background, other and border are {shares}: shares of 0 or more that add up to 1")
        if self.max_points < 1 or self.erode_pixels < 0 or self.expand_ratio < 0 or self.gamma <= 0:
            raise ValueError(f"impossible point settings: {self}")
        if self.first_ratio is not None and self.first_ratio <= 1:
            raise ValueError(f"points.first_ratio is {self.first_ratio}: it has to exceed 1")
        if not 0 <= self.erode_prob <= 1:
            raise ValueError(f"points.erode_prob is {self.erode_prob}: a probability lies in 0..1")


def sample_points(target: Target, law: InitialClickSampling, rng: np.random.Generator) -> list[Point]:
    """Random clicks (y, x, positive): first the positive ones, then the negative ones, `max_points` of each at most.

    Unlike the official code no click ever falls on ignored pixels (there they count as object and as background at
    once).
    """
    return _positive_points(target, law, rng) + _negative_points(target, law, rng)


def _positive_points(target: Target, law: InitialClickSampling, rng: np.random.Generator) -> list[Point]:
    """Clicks on the chosen objects: one on each, then any number anywhere on them, objects being equally likely."""
    width = target.mask.shape[1]
    parts = [_eroded(part, law, rng) for part in target.parts[: law.max_points]]
    parts = [part for part in parts if part.any()]
    if not parts:
        return []
    places = [np.flatnonzero(part) for part in parts]  # flat pixel numbers of each object
    firsts = places if law.first_ratio is None else [_central(part, law.first_ratio) for part in parts]
    if len(places) == 1:
        count = 1 + _draw_count(law.gamma, law.max_points - 1, rng)
        clicks = _draw_places(places[0], count, rng)
        if law.first_ratio is not None:
            clicks[0] = rng.choice(firsts[0])
        return _points(clicks, width, True)
    first = [place[rng.integers(len(place))] for place in firsts]
    count = min(_draw_count(law.gamma, law.max_points, rng), law.max_points - len(first))
    clicked_objects = rng.integers(len(places), size=count)
    more = [places[number][rng.integers(len(places[number]))] for number in clicked_objects]
    return _points(first + more, width, True)


def _central(part: np.ndarray, ratio: float) -> np.ndarray:
    """Flat indices of the pixels of a (H, W) bool mask that are deeper than its greatest depth divided by `ratio`."""
    depth = distance_to_background(torch.from_numpy(part)[None])[0].numpy()
    return np.flatnonzero(depth > depth.max() / ratio)


def _negative_points(target: Target, law: InitialClickSampling, rng: np.random.Generator) -> list[Point]:
    """Clicks outside of the target: in the usual zones, and in every place that has to be kept clear.

    Each place to keep clear draws clicks as a positive object does, the usual zones together 0 or more.
    """
    width = target.mask.shape[1]
    to_keep_clear = [np.flatnonzero(_eroded(place, law, rng)) for place in target.excluded][: law.max_points]
    groups = [
        _draw_places(place, 1 + _draw_count(law.gamma, law.max_points - 1, rng), rng)
        for place in to_keep_clear
        if len(place)
    ]
    groups.append(_usual_negatives(target, law, _draw_count(law.gamma, law.max_points, rng), rng))
    groups = [group for group in groups if len(group)]
    if not groups:
        return []
    if len(groups) == 1:
        return _points(groups[0], width, False)
    first = [group[:1] for group in groups][: law.max_points]
    more = _more_negatives(target, law, to_keep_clear, law.max_points - len(first), rng)
    return _points(np.concatenate([*first, more]), width, False)


def _more_negatives(
    target: Target, law: InitialClickSampling, to_keep_clear: list[np.ndarray], most: int, rng: np.random.Generator
) -> np.ndarray:
    """Flat indices of any number of clicks, up to `most`, behind the first of each group.

    As for a merged target, every place to keep clear and the usual zones together are equally likely.
    """
    count = min(_draw_count(law.gamma, law.max_points, rng), most)
    groups = len(to_keep_clear) + 1
    per_group = np.bincount(rng.integers(groups, size=count), minlength=groups)
    clicks = [
        _draw_places(place, number, rng) for place, number in zip(to_keep_clear, per_group, strict=False) if len(place)
    ]
    clicks.append(_usual_negatives(target, law, int(per_group[-1]), rng))
    return rng.permutation(np.concatenate(clicks))


def _draw_places(place: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) random elements of the flat indices `place`."""
    return place[rng.integers(len(place), size=count)]


def _usual_negatives(target: Target, law: InitialClickSampling, count: int, rng: np.random.Generator) -> np.ndarray:
    """(at most `count`,) flat indices of clicks from the three zones; an empty zone drops its clicks, as officially."""
    zones = rng.choice(3, size=count, p=(law.background, law.other, law.border))
    found = [np.zeros(0, dtype=np.intp)]
    for zone, number in zip(*np.unique(zones, return_counts=True), strict=True):
        place = np.flatnonzero(_negative_zone(target, int(zone), law))
        if len(place):
            found.append(place[rng.integers(len(place), size=number)])
    return rng.permutation(np.concatenate(found))


def _negative_zone(target: Target, zone: int, law: InitialClickSampling) -> np.ndarray:
    """(H, W) bool where negative clicks of a kind may fall: 0 background, 1 other objects, 2 border."""
    if zone == 0 or not target.ids:
        return target.background
    if zone == 1:
        return target.others
    inside = (target.mask == 1).astype(np.uint8)
    reach = int(np.ceil(law.expand_ratio * np.sqrt(inside.sum())))
    return cv2.dilate(inside, _square(reach)).astype(bool) & target.background


def _eroded(part: np.ndarray, law: InitialClickSampling, rng: np.random.Generator) -> np.ndarray:
    """The part without its outermost pixels, most of the time and unless too little (10 pixels) would be left."""
    if rng.random() >= law.erode_prob:
        return part
    inner = cv2.erode(part.astype(np.uint8), _square(law.erode_pixels))
    return inner.astype(bool) if np.count_nonzero(inner) > 10 else part


def _square(reach: int) -> np.ndarray:
    # `reach` steps of a 3 x 3 square are one step of a (2 reach + 1) square
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _draw_count(gamma: float, highest: int, rng: np.random.Generator) -> int:
    return int(np.searchsorted(_count_cdf(gamma, highest), rng.random(), side="right"))


@lru_cache(maxsize=16)
def _count_cdf(gamma: float, highest: int) -> np.ndarray:
    """Cumulated probabilities of 0..highest under p ~ gamma^n."""
    weights = gamma ** np.arange(highest + 1)
    cdf = np.cumsum(weights / weights.sum())
    cdf[-1] = 1.0  # rounding must not leave a gap at the end
    return cdf


def _points(flat: np.ndarray | list[int], width: int, positive: bool) -> list[Point]:
    return [(index // width, index % width, positive) for index in np.asarray(flat, dtype=np.intp).tolist()]
