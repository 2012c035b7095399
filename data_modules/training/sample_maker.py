"""From a scene to a training sample: one view of it, its target, and the first clicks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from clicklab.records import ObjectTable
from data_modules.scenes import Scene, SceneObject
from data_modules.training.augment import Augmentation
from data_modules.training.first_clicks import InitialClickSampling, Point, sample_points
from data_modules.training.targets import (
    Target,
    TargetSampling,
    choose_objects,
    choose_target,
    whole_target,
    without_small_parts,
)
from data_modules.training.view import SceneMix, SceneZoom, TrainingView, remove_objects, without_stuff
from data_modules.undrawn import UndrawnScene

# how often a crop of a scene is tried, and a target of it with a zoom and a crop, before giving the scene up
CROPS, ZOOMS = 100, 10


@dataclass(frozen=True)
class TrainingSample:
    """One crop with target and first clicks, before batching.

    Attributes:
        image: (H, W, 3) uint8 RGB; target: (H, W) int8; points: first clicks.
        layers: (H, W, L) int32 and objects: their table, both None unless asked for.
    """

    image: np.ndarray
    target: np.ndarray
    points: list[Point]
    layers: np.ndarray | None = None
    objects: ObjectTable | None = None


@dataclass(frozen=True)
class SampleMaker:
    """Makes samples of scenes; all its chance comes from the generators that are passed in.

    Attributes:
        augmentation: crops and changes image and layers alike.
        targets: which objects become the target.
        points: where the first clicks fall.
        with_layers: whether samples bring their layers and object table.
        zoom, mix: the hooks before and after the augmentation, None for neither.
    """

    augmentation: Augmentation
    targets: TargetSampling
    points: InitialClickSampling
    with_layers: bool = False
    zoom: SceneZoom | None = None
    mix: SceneMix | None = None

    def sample(
        self,
        scene: Scene | UndrawnScene,
        another: Callable[[], TrainingView],
        rng: np.random.Generator,
        negatives: bool = False,
    ) -> TrainingSample | None:
        """A sample of a scene.

        Args:
            scene: where it comes from.
            another: draws a view of another scene, for `mix`.
            rng: the sample's generator.
            negatives: a scene without any object is used as it is.

        Returns:
            None where no crop with a usable target was found.
        """
        stuff_too = self.stuff_too(rng)
        view = self.view(scene, stuff_too, rng, negatives)
        if view is None:
            return None
        if self.mix is not None:
            view = self.mix(self.with_target(view, stuff_too, rng), another, rng).sync_objects()
        return self.finish(view, stuff_too, rng, negatives and not scene.objects)

    def stuff_too(self, rng: np.random.Generator) -> bool:
        """Whether stuff regions of the next scene may be targets."""
        return bool(rng.random() < self.targets.stuff_prob)

    def view(
        self, scene: Scene | UndrawnScene, stuff_too: bool, rng: np.random.Generator, negatives: bool = False
    ) -> TrainingView | None:
        """An augmented crop that holds an object, or now and then none; None where none was found."""
        if isinstance(scene, UndrawnScene) and scene.objects and self.zoom is None:
            stuff = stuff_too or self.targets.keep_stuff
            shown = scene if stuff else replace(scene, objects=without_stuff(scene.objects))
            return self._retried(lambda: self._cut(shown, rng), bool(shown.objects), rng)
        whole = self.whole(scene, stuff_too)
        if negatives and not scene.objects:
            return self._negative(whole, rng)
        if self.zoom is not None:
            return self._zoomed(self.zoom, whole.sync_objects(), stuff_too, rng)
        return self._retried(lambda: self._augmented(whole, rng), bool(whole.objects), rng)

    def whole(self, scene: Scene | UndrawnScene, stuff_too: bool) -> TrainingView:
        """All of a scene, drawn."""
        drawn = scene.drawn() if isinstance(scene, UndrawnScene) else scene
        return TrainingView.of(drawn, stuff_too or self.targets.keep_stuff)

    def _retried(
        self, crop: Callable[[], TrainingView], any_object: bool, rng: np.random.Generator
    ) -> TrainingView | None:
        """Crops of a scene until one holds an object, or may do without; None where none was found."""
        for _ in range(CROPS if any_object else 1):
            view = crop()
            # both numbers are drawn in any case, as officially
            if (rng.random() < self.targets.keep_background_prob) or view.objects:
                return view
        return None

    def with_target(self, view: TrainingView, stuff_too: bool, rng: np.random.Generator) -> TrainingView:
        """The view with its target, drawn now unless that was done before."""
        if view.target is not None:
            return view
        return replace(view, target=choose_objects(self.candidates(view), self.targets, rng, stuff_too))

    def candidates(self, view: TrainingView) -> dict[int, SceneObject]:
        """The objects of a view that may be targets, and those that are by decision of zoom or mix."""
        # after the retries, as officially: a crop with small objects only is a crop without target
        small = {key for key in view.objects if view.areas[key] < self.targets.min_object_area}
        return remove_objects(view.objects, small.difference(view.target or ()))

    def finish(
        self, view: TrainingView, stuff_too: bool, rng: np.random.Generator, negative: bool = False
    ) -> TrainingSample | None:
        """Target and first clicks of a view; None where the settings do not accept what is left of the target.

        Args:
            view: the view, its objects in line with its layers.
            stuff_too: whether stuff regions may be targets.
            rng: the sample's generator.
            negative: the view is without target on purpose.
        """
        candidates = self.candidates(view)
        target = self._target(view, candidates, stuff_too, rng)
        points = sample_points(target, self.points, rng)  # some may lie on parts that go, as officially
        mask = without_small_parts(target.mask, self.targets.min_part_area)
        if not (negative or self.targets.accepts(mask)):
            return None
        if not self.with_layers:
            return TrainingSample(view.image, mask, points)
        unchanged = target.whole and mask is target.mask
        table = object_table(candidates, view.areas, target.ids if unchanged else ())
        return TrainingSample(view.image, mask, points, view.layers, table)

    def _target(
        self, view: TrainingView, candidates: dict[int, SceneObject], stuff_too: bool, rng: np.random.Generator
    ) -> Target:
        if view.target is None:
            return choose_target(view.layers, candidates, self.targets, rng, stuff_too)
        return whole_target(view.layers, candidates, tuple(key for key in view.target if key in candidates))

    def _negative(self, whole: TrainingView, rng: np.random.Generator) -> TrainingView:
        """A crop of a scene that is without objects on purpose."""
        whole = replace(whole, target=())
        return self._augmented(whole if self.zoom is None else self.zoom(whole, rng), rng)

    def _zoomed(
        self, zoom: SceneZoom, whole: TrainingView, stuff_too: bool, rng: np.random.Generator
    ) -> TrainingView | None:
        """A crop whose target was drawn from the whole scene, which was seen accordingly; None as in `view`."""
        least = max(self.targets.min_object_area, 1)
        for _ in range(ZOOMS if whole.objects else 1):
            target = choose_objects(whole.objects, self.targets, rng, stuff_too)
            view = self._augmented(zoom(replace(whole, target=target), rng), rng)
            visible = tuple(key for key in target if view.areas.get(key, 0) >= least)
            if (rng.random() < self.targets.keep_background_prob) or visible:
                return replace(view, target=visible)
        return None

    def _cut(self, scene: UndrawnScene, rng: np.random.Generator) -> TrainingView:
        """A crop of a scene into which only the masks are drawn that it shows."""
        image, numbers = self.augmentation(scene.image, scene.pixel_numbers(), rng)
        layers, objects = scene.cut(numbers[..., 0])
        return TrainingView(image, layers, objects).sync_objects()

    def _augmented(self, view: TrainingView, rng: np.random.Generator) -> TrainingView:
        image, layers = self.augmentation(view.image, view.layers, rng)
        return replace(view, image=image, layers=layers).sync_objects()


def object_table(objects: dict[int, SceneObject], areas: Mapping[int, int], chosen: Sequence[int]) -> ObjectTable:
    """The table of a crop's objects; `chosen` are the ids of the target."""
    ids = sorted(objects)
    return ObjectTable(
        ids=torch.tensor(ids, dtype=torch.int64),
        layer=torch.tensor([objects[key].layer for key in ids], dtype=torch.int64),
        parent=torch.tensor([objects[key].parent for key in ids], dtype=torch.int64),
        stuff=torch.tensor([objects[key].stuff for key in ids], dtype=torch.bool),
        area=torch.tensor([areas[key] for key in ids], dtype=torch.int64),
        target=torch.tensor([key in chosen for key in ids], dtype=torch.bool),
    )
