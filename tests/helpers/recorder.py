"""A module that writes down what it is given, and a small data module for it."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from tiny_scenes import TinyScenes

from clicklab.records import Batch
from data_modules.datamodule import InteractiveDataModule
from data_modules.training.sources import TrainingSource

BATCHES = 4  # per epoch in the runs below


class Recorder(LightningModule):
    """Writes down what it is given; fails before the end of step number `fails`."""

    def __init__(self, fails: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple] = []
        self.evaluated: list[tuple[int, str, int]] = []
        self.fails = fails

    def training_step(self, batch: Batch, index: int):
        if len(self.seen) + 1 == self.fails:
            raise KeyError("broken off")
        self.seen.append((float(batch.image.sum()), batch.clicks.yx.flatten().tolist()))
        return self.weight.sum()

    def validation_step(self, batch: list, index: int, dataloader_idx: int = 0):
        self.evaluated += [(dataloader_idx, item.name, item.index) for item in batch]

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def make(**changes: Any) -> InteractiveDataModule:
    options: dict[str, Any] = {
        "train": [TrainingSource(TinyScenes(9))],
        "val": {"first": TinyScenes(2), "second": TinyScenes(1, first=5)},
        "crop_size": (32, 40),
        "batch_size": 2,
        "epoch_length": 2 * BATCHES + 1,
        "augmentation": "sbd",
        "num_workers": 0,
    }
    return InteractiveDataModule(**(options | changes))
