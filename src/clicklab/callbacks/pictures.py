"""The same few dialogues drawn after every validation: how a network learns to answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from clicklab.records import EvaluationObject
from clicklab.visualize.sheets import picture_sheet


class PicturesCallback(pl.Callback):
    """Draws dialogues of the simulated user on fixed objects of the first validation set.

    Writes `<run folder>/results/val/<step>/dialogues.png` and logs it to W&B as `val/dialogues`.

    Args:
        count: objects, spread evenly over the set; always the same ones.
        clicks: clicks on each.
    """

    def __init__(self, count: int = 4, clicks: int = 5) -> None:
        if count < 1 or clicks < 1:
            raise ValueError(f"PicturesCallback: count is {count} and clicks is {clicks}; both must be 1 or more")
        self.count, self.clicks = count, clicks
        self._items: list[EvaluationObject] | None = None

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Plays and draws; nothing in a sanity check or a dry run."""
        dry = bool(getattr(trainer, "fast_dev_run", False))
        if trainer.state.fn != "fit" or trainer.sanity_checking or dry:
            return
        items = self._fixed(trainer)
        if not items:
            return
        folder = Path(trainer.default_root_dir) / "results" / "val" / f"step{trainer.global_step:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "dialogues.png"
        network: Any = pl_module.network
        picture_sheet(items, network, path, count=len(items), clicks=self.clicks)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("val/dialogues", [str(path)], step=trainer.global_step)

    def _fixed(self, trainer: pl.Trainer) -> list[EvaluationObject]:
        """The objects, read once; those that cannot be read are left out."""
        if self._items is None:
            loaders: Any = trainer.val_dataloaders
            loader = loaders[0] if isinstance(loaders, (list, tuple)) else loaders
            objects = loader.dataset
            places = np.unique(np.linspace(0, len(objects) - 1, self.count).round().astype(int)) if len(objects) else []
            found = [objects[int(place)] for place in places]
            self._items = [item for item in found if isinstance(item, EvaluationObject)]
        return self._items
