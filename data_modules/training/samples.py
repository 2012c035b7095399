"""Training samples: which scene, which crop of it, which target, which first clicks.

Sample i of epoch e of a run with seed s is a pure function of (s, e, i), whatever the number of workers, ranks or
interruptions.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from clicklab.records import Batch, Clicks
from data_modules.scenes import BrokenScene, Scene
from data_modules.training.augment import Augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.sample_maker import SampleMaker, TrainingSample
from data_modules.training.sources import TrainingSource, read_sample_weights
from data_modules.training.targets import TargetSampling
from data_modules.training.view import SceneMix, SceneZoom, TrainingView
from data_modules.undrawn import UndrawnScene

UNUSABLE = "no crop of them holds an object that targets.min_part_area and targets.max_share accept"
DRAWS = 1000  # how often a scene is drawn before giving up


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
        self.make = SampleMaker(augmentation, targets, points, with_layers, zoom, mix)
        self.seed, self.epoch_length = seed, epoch_length
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
        if self.make.targets.use_hierarchy and not (self.make.zoom is None and self.make.mix is None):
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
                    dataset = self.datasets[place[0]]
                    sample = self.sample_of(dataset.training_scene(place[1]), rng, dataset.negatives)
                    if sample is not None:
                        return sample
            except BrokenScene as error:
                last = error
                self._report(place, error)
            place = self._draw(rng)
        reason = f"the last error was: {last}" if last else UNUSABLE
        raise ValueError(f"{DRAWS} training scenes in a row could not be used; {reason}")

    def __getitems__(self, keys: Sequence[tuple[int, int] | int]) -> list[TrainingSample]:
        """The samples of a batch; the datasets are told first which scenes will be asked for."""
        for number, dataset in enumerate(self.datasets):
            dataset.expect([scene for source, scene in map(self._first_place, keys) if source == number])
        return [self[key] for key in keys]

    def _first_place(self, key: tuple[int, int] | int) -> tuple[int, int]:
        """(source, scene) that a sample tries first."""
        epoch, index = (0, key) if isinstance(key, int) else key
        return self._place(epoch, index, np.random.default_rng([self.seed, epoch, index]))

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

    def sample_of(
        self, scene: Scene | UndrawnScene, rng: np.random.Generator, negatives: bool = False
    ) -> TrainingSample | None:
        """A sample of one scene, or None where no crop with a usable target was found."""
        return self.make.sample(scene, lambda: self._another(rng), rng, negatives)

    def _another(self, rng: np.random.Generator) -> TrainingView:
        """A view of a random scene, for `mix`; all scenes of a source are equally likely.

        A scene that cannot be read is named and another one drawn.
        """
        for _ in range(DRAWS):
            place = self._draw(rng, by_weights=False)  # as officially
            if place in self._broken:
                continue
            dataset = self.datasets[place[0]]
            try:
                scene = dataset.training_scene(place[1])
            except BrokenScene as error:
                self._report(place, error)  # here, or the caller would blame its own scene
                continue
            stuff_too = self.make.stuff_too(rng)
            view = self.make.view(scene, stuff_too, rng, dataset.negatives)
            if view is not None:
                return self.make.with_target(view, stuff_too, rng)
        raise ValueError(f"{DRAWS} training scenes in a row could not be used for a mix; {UNUSABLE}")


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
