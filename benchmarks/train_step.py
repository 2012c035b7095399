"""Samples per second of a full training step, and who takes how much of it: data, simulated user, network, optimiser.

    python benchmarks/train_step.py [--method NAME --variant NAME] [--batch 8] [--gpu] [--output FILE.json]

Every row is a run of Lightning's trainer on drawn scenes, in this process, one after the other. The first steps warm up
and are not counted.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections import defaultdict
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from clicklab.callbacks.compile_parts import CompileParts
from clicklab.commands.errors import run_script
from clicklab.device import usable_device
from clicklab.methods import METHODS, method_package
from clicklab.methods.cfr_icl import CFRICL
from data_modules.datamodule import InteractiveDataModule
from data_modules.datasets import Shapes
from data_modules.process_memory import keep_freed_memory
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling

WAYS: dict[str, dict[str, Any]] = {
    "32-true": {},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "32-true, checkpointed blocks": {"network_options": {"checkpoint_blocks": True}},
    "bf16-mixed, compiled": {"precision": "bf16-mixed", "compiled": True},
}
BORROWED = {"cfr_icl": "simpleclick"}  # a method that has no network of its own -> whose it goes on training here
UNASKED = list(WAYS)[:3]  # compiling takes minutes, and brings nothing on a CPU


class Stopwatches(pl.Callback):
    """Seconds per part of the steps after `warm_up`. The parts user, warm-up passes lie inside the training step."""

    def __init__(self, warm_up: int, device: str) -> None:
        self.warm_up, self.device = warm_up, device
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps, self._began, self._ended = 0, 0.0, 0.0

    def now(self) -> float:
        """The time when the device has done what it was asked to."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Counts the calls of a method of one object."""
        call = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = self.now()
            answer = call(*args, **kwargs)
            self.add(part, began)
            return answer

        setattr(owner, name, timed)

    def add(self, part: str, began: float) -> None:
        """Time since `began`, unless still warming up."""
        if self.steps >= self.warm_up:
            self.seconds[part] += self.now() - began

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.wrap(trainer.datamodule.user, "respond", "user")
        self.wrap(pl_module, "predict_prev_mask", "warm-up passes")
        self.wrap(pl_module, "training_step", "training step")
        self._ended = self.now()

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        self._began = self.now()
        if self.steps >= self.warm_up:
            self.seconds["data"] += self._began - self._ended

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._ended = self.now()
        if self.steps >= self.warm_up:
            self.seconds["step"] += self._ended - self._began
        self.steps += 1


def module_of(method: str, variant: str, network_options: dict[str, Any] | None = None) -> pl.LightningModule:
    """The LightningModule of a method with an untrained network."""
    if method in BORROWED:
        hyper_parameters = {"variant": variant, "network_options": network_options or {}}
        return CFRICL(method_package(BORROWED[method]).build(hyper_parameters))
    found = vars(import_module(f"{METHODS[method]}.module")).values()
    kind = next(kind for kind in found if getattr(kind, "method", None) == method)
    return kind(variant=variant, network_options=network_options)


def drawn_scenes(batch: int, crop: int, side: int, steps: int, warm_up: int, workers: int) -> InteractiveDataModule:
    """So many steps of drawn scenes with `side` as their longer side, for every method."""
    datamodule = InteractiveDataModule(
        train=[TrainingSource(Shapes(length=1000, size=(side * 3 // 4, side), split="train"))],
        crop_size=crop,
        batch_size=batch,
        epoch_length=batch * (steps + warm_up),
        targets=TargetSampling(min_object_area=100),
        with_layers=True,
        num_workers=workers,
    )
    # rounds in turn, not drawn: a few steps have the mean of many, and all ways the same
    turns = count(-warm_up)
    datamodule.user.rounds = lambda least, most: least + next(turns) % (most - least + 1)
    return datamodule


def measure(variant: str, way: dict[str, Any], options: Any) -> dict[str, float]:
    """Samples per second and shares of the wall time."""
    pl.seed_everything(0, verbose=False)
    module = module_of(options.method, variant, way.get("network_options"))
    datamodule = drawn_scenes(
        options.batch, options.crop, options.side, options.steps, options.warm_up, options.workers
    )
    watches = Stopwatches(options.warm_up, "cuda" if options.gpu else "cpu")
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="gpu" if options.gpu else "cpu",
        devices=1,
        precision=way.get("precision", "32-true"),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watches, CompileParts()] if way.get("compiled") else [watches],
    )
    if options.gpu:
        torch.cuda.reset_peak_memory_stats()
    trainer.fit(module, datamodule=datamodule)
    spent = dict(watches.seconds)
    total = spent["data"] + spent["step"]
    inside = spent["training step"] - spent.get("user", 0.0) - spent.get("warm-up passes", 0.0)
    parts = {
        "data": spent["data"],
        "user": spent.get("user", 0.0),
        "warm-up passes": spent.get("warm-up passes", 0.0),
        "learning pass": inside,
        "backward and optimiser": spent["step"] - spent["training step"],
    }
    row = {"samples per second": options.batch * options.steps / total}
    row |= {f"share of {name}": seconds / total for name, seconds in parts.items()}
    if options.gpu:
        row["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=[*METHODS, *BORROWED], default="simpleclick")
    parser.add_argument("--variant", help="default: xtiny, with --gpu base")
    parser.add_argument("--batch", type=int, help="default: 8, with --gpu 32")
    parser.add_argument("--crop", type=int, default=448)
    parser.add_argument("--side", type=int, default=640, help="longer side of the drawn scenes")
    parser.add_argument("--steps", type=int, default=4, help="steps that count, a multiple of 4")
    parser.add_argument("--warm-up", type=int, default=1, help="steps before them")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare data")
    parser.add_argument(
        "--ways", nargs="+", choices=list(WAYS), default=None, help="default: not compiled, with --gpu all"
    )
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/train_step.json"), metavar="FILE")
    options = parser.parse_args()
    if options.gpu:
        usable_device("cuda", "--gpu:")
    options.batch = options.batch or (32 if options.gpu else 8)
    variant = options.variant or ("base" if options.gpu else "xtiny")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")  # Lightning's remarks on a run that is meant to be this short
    device = torch.cuda.get_device_name() if options.gpu else f"CPU, {torch.get_num_threads()} threads"
    keep_freed_memory()  # as `clicklab fit` does
    rows: dict[str, dict[str, float]] = {}
    print(f"{options.method} {variant}, batch {options.batch}, crops of {options.crop}, {device}")
    for name in options.ways or (WAYS if options.gpu else UNASKED):
        rows[name] = measure(variant, WAYS[name], options)
        first = next(iter(rows.values()))["samples per second"]
        rows[name]["ratio"] = rows[name]["samples per second"] / first
        shares = ", ".join(
            f"{key.removeprefix('share of ')} {value:.0%}" for key, value in rows[name].items() if "share" in key
        )
        print(f"  {name:30}{rows[name]['samples per second']:8.2f} samples/s{rows[name]['ratio']:6.2f}x   {shares}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {"method": options.method, "variant": variant, "batch": options.batch, "crop": options.crop}
    record |= {"device": device, "rows": rows}
    options.output.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(run_script(main))
