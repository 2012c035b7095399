"""Training samples: which scene, which crop of it, which target, which first clicks.

Sample i of epoch e of a run with seed s is a pure function of (s, e, i), whatever the number of workers, ranks or
interruptions.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clicklab.records import Batch, Clicks, ObjectTable
from data_modules.scenes import BrokenScene, Scene, SceneObject
from data_modules.training.augment import Augmentation
from data_modules.training.crop import Crop, SceneMix, SceneZoom
from data_modules.training.first_clicks import InitialClickSampling, Point, sample_points
from data_modules.training.sources import TrainingSource, read_sample_weights
from data_modules.training.targets import (
    TargetSampling,
    choose_objects,
    choose_target,
    remove_objects,
    settle,
    whole_target,
    without_small_parts,
    without_stuff,
)

# how often a scene is drawn, a crop of it tried, and a target of it with a view and a crop, before giving up
DRAWS, CROPS, VIEWS = 1000, 100, 10


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


class TrainingSamples(Dataset[TrainingSample]):
    """Random training samples of a mixture of datasets; the keys are (epoch, index).

    With `epoch_length`, every sample draws its source and scene at random. Without, an epoch visits every scene of
    every source once, in an order of its own. A scene that cannot be read is named in a warning, once by each worker,
    and replaced by another one.
    """

    def __init__(
        self,
        sources: Sequence[TrainingSource],
        augmentation: Augmentation,
        targets: TargetSampling,
        points: InitialClickSampling,
        seed: int,
        epoch_length: int | None = None,
        with_layers: bool = False,
        zoom: SceneZoom | None = None,
        mix: SceneMix | None = None,
    ) -> None:
        """As `InteractiveDataModule`."""
        self.zoom, self.mix = zoom, mix
        self.augmentation, self.targets, self.points = augmentation, targets, points
        self.seed, self.epoch_length, self.with_layers = seed, epoch_length, with_layers
        self.datasets = [source.dataset for source in sources]
        self._check(sources)
        weights = np.array([source.weight for source in sources], dtype=np.float64)
        self._source_cdf = np.cumsum(weights / weights.sum())
        self._scene_cdf = [
            None
            if source.sample_weights is None
            else np.cumsum(read_sample_weights(source.sample_weights, source.dataset, source.sample_weights_gamma))
            for source in sources
        ]
        self._starts = np.cumsum([0] + [len(dataset) for dataset in self.datasets])
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
        self._broken: set[tuple[int, int]] = set()

    def _check(self, sources: Sequence[TrainingSource]) -> None:
        if not sources:
            raise ValueError("there is nothing to train on: give data.train a list of sources, each with a dataset")
        if self.epoch_length is not None and self.epoch_length < 1:
            raise ValueError(
                f"epoch_length is {self.epoch_length}: give a number of samples, 1 or more, or leave it out"
            )
        if self.targets.use_hierarchy and not (self.zoom is None and self.mix is None):
            raise ValueError("zoom and mix take whole objects as targets: set targets.use_hierarchy to false")
        for source in sources:
            if not len(source.dataset):
                raise ValueError(f"training source {source.dataset.name} has no scenes")
            if source.dataset.overlap and not source.allow_overlap:
                raise ValueError(
                    f"training source {source.dataset.name} shares images with {source.dataset.overlap}: train on"
                    f" another split, or set allow_overlap and do not report {source.dataset.overlap}"
                )
            if not source.weight > 0:
                raise ValueError(
                    f"training source {source.dataset.name} has weight {source.weight}: it has to be above 0"
                )
            if self.epoch_length is None and (source.weight != 1 or source.sample_weights is not None):
                raise ValueError(
                    f"training source {source.dataset.name} has weights, but without epoch_length every scene is seen"
                    " once per epoch: set epoch_length (official: 8498 for SBD, 30000 for COCO+LVIS)"
                )

    def __len__(self) -> int:
        return int(self._starts[-1]) if self.epoch_length is None else self.epoch_length

    def __getitem__(self, index: tuple[int, int] | int) -> TrainingSample:
        # a bare index comes from Trainer(overfit_batches=...), which wants the same samples in every epoch
        epoch, index = (0, index) if isinstance(index, int) else index
        rng = np.random.default_rng([self.seed, epoch, index])
        place = self._place(epoch, index, rng)
        last: BrokenScene | None = None
        for _ in range(DRAWS):
            try:
                if place not in self._broken:
                    sample = self.sample_of(self.datasets[place[0]][place[1]], rng)
                    if sample is not None:
                        return sample
            except BrokenScene as error:
                last = error
                self._report(place, error)
            place = self._draw(rng)
        reason = f"the last error was: {last}" if last else "no crop of them holds an object"
        raise ValueError(f"{DRAWS} training scenes in a row could not be used; {reason}")

    def _place(self, epoch: int, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """(source, scene) of a sample."""
        if self.epoch_length is not None:
            return self._draw(rng)
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self))
        number = int(self._order[1][index])
        source = int(np.searchsorted(self._starts, number, side="right")) - 1
        return source, number - int(self._starts[source])

    def _draw(self, rng: np.random.Generator, by_weights: bool = True) -> tuple[int, int]:
        """(source, scene): the source by its weight, the scene by its sample weight or all of the source alike."""
        source = min(int(np.searchsorted(self._source_cdf, rng.random(), side="right")), len(self.datasets) - 1)
        cdf, count = self._scene_cdf[source], len(self.datasets[source])
        if cdf is None or not by_weights:
            return source, int(rng.integers(count))
        return source, min(int(np.searchsorted(cdf, rng.random(), side="right")), count - 1)

    def _report(self, place: tuple[int, int], error: BrokenScene) -> None:
        self._broken.add(place)
        dataset = self.datasets[place[0]]
        warnings.warn(f"{dataset.name}: scene {dataset.scene_name(place[1])} is left out: {error}", stacklevel=2)

    def sample_of(self, scene: Scene, rng: np.random.Generator) -> TrainingSample | None:
        """A crop of the scene, or None where no crop with an object was found."""
        stuff_too = bool(rng.random() < self.targets.stuff_prob)
        crop = self._crop(scene, stuff_too, rng)
        if crop is None:
            return None
        if self.mix is not None:
            mixed = self.mix(self._with_target(crop, stuff_too, rng), lambda: self._another(rng), rng)
            crop = _Settled.of(mixed)
        return self._finish(crop, stuff_too, rng)

    def _crop(self, scene: Scene, stuff_too: bool, rng: np.random.Generator) -> _Settled | None:
        """An augmented crop that holds an object, or now and then none; None where none was found."""
        usable = scene.objects if stuff_too or self.targets.keep_stuff else without_stuff(scene.objects)
        whole = Crop(scene.image, scene.layers, usable)
        if self.zoom is not None:
            return self._zoomed(self.zoom, _Settled.of(whole), stuff_too, rng)
        for _ in range(CROPS if usable else 1):
            crop = self._augmented(whole, rng)
            # both numbers are drawn in any case, as officially
            if (rng.random() < self.targets.keep_background_prob) or crop.objects:
                return crop
        return None

    def _zoomed(self, zoom: SceneZoom, whole: _Settled, stuff_too: bool, rng: np.random.Generator) -> _Settled | None:
        """A crop whose target was drawn from the whole scene, which was seen accordingly; None as in `_crop`."""
        for _ in range(VIEWS if whole.objects else 1):
            target = choose_objects(whole.objects, self.targets, rng, stuff_too)
            view = zoom(Crop(whole.image, whole.layers, whole.objects, target), rng)
            crop = self._augmented(view, rng)
            seen = tuple(key for key in target if crop.areas.get(key, 0) >= max(self.targets.min_object_area, 1))
            if (rng.random() < self.targets.keep_background_prob) or seen:
                return crop._replace(target=seen)
        return None

    def _augmented(self, view: Crop, rng: np.random.Generator) -> _Settled:
        image, layers = self.augmentation(view.image, view.layers, rng)
        return _Settled.of(view._replace(image=image, layers=layers))

    def _with_target(self, crop: _Settled, stuff_too: bool, rng: np.random.Generator) -> Crop:
        """The crop with its target, drawn now unless that was done before."""
        ids = crop.target
        if ids is None:
            ids = choose_objects(self._large_enough(crop), self.targets, rng, stuff_too)
        return Crop(crop.image, crop.layers, crop.objects, ids)

    def _another(self, rng: np.random.Generator) -> Crop:
        """An augmented crop of a random scene, for `mix`; all scenes of a source are equally likely.

        A scene that cannot be read is named and another one drawn.
        """
        for _ in range(DRAWS):
            place = self._draw(rng, by_weights=False)  # as officially
            if place in self._broken:
                continue
            try:
                scene = self.datasets[place[0]][place[1]]
            except BrokenScene as error:
                self._report(place, error)  # here, or the caller would blame its own scene
                continue
            stuff_too = bool(rng.random() < self.targets.stuff_prob)
            crop = self._crop(scene, stuff_too, rng)
            if crop is not None:
                return self._with_target(crop, stuff_too, rng)
        raise ValueError(f"{DRAWS} training scenes in a row could not be used for a mix")

    def _finish(self, crop: _Settled, stuff_too: bool, rng: np.random.Generator) -> TrainingSample | None:
        objects = self._large_enough(crop)
        if crop.target is None:
            target = choose_target(crop.layers, objects, self.targets, rng, stuff_too)
        else:
            target = whole_target(crop.layers, objects, tuple(key for key in crop.target if key in objects))
        points = sample_points(target, self.points, rng)  # some may lie on parts that go, as officially
        mask = without_small_parts(target.mask, self.targets.min_part_area)
        if not self.targets.accepts(mask):
            return None
        if not self.with_layers:
            return TrainingSample(crop.image, mask, points)
        chosen = target.ids if target.whole and mask is target.mask else ()
        return TrainingSample(crop.image, mask, points, crop.layers, object_table(objects, crop.areas, chosen))

    def _large_enough(self, crop: _Settled) -> dict[int, SceneObject]:
        """The objects that may be targets, and those that are by decision of zoom or mix."""
        # after the retries, as officially: a crop with small objects only is a crop without target
        small = {key for key in crop.objects if crop.areas[key] < self.targets.min_object_area}
        return remove_objects(crop.objects, small.difference(crop.target or ()))


class _Settled(NamedTuple):
    """A crop whose layers and objects agree (`settle`), with the pixels of every object."""

    image: np.ndarray
    layers: np.ndarray
    objects: dict[int, SceneObject]
    areas: dict[int, int]
    target: tuple[int, ...] | None

    @classmethod
    def of(cls, crop: Crop) -> _Settled:
        return cls(crop.image, *settle(crop.layers, crop.objects), crop.target)


def object_table(objects: dict[int, SceneObject], areas: dict[int, int], chosen: Sequence[int]) -> ObjectTable:
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


def collate(samples: Sequence[TrainingSample]) -> Batch:
    """Samples of one size as a batch with an empty previous mask; empty layers are added to the same number."""
    image = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2).contiguous()
    target = torch.from_numpy(np.stack([sample.target for sample in samples]))[:, None].float()
    layers = [sample.layers for sample in samples if sample.layers is not None]
    tables = tuple(sample.objects for sample in samples if sample.objects is not None)
    return Batch(
        image=image.float().div_(255),
        target=target,
        clicks=Clicks.from_list([sample.points for sample in samples]),
        prev_mask=torch.zeros_like(target),
        layers=_stack_layers(layers) if layers else None,
        objects=tables or None,
    )


def _stack_layers(layers: Sequence[np.ndarray]) -> Tensor:
    most = max(ids.shape[2] for ids in layers)
    padded = [np.pad(ids, ((0, 0), (0, 0), (0, most - ids.shape[2]))) for ids in layers]
    return torch.from_numpy(np.stack(padded)).permute(0, 3, 1, 2).contiguous()
