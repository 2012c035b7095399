"""SUEM copy-paste: objects and images of two scenes become one (Simple, Union, Exclusion, image Mixing).

Source: CFR-ICL, section 3.3 and figure 4, and its released code (docs/methods/cfr_icl.md#suem-copy-paste).
Nothing is resized or moved: pieces keep the place that they have in their own crop.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from clicklab.records import IGNORE
from data_modules.scenes import SceneObject
from data_modules.training.crop import Crop

Share = tuple[float, float]


class SUEM:
    """Up to three changes to a crop (the source), one after the other, each with a probability of its own.

    1. Simple: the source's target is put into an extra crop. The target stays that object.
    2. With an extra object, one of three: exclusion (it is pasted over the source; the target is what is still seen of
       the source's), union (it is pasted too, but belongs to the target), veil (it shines through; the target stays).
       The third is in the released code alone. An extra object that leaves too little of the target is drawn again.
    3. Mixing: the whole image shines through with another one. The target stays.

    A pasted object covers what was there, ignored pixels too; ignored pixels elsewhere stay ignored. A crop without a
    target is at most mixed.
    """

    def __init__(
        self,
        simple_prob: float = 0.5,
        extra_prob: float = 0.5,
        mixing_prob: float = 0.5,
        exclusion: float = 1.0,
        union: float = 1.0,
        veil: float = 1.0,
        simple_share: Share = (0.5, 1.0),
        mixing_share: Share = (0.5, 1.0),
        min_visible: int = 20,
        tries: int = 5,
        keep_others: bool = False,
    ) -> None:
        """The defaults are those of the released code; the paper gives no probabilities.

        Args:
            simple_prob, extra_prob, mixing_prob: of the three changes.
            exclusion, union, veil: how often each is taken in the second, relative to one another (paper: no veil).
            simple_share: range of the source's share in the colours of a simple paste. The paper pastes: (1, 1).
            mixing_share: range of the source's share in the colours of veils and mixings.
            min_visible: an extra object has to leave more pixels of the target than this.
            tries: extra objects that are drawn at most.
            keep_others: keep all other objects after the first and second change, for methods that learn from layers.
                Otherwise the target becomes the only object, and negative clicks "on other objects" fall anywhere
                outside of it.

        Raises:
            ValueError: a probability or share that is none, or shares that are all 0.
        """
        for name, value in {"simple": simple_prob, "extra": extra_prob, "mixing": mixing_prob}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"SUEM's {name}_prob is {value}: a probability lies in 0..1")
        for name, (low, high) in {"simple": simple_share, "mixing": mixing_share}.items():
            if not 0 <= low <= high <= 1:
                raise ValueError(f"SUEM's {name}_share is {low}, {high}: a range within 0..1 is wanted")
        kinds = np.array([exclusion, union, veil], dtype=np.float64)
        if kinds.min() < 0 or kinds.sum() == 0:
            raise ValueError(f"SUEM's exclusion, union and veil are {kinds.tolist()}: 0 or more, and not all 0")
        self.simple_prob, self.extra_prob, self.mixing_prob = simple_prob, extra_prob, mixing_prob
        self.simple_share, self.mixing_share = simple_share, mixing_share
        self.min_visible, self.tries, self.keep_others = min_visible, tries, keep_others
        self._kinds = kinds / kinds.sum()

    def __call__(self, crop: Crop, another: Callable[[], Crop], rng: np.random.Generator) -> Crop:
        """The changed crop with its target; the arrays of all crops given are left alone."""
        if crop.target and rng.random() < self.simple_prob:
            crop, ids = _paste(self._reduced(crop), self._reduced(another()), rng.uniform(*self.simple_share))
            crop = self._reduced(crop._replace(target=ids))
        if crop.target and rng.random() < self.extra_prob:
            crop = self._with_extra(crop, another, rng)
        if rng.random() < self.mixing_prob:
            crop = crop._replace(image=_blend(crop.image, another().image, rng.uniform(*self.mixing_share)))
        return crop

    def _with_extra(self, crop: Crop, another: Callable[[], Crop], rng: np.random.Generator) -> Crop:
        target = crop.target_mask()
        for _ in range(self.tries):
            extra = self._reduced(another())
            region = extra.target_mask()
            if extra.target and np.count_nonzero(target & ~region) > self.min_visible:
                break
        else:
            return crop
        crop = self._reduced(crop)
        kind = rng.choice(3, p=self._kinds)
        if kind == 2:
            mixed = _blend(crop.image, extra.image, rng.uniform(*self.mixing_share))
            return crop._replace(image=_put(mixed, region, crop.image))
        pasted, ids = _paste(extra, crop, 1.0)
        return self._reduced(pasted._replace(target=(crop.target or ()) + ids if kind == 1 else crop.target))

    def _reduced(self, crop: Crop) -> Crop:
        """The crop itself, or with the target as its only object (with none where it has no target)."""
        if self.keep_others:
            return crop
        layers = crop.target_mask().astype(np.int32)
        layers[crop.ignored()] = IGNORE
        objects = {1: SceneObject(0)} if crop.target else {}
        return Crop(crop.image, layers[..., None], objects, tuple(objects))


def _paste(piece: Crop, base: Crop, share: float) -> tuple[Crop, tuple[int, ...]]:
    """The target of `piece` with its parts on top of `base`, and the ids that it has there.

    `share` is what the piece has in the colours; its pixels are taken for covered whatever it is.
    """
    region = piece.target_mask()
    shift = max(0, int(base.layers.max()), *base.objects)
    family = _family(piece)
    used = sorted({entry.layer for entry in family.values()})
    table = np.zeros(max(int(piece.layers.max()), *family) + 2, np.int32)  # the last place is that of -1
    table[list(family)] = np.array(list(family)) + shift
    covered = region[..., None]
    below = np.where(covered, 0, base.layers)
    above = np.where(covered, table.take(piece.layers[..., used], mode="wrap"), 0)
    objects = dict(base.objects)
    for key, entry in family.items():
        parent = entry.parent + shift if entry.parent in family else 0
        objects[key + shift] = SceneObject(base.layers.shape[2] + used.index(entry.layer), parent, entry.stuff)
    image = _put(_blend(piece.image, base.image, share), region, base.image)
    ids = tuple(key + shift for key in piece.target or ())
    return Crop(image, np.concatenate([below, above], axis=2), objects), ids


def _family(crop: Crop) -> dict[int, SceneObject]:
    """The objects of the target and everything below them in the tree."""
    family: dict[int, SceneObject] = {}
    for key, entry in crop.objects.items():
        above = key
        while above and above not in (crop.target or ()):
            above = crop.objects[above].parent
        if above:
            family[key] = entry
    return family


def _blend(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    return cv2.addWeighted(one, share, other, 1 - share, 0)


def _put(image: np.ndarray, region: np.ndarray, base: np.ndarray) -> np.ndarray:
    """A copy of `base` with the region (H, W) bool of `image` in it."""
    return cv2.copyTo(image, region.astype(np.uint8), base.copy())
