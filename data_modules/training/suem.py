"""SUEM copy-paste: objects and images of two scenes become one (Simple, Union, Exclusion, image Mixing).

Source: CFR-ICL, section 3.3 and figure 4, and its released code (docs/methods/cfr_icl.md#suem-copy-paste).
Nothing is resized or moved: pieces keep the place that they have in their own crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from clicklab.records import IGNORE
from data_modules.scenes import SceneObject
from data_modules.training.view import TrainingView

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
                raise ValueError(f"SUEM's {name}_share is {low}, {high}, expected a range within 0..1")
        kinds = np.array([exclusion, union, veil], dtype=np.float64)
        if kinds.min() < 0 or kinds.sum() == 0:
            raise ValueError(f"SUEM's exclusion, union and veil are {kinds.tolist()}: 0 or more, and not all 0")
        self.simple_prob, self.extra_prob, self.mixing_prob = simple_prob, extra_prob, mixing_prob
        self.simple_share, self.mixing_share = simple_share, mixing_share
        self.min_visible, self.tries, self.keep_others = min_visible, tries, keep_others
        self._kinds = kinds / kinds.sum()

    def __call__(
        self, view: TrainingView, another: Callable[[], TrainingView], rng: np.random.Generator
    ) -> TrainingView:
        """Changes a view.

        Args:
            view: the source, with its target.
            another: draws a view of another scene, with its target.
            rng: where all chance comes from.

        Returns:
            The changed view with its target; the arrays of all views given are left alone.
        """
        if view.target and rng.random() < self.simple_prob:
            view = self._simple(view, another(), rng)
        if view.target and rng.random() < self.extra_prob:
            view = self._with_extra(view, another, rng)
        if rng.random() < self.mixing_prob:
            other = another()
            view = replace(view, image=_blend(view.image, other.image, rng.uniform(*self.mixing_share)))
        return view

    def _simple(self, view: TrainingView, base: TrainingView, rng: np.random.Generator) -> TrainingView:
        """The target of the view, put into another one, where it is the target again."""
        share = rng.uniform(*self.simple_share)
        pasted, ids = _paste(self._reduced(view), self._reduced(base), share)
        return self._reduced(replace(pasted, target=ids))

    def _with_extra(
        self, view: TrainingView, another: Callable[[], TrainingView], rng: np.random.Generator
    ) -> TrainingView:
        """The view with an object of another one: pasted over it, added to its target, or as a veil."""
        extra = self._extra_object(view, another)
        if extra is None:
            return view
        view = self._reduced(view)
        kind = rng.choice(3, p=self._kinds)  # exclusion, union, veil
        if kind == 2:
            mixed = _blend(view.image, extra.image, rng.uniform(*self.mixing_share))
            return replace(view, image=_put(mixed, extra.target_mask(), view.image))
        pasted, ids = _paste(extra, view, 1.0)
        target = view.target or ()
        if kind == 1:
            target += ids
        return self._reduced(replace(pasted, target=target))

    def _extra_object(self, view: TrainingView, another: Callable[[], TrainingView]) -> TrainingView | None:
        """Another view whose target leaves enough of this one's in sight; None after too many tries."""
        target = view.target_mask()
        for _ in range(self.tries):
            extra = self._reduced(another())
            visible = np.count_nonzero(target & ~extra.target_mask())
            if extra.target and visible > self.min_visible:
                return extra
        return None

    def _reduced(self, view: TrainingView) -> TrainingView:
        """The view itself, or with the target as its only object (with none where it has no target)."""
        if self.keep_others:
            return view
        layer = view.target_mask().astype(np.int32)  # (H, W): the target becomes object 1
        layer[view.ignored()] = IGNORE
        objects = {1: SceneObject(0)} if view.target else {}
        return TrainingView(view.image, layer[..., None], objects, tuple(objects))


def _paste(piece: TrainingView, base: TrainingView, share: float) -> tuple[TrainingView, tuple[int, ...]]:
    """Puts the target of one view, with its parts, on top of another view.

    Args:
        piece: the view whose target is pasted.
        base: the view that it is pasted onto.
        share: what the piece has in the colours; the pixels below it count as covered whatever it is.

    Returns:
        The base with the pasted objects in layers of their own, and the ids that the piece's target has there.
    """
    region = piece.target_mask()  # (H, W)
    family = _family(piece)
    first_free = max(0, int(base.layers.max()), *base.objects)  # pasted ids are shifted by this
    layers_used = sorted({entry.layer for entry in family.values()})
    new_layer = {layer: base.layers.shape[2] + place for place, layer in enumerate(layers_used)}

    # the piece's ids -> ids in the base, 0 for objects that are not pasted; -1 (ignore) wraps round to the last place
    new_id = np.zeros(max(int(piece.layers.max()), *family) + 2, np.int32)
    for key in family:
        new_id[key] = key + first_free

    covered = region[..., None]
    below = np.where(covered, 0, base.layers)  # (H, W, L)
    pasted_ids = new_id.take(piece.layers[..., layers_used], mode="wrap")
    above = np.where(covered, pasted_ids, 0)  # (H, W, layers used)

    objects = dict(base.objects)
    for key, entry in family.items():
        parent = entry.parent + first_free if entry.parent in family else 0
        objects[key + first_free] = SceneObject(new_layer[entry.layer], parent, entry.stuff)
    image = _put(_blend(piece.image, base.image, share), region, base.image)
    pasted = TrainingView(image, np.concatenate([below, above], axis=2), objects)
    return pasted, tuple(key + first_free for key in piece.target or ())


def _family(view: TrainingView) -> dict[int, SceneObject]:
    """The objects of the target and everything below them in the tree."""
    target = view.target or ()
    family: dict[int, SceneObject] = {}
    for key, entry in view.objects.items():
        above = key
        while above and above not in target:
            above = view.objects[above].parent
        if above:
            family[key] = entry
    return family


def _blend(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """(H, W, 3) uint8: `share` of the first image and the rest of the other."""
    return cv2.addWeighted(one, share, other, 1 - share, 0)


def _put(image: np.ndarray, region: np.ndarray, base: np.ndarray) -> np.ndarray:
    """A copy of `base` with the region (H, W) bool of `image` in it."""
    return cv2.copyTo(image, region.astype(np.uint8), base.copy())
