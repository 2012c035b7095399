"""The one data module: training samples with first clicks, evaluation objects, and the simulated user."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import cv2
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from clicklab.clicks.next_click import OFFICIAL, CorrectiveClickSampling
from clicklab.records import Batch, EvaluationObject, SkippedObject
from data_modules.process_memory import keep_freed_memory
from data_modules.samplers import EachOnceSampler, TrainingSampler
from data_modules.scenes import EvaluationObjects, SceneDataset
from data_modules.simulation import SimulatedUser
from data_modules.training.augment import augmentation as build_augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.first_look import look_at_sources
from data_modules.training.samples import TrainingSamples, TrainingSource, collate
from data_modules.training.targets import TargetSampling
from data_modules.training.view import SceneMix, SceneZoom

Stage = Literal["val", "test"]
EvaluationBatch = list[EvaluationObject | SkippedObject]
_TARGETS, _POINTS = TargetSampling(), InitialClickSampling()


class ResumableLoader(DataLoader[Any]):
    """Tells Lightning that it goes on where an interrupted run stopped; without it Lightning warns that it cannot.

    There is nothing to save: the position is asked of the trainer (`InteractiveDataModule._position`).
    """

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        pass


class InteractiveDataModule(LightningDataModule):
    """Training batches (`clicklab.records.Batch`) and evaluation objects (lists of `EvaluationObject | SkippedObject`).

    An interrupted run goes on with exactly the batches that it would have seen: the position is the number of batches
    that the trainer has done, which its checkpoints hold. A changed batch size or number of devices changes what a
    batch is, and with it the position.

    Attributes:
        user: the simulated annotator that methods ask during training.
    """

    def __init__(
        self,
        train: list[TrainingSource] | None = None,
        val: dict[str, SceneDataset] | None = None,
        test: dict[str, SceneDataset] | None = None,
        crop_size: int | tuple[int, int] = 448,
        batch_size: int = 32,
        epoch_length: int | None = None,
        augmentation: str = "coco_lvis",
        targets: TargetSampling = _TARGETS,
        points: InitialClickSampling = _POINTS,
        max_rounds: int = 3,
        user_threshold: float = 0.49,
        clicks: CorrectiveClickSampling = OFFICIAL,
        with_layers: bool = False,
        zoom: SceneZoom | None = None,
        mix: SceneMix | None = None,
        eval_batch_size: int = 8,
        limit: int | None = None,
        num_workers: int = 4,
        seed: int | None = None,
    ) -> None:
        """
        Args:
            train: the datasets to train on, each with its weight in the mixture.
            val: name -> dataset measured during `fit` and by `validate`.
            test: name -> dataset measured by `test`.
            crop_size: side of the square training crops in pixels, or (height, width).
            batch_size: training samples per step, over all devices together, so that a recipe stays the same on any
                number of them.
            epoch_length: samples per epoch over all devices, drawn at random by the weights; without it every scene
                comes once per epoch.
            augmentation: name of a pipeline in data_modules.training.augment.AUGMENTATIONS.
            targets: which objects become the target.
            points: where the random first clicks fall.
            max_rounds: most rounds that the simulated user plays before the step that is learnt from.
            user_threshold: probability above which the simulated user sees object (official: 0.49).
            clicks: where the simulated user clicks.
            zoom: sees the whole scene in a way that suits its target, such as
                `data_modules.training.target_zoom.TargetAwareZoom`; the target is then drawn before the augmentation,
                not after.
            mix: makes one crop of two or more after augmentation, such as `data_modules.training.suem.SUEM`
                (copy-paste); see `data_modules.training.view.SceneMix`.
            with_layers: give batches the layered object ids and tables (`Batch.layers`, `Batch.objects`).
            eval_batch_size: evaluation objects per list.
            limit: only the first objects of every evaluation dataset, for quick looks.
            num_workers: processes that prepare data, per device; 0 prepares it in the main process.
            seed: of the training samples; by default the seed of `seed_everything`, or 0.

        Raises:
            ValueError: an impossible value; the message names the argument.
        """
        super().__init__()
        for name, value in {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "limit": limit}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it has to be at least 1")
        if num_workers < 0 or (seed is not None and seed < 0):
            raise ValueError(f"num_workers is {num_workers} and seed is {seed}: neither may be negative")
        self.sources, self.evaluation = train, {"val": val or {}, "test": test or {}}
        self.crop_size = (crop_size, crop_size) if isinstance(crop_size, int) else (crop_size[0], crop_size[1])
        # built now, so that a wrong name or size is told before anything long begins
        self.augmentation = build_augmentation(augmentation, self.crop_size)
        self.targets, self.points = targets, points
        self.batch_size, self.epoch_length, self.with_layers = batch_size, epoch_length, with_layers
        self.zoom, self.mix = zoom, mix
        self.eval_batch_size, self.limit, self.num_workers, self.seed = eval_batch_size, limit, num_workers, seed
        self.user = SimulatedUser(max_rounds, user_threshold, clicks)
        self._looked = False

    def setup(self, stage: str) -> None:
        """Checks that `stage` (fit, validate, test) has data, and that the precision leaves clicks as they are."""
        precision = "32-true" if self.trainer is None else str(self.trainer.precision)
        if precision.endswith("-true") and precision != "32-true":
            raise ValueError(
                f"precision {precision} would round click positions along with everything else: use"
                f" {precision.replace('true', 'mixed').replace('64-mixed', '32-true')}"
            )
        needs = {
            "fit": ("train", bool(self.sources)),
            "validate": ("val", bool(self.evaluation["val"])),
            "test": ("test", bool(self.evaluation["test"])),
        }
        for name, (argument, given) in needs.items():
            if stage == name and not given:
                raise ValueError(f"`{name}` needs data, but the data module was given none: set data.{argument}")

    def train_dataloader(self) -> DataLoader[Any]:
        """This rank's share of the batches.

        Raises:
            ValueError: the batch size does not divide over the devices, an epoch holds less than one batch, or no
                sample of a source has a target.
        """
        samples = TrainingSamples(
            self.sources or [],
            self.augmentation,
            self.targets,
            self.points,
            self.run_seed(),
            self.epoch_length,
            self.with_layers,
            self.zoom,
            self.mix,
        )
        replicas, rank = self._ranks()
        share, rest = divmod(self.batch_size, replicas)
        if rest:
            raise ValueError(
                f"batch_size is {self.batch_size} over all devices, which does not divide over {replicas}: take"
                f" {self.batch_size - rest or replicas} or {(share + 1) * replicas}, or another number of devices"
            )
        batches = len(samples) // self.batch_size
        if batches == 0:
            raise ValueError(
                f"an epoch has {len(samples)} samples, less than one batch of {self.batch_size}:"
                " make batch_size smaller or epoch_length larger"
            )
        if not self._looked:  # once a run, the same on every device
            look_at_sources(samples.datasets, samples.make, self.run_seed())
            self._looked = True
        position = None if self.trainer is None else partial(self._position, batches)
        return ResumableLoader(
            samples,
            batch_size=share,
            sampler=TrainingSampler(len(samples), share, replicas, rank, position),
            num_workers=self.num_workers,
            collate_fn=collate,
            drop_last=True,
            pin_memory=self._on_cuda(),
            worker_init_fn=_quiet_worker,
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """One loader per validation dataset, in the order of `evaluation_names("val")`."""
        return self._evaluation_loaders("val")

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """One loader per test dataset, in the order of `evaluation_names("test")`."""
        return self._evaluation_loaders("test")

    def evaluation_names(self, stage: Stage) -> list[str]:
        """Names of the datasets of `stage` in loader order (`dataloader_idx`)."""
        return list(self.evaluation[stage])

    def evaluation_datasets(self, stage: Stage) -> list[SceneDataset]:
        """The datasets of `stage` in loader order."""
        return list(self.evaluation[stage].values())

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves training batches; evaluation objects stay as they are, for whoever plays them."""
        if isinstance(batch, Batch):
            return batch.to(device, non_blocking=True)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The seed, so that a resumed run draws from the same sequence even where the seed was not given again."""
        return {"seed": self.run_seed()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the seed of the interrupted run, unless another one was asked for."""
        if self.seed is None:
            self.seed = int(state_dict["seed"])

    def run_seed(self) -> int:
        """The seed of the training samples."""
        return int(os.environ.get("PL_GLOBAL_SEED", "0")) if self.seed is None else self.seed

    def _position(self, batches: int) -> tuple[int, int]:
        """(epoch, number of its batches done), counted from the batches this trainer has done altogether.

        Lightning does not give a sampler its epoch before the workers of a resumed run have started to read, and counts
        a broken-off epoch as one when `max_steps` ends it; the number of batches is right in all these cases.
        """
        trainer = self.trainer
        assert trainer is not None
        limit = trainer.limit_train_batches
        per_epoch = int(batches * limit) if isinstance(limit, float) else min(batches, limit or batches)
        done = trainer.fit_loop.epoch_loop.batch_progress.total
        return divmod(done.processed, max(per_epoch, 1))  # ty: ignore[missing-attribute]

    def _evaluation_loaders(self, stage: Stage) -> list[DataLoader[Any]]:
        replicas, rank = self._ranks()
        loaders = []
        for dataset in self.evaluation_datasets(stage):
            objects = EvaluationObjects(dataset, self.limit)
            loaders.append(
                DataLoader(
                    objects,
                    batch_size=self.eval_batch_size,
                    sampler=EachOnceSampler(len(objects), replicas, rank),
                    num_workers=self.num_workers,
                    collate_fn=list,
                    worker_init_fn=_quiet_worker,
                )
            )
        return loaders

    def _ranks(self) -> tuple[int, int]:
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)

    def _on_cuda(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


def _quiet_worker(_: int) -> None:
    """Keeps a worker process to one thread: OpenCV would start as many as the machine has cores in each of them.

    Ctrl-C in a terminal reaches the workers, too; they go on reading until the training, which ends behind a step, lets
    them go.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked worker has the training's handler
    cv2.setNumThreads(0)
    keep_freed_memory()
