"""Training samples per second of one data worker for 448 x 448 crops, and which step takes how much of it.

    python benchmarks/data.py [--data NAME=FOLDER ...] [--samples 200] [--output runs/bench/data.json]

Without --data: scenes of 640 x 480 drawn by code and written in the layout of COCO+LVIS as released, so that reading
JPEGs and pickled PNG layers is part of it. CPU time is measured, so other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import torch

from clicklab.commands.errors import run_script
from data_modules.datasets import open_dataset, options_of
from data_modules.datasets.shapes import Shapes
from data_modules.process_memory import keep_freed_memory
from data_modules.scenes import SceneDataset
from data_modules.tools.dataset_spec import dataset_spec
from data_modules.tools.export_shapes import export_scenes
from data_modules.training import sample_maker
from data_modules.training.augment import augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.samples import TrainingSamples, collate
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling
from data_modules.training.view import TrainingView

CROP, BATCH = 448, 8
STEPS = ("decode", "augment", "target", "clicks", "batch")


@contextmanager
def steps_timed(samples: TrainingSamples) -> Iterator[dict[str, float]]:
    """Wraps the steps of the pipeline as it is; yields seconds per step, filled while it runs."""
    seconds: dict[str, float] = defaultdict(float)

    def timed(step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any) -> Any:
            start = process_time()
            result = call(*args)
            seconds[step] += process_time() - start
            return result

        return wrapper

    parts = {
        (TrainingView, "sync_objects"): "target",
        (sample_maker, "choose_target"): "target",
        (sample_maker, "sample_points"): "clicks",
    }
    original = {(place, name): getattr(place, name) for place, name in parts}
    kind, read, make = type(samples.datasets[0]), type(samples.datasets[0]).__getitem__, samples.make
    kind.__getitem__ = timed("decode", read)
    samples.make = replace(make, augmentation=timed("augment", make.augmentation))
    for (place, name), step in parts.items():
        setattr(place, name, timed(step, original[place, name]))
    try:
        yield seconds
    finally:
        kind.__getitem__, samples.make = read, make
        for (place, name), call in original.items():
            setattr(place, name, call)


def measure(dataset: SceneDataset, count: int) -> dict[str, Any]:
    """Samples per second and milliseconds per step, with the official COCO+LVIS settings."""
    law = TargetSampling(stuff_prob=0.3, min_object_area=1000, keep_background_prob=0.05)
    transform = augmentation("coco_lvis", (CROP, CROP))
    samples = TrainingSamples([TrainingSource(dataset)], transform, law, InitialClickSampling(), 0, count + BATCH)
    collate([samples[0, count + i] for i in range(BATCH)])  # warms caches up
    with steps_timed(samples) as seconds:
        start = process_time()
        for first in range(0, count, BATCH):
            items = [samples[0, i] for i in range(first, min(first + BATCH, count))]
            before = process_time()
            collate(items)
            seconds["batch"] += process_time() - before
        total = process_time() - start
    spent = {step: seconds[step] for step in STEPS} | {"rest": total - sum(seconds.values())}
    return {
        "scenes": len(dataset),
        "samples per second": count / total,
        "milliseconds": {step: 1000 * value / count for step, value in spent.items()},
        "targets and clicks / decode and augment": (spent["target"] + spent["clicks"])
        / (spent["decode"] + spent["augment"]),
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as text, one row per source."""
    head = f"{'source':<24}{'samples/s':>10}" + "".join(f"{step + ' ms':>12}" for step in (*STEPS, "rest"))
    rows = [head + f"{'(target+clicks)/(decode+augment)':>34}"]
    for name, result in results.items():
        row = f"{name:<24}{result['samples per second']:>10.1f}"
        row += "".join(f"{result['milliseconds'][step]:>12.2f}" for step in (*STEPS, "rest"))
        rows.append(row + f"{result['targets and clicks / decode and augment']:>34.2f}")
    return "\n".join(rows)


def sources(given: list[str], folder: Path, scenes: int) -> Iterator[tuple[str, SceneDataset]]:
    """The datasets given as NAME=FOLDER, or drawn scenes written to `folder`."""
    for name, root, reading in map(dataset_spec, given):
        usual = {"split": "train"} if "split" in options_of(name) else {}
        yield name, open_dataset(name, root, **usual | reading)
    if not given:
        export_scenes(Shapes(split="train", length=scenes, size=(480, 640)), folder, "coco_lvis")
        yield "Shapes as COCO_LVIS", open_dataset("COCO_LVIS", folder, split="train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER", help="may be repeated")
    parser.add_argument("--samples", type=int, default=200, help="samples per source (default %(default)s)")
    parser.add_argument("--scenes", type=int, default=40, help="drawn scenes (default %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/data.json"), metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_freed_memory()  # as the data module's workers do
    with tempfile.TemporaryDirectory() as folder:
        results = {n: measure(d, options.samples) for n, d in sources(options.data, Path(folder), options.scenes)}
    print(table(results))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "opencv": cv2.__version__, "crop": CROP}
    options.output.write_text(json.dumps({"machine": machine, "sources": results}, indent=2), encoding="utf-8")
    print(f"written: {options.output}")


if __name__ == "__main__":
    sys.exit(run_script(main))
