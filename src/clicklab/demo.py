"""`clicklab demo`: from nothing to a trained, measured and drawn network on generated shapes, on a CPU, in minutes."""

from __future__ import annotations

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor, nn

from clicklab.api import evaluate
from clicklab.clicks.maps import disk_maps
from clicklab.evaluation.report import picture_sheet, save_results, table
from clicklab.methods.simpleclick.module import SimpleClick
from clicklab.records import Clicks, Prediction
from data_modules.datamodule import InteractiveDataModule
from data_modules.datasets.shapes import Shapes
from data_modules.sample import EvaluationObjects
from data_modules.sources import TrainingSource
from data_modules.targets import TargetLaw

SIZE = 64  # pixels of a scene
BATCH = 16


class DiskAroundClicks(nn.Module):
    """The trivial answer that a network has to beat: disks around positive clicks less those around negative ones."""

    zoom_in = None  # it sees the scene as it is

    def __init__(self, radius: float = SIZE / 8) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        """(B, 1, H, W) logits of +-10."""
        height, width = image.shape[-2:]
        disks = disk_maps(clicks, (height, width), self.radius)
        return Prediction(20.0 * (disks[:, :1] - disks[:, 1:]).clamp(min=0) - 10.0)


def shapes(split: str, length: int) -> Shapes:
    """Scenes of one or two objects."""
    return Shapes(length=length, size=SIZE, split=split, crowd=2)


def small_simpleclick() -> SimpleClick:
    """A network for scenes of this size, untrained."""
    return SimpleClick(variant="tiny", learning_rate=1e-3, milestones=[8])


def train(steps: int, output: Path) -> SimpleClick:
    """A small SimpleClick after `steps` batches of generated shapes."""
    pl.seed_everything(0, verbose=False)
    datamodule = InteractiveDataModule(
        train=[TrainingSource(shapes("train", 100_000))],
        crop_size=SIZE,
        batch_size=BATCH,
        epoch_length=BATCH * max(1, steps // 10),  # ten epochs, so that the schedule of epochs can decay
        augmentation="coco_lvis_val",  # the scene as it is: each is new, nothing has to be varied
        targets=TargetLaw(min_object_area=40),
        num_workers=1,
        seed=0,
    )
    module = small_simpleclick()
    trainer = pl.Trainer(
        max_epochs=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=output,
        callbacks=[TQDMProgressBar(refresh_rate=10)],
    )
    trainer.fit(module, datamodule=datamodule)
    trainer.save_checkpoint(output / "demo.ckpt")
    return module


def demo(output: Path, steps: int, scenes: int = 40) -> dict[str, Any]:
    """Trains, measures against two baselines on held-out scenes, writes table, curve and pictures into `output`."""
    began = time.perf_counter()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")  # Lightning's remarks on a setup that is meant to be this small
    output.mkdir(parents=True, exist_ok=True)
    trained = train(steps, output).network
    pl.seed_everything(1, verbose=False)
    networks = {
        "SimpleClick, trained": trained,
        "SimpleClick, untrained": small_simpleclick().network,
        "disks around the clicks": DiskAroundClicks(),
    }
    held_out = shapes("val", scenes)
    results = {}
    for name, network in networks.items():
        print(f"Measuring: {name}")
        results[name] = evaluate(network, {"Shapes": held_out}, batch_size=32, progress=True, target_iou=1.01)
    save_results(results["SimpleClick, trained"], output)
    (output / "table.txt").write_text(table(results) + "\n")
    picture_sheet(EvaluationObjects(held_out), trained, output / "pictures.png")
    print("\n" + table(results) + "\n")
    clicks = ", ".join(f"{name} {result['datasets']['Shapes']['noc']['85']:.1f}" for name, result in results.items())
    print(f"Clicks to an IoU of 85 %, at most 20: {clicks}\n")
    minutes = (time.perf_counter() - began) / 60
    print(f"Made in {minutes:.1f} minutes: table.txt, curve.png, pictures.png, results.json, demo.ckpt in {output}")
    print(f"Your own photos:  clicklab evaluate {output}/demo.ckpt --data Folder=FOLDER --output runs/mine")
    print("The real thing:   make train-simpleclick DATA_ROOT=... DEVICES=8   (experiments/simpleclick/README.md)")
    return results
