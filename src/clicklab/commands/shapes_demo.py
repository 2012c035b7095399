"""What `clicklab demo` runs: trains a small network on generated shapes, measures it and draws it, on a CPU."""

from __future__ import annotations

import logging
import time
import warnings
from math import ceil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor, nn

from clicklab.api import evaluate
from clicklab.callbacks.stop_at_step import StopAtStep
from clicklab.checkpoint import load
from clicklab.clicks.maps import disk_maps
from clicklab.evaluation.protocol import ORACLE
from clicklab.evaluation.results import save_results, table
from clicklab.methods.piclick.module import PiClick
from clicklab.records import Clicks, EvaluationObject, Prediction
from clicklab.visualize.candidates import candidate_sheet, first_click
from clicklab.visualize.curves import curve_figure
from clicklab.visualize.sheets import picture_sheet
from data_modules.datamodule import InteractiveDataModule
from data_modules.datasets.shapes import Shapes
from data_modules.scenes import EvaluationObjects
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling

SIZE = 64  # pixels of a scene
BATCH = 16
# smaller than `tiny`; three candidates, because hardly a click in these scenes lies on more objects
SMALL = {
    "image_size": SIZE,
    "embed_dim": 128,
    "depth": 4,
    "neck_dims": (32, 32, 32, 32),
    "decoder_dim": 32,
    "pixel_hidden": 64,
    "decoder_hidden": 128,
    "pixel_layers": 1,
    "decoder_layers": 3,
    "num_queries": 3,
}
EPOCHS = 10  # so that the schedule of epochs can decay


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
    """Scenes of one object, most with parts in it, which are asked for too."""
    return Shapes(length=length, size=SIZE, split=split, crowd=1, parts=True)


def small_piclick() -> PiClick:
    """A network for scenes of this size, untrained."""
    return PiClick(variant="tiny", network_options=SMALL, learning_rate=1e-3, milestones=[EPOCHS - 2])


class StopTraining(StopAtStep):
    """Ctrl-C and SIGTERM end the training only: what it has learnt is measured and drawn."""

    def end(self, trainer: pl.Trainer) -> None:
        """The rest of the epochs is left out."""
        trainer.should_stop = True


def train(steps: int, output: Path) -> PiClick:
    """A small PiClick after `steps` batches of generated shapes, or fewer where somebody stops it.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"--steps {steps}: nothing would be trained; give 1 or more (850 takes minutes on a CPU)")
    epochs = min(EPOCHS, steps)
    pl.seed_everything(0, verbose=False)
    datamodule = InteractiveDataModule(
        train=[TrainingSource(shapes("train", 100_000))],
        crop_size=SIZE,
        batch_size=BATCH,
        epoch_length=BATCH * ceil(steps / epochs),
        augmentation="coco_lvis_val",  # the scene as it is: each is new, nothing has to be varied
        targets=TargetSampling(min_object_area=40, use_hierarchy=True),  # wholes and parts
        max_rounds=2,
        with_layers=True,
        num_workers=1,
        seed=0,
    )
    module = small_piclick()
    stop = StopTraining()
    trainer = pl.Trainer(
        min_epochs=0,  # may be stopped in the first one
        max_epochs=epochs,
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=output,
        callbacks=[TQDMProgressBar(refresh_rate=10), stop],
    )
    trainer.fit(module, datamodule=datamodule)
    trainer.save_checkpoint(output / "demo.ckpt")
    if stop.received is not None:
        print(f"Stopped after {trainer.global_step} of {steps} steps: what it has learnt is kept and measured.")
    return module


def ambiguous(scenes: Shapes, count: int) -> list[EvaluationObject]:
    """The first `count` objects, one per scene, whose first click lies on another object as well."""
    found: dict[str, EvaluationObject] = {}
    objects = EvaluationObjects(scenes)
    for (index, _), number in zip(objects.items, range(len(objects)), strict=True):
        item = objects[number]
        if len(found) == count or not isinstance(item, EvaluationObject) or item.name in found:
            continue
        y, x = first_click(item)
        scene = scenes[index]
        if sum(scene.mask(key)[y, x] == 1 for key, entry in scene.objects.items() if not entry.stuff) > 1:
            found[item.name] = item
    return list(found.values())


def demo(output: Path, steps: int, scenes: int = 24) -> dict[str, Any]:
    """Trains, measures against two baselines on held-out scenes, writes table, curve and pictures into `output`."""
    began = time.perf_counter()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")  # Lightning's remarks on a setup that is meant to be this small
    output.mkdir(parents=True, exist_ok=True)
    trained = train(steps, output).network
    pl.seed_everything(1, verbose=False)
    held_out = shapes("val", scenes)
    results = measure({"PiClick": trained, "untrained": small_piclick().network, "disks": DiskAroundClicks()}, held_out)
    report(results, trained, held_out, output)
    print("\n" + table(results) + "\n")
    clicks = ", ".join(f"{name} {record['noc']['85']:.1f}" for name, record in contenders(results).items())
    print(f"Clicks to an IoU of 85 %, at most 20: {clicks}\n")
    minutes = (time.perf_counter() - began) / 60
    print(f"Made in {minutes:.1f} minutes in {output}: candidates.png, pictures.png, curve.png, table.txt, demo.ckpt")
    print("Beside it, in clicklite.png, the network that comes along, trained on photos: the same objects and user")
    print(f"Your own photos:  clicklab evaluate {output}/demo.ckpt --data Folder=FOLDER --output runs/mine")
    print("The real thing:   make train-piclick DATA_ROOT=... DEVICES=8   (experiments/piclick/README.md)")
    return results


def measure(networks: dict[str, nn.Module], held_out: Shapes) -> dict[str, Any]:
    """Name -> results of all clicks on all objects; the best candidate by the ground truth for the first one only."""
    results = {}
    for name, network in networks.items():
        print(f"Measuring: {name}")
        choice = "automatic" if results else "both"
        results[name] = evaluate(
            network, {"Shapes": held_out}, batch_size=32, progress=True, target_iou=1.01, preset="clean", choice=choice
        )
    return results


def report(results: dict[str, Any], trained: nn.Module, held_out: Shapes, output: Path) -> None:
    """Files: the record of the first network, one table and one curve of all, its picture sheets and ClickLite's."""
    first, *_ = results.values()
    save_results(first, output)
    (output / "table.txt").write_text(table(results) + "\n")
    curves = {"protocol": first["protocol"], "datasets": contenders(results)}
    curve_figure(curves).savefig(output / "curve.png", dpi=120)
    candidate_sheet(ambiguous(held_out, 6), trained, output / "candidates.png")
    picture_sheet(EvaluationObjects(held_out), trained, output / "pictures.png")
    picture_sheet(EvaluationObjects(held_out), load(), output / "clicklite.png")  # never saw such shapes


def contenders(results: dict[str, Any]) -> dict[str, Any]:
    """Name -> record, both ways of choosing among candidates side by side."""
    return {
        f"{name}, the user picks" if way.endswith(ORACLE) else name: record
        for name, result in results.items()
        for way, record in result["datasets"].items()
    }
