"""Training samples from files and from shards, the index at the size of SA-1B, going on in the middle of an epoch.

    python benchmarks/shards.py [--scenes 20000] [--only files masks index resume equal store] [--folder DIR]

Scenes are drawn by code (`--drawn` of them, each written under many names). Cold means that the system was asked to
forget the pages of each file (posix_fadvise); names of files stay in its memory, which helps single files only.
`benchmarks/shard_libraries.py` reads the same data with other libraries.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import torch
from fsspec.implementations.local import LocalFileSystem

from clicklab.commands.errors import run_script
from data_modules.datamodule import InteractiveDataModule
from data_modules.datasets.sa1b import SA1B
from data_modules.datasets.shapes import Shapes
from data_modules.datasets.shards import Shards
from data_modules.process_memory import keep_freed_memory
from data_modules.scenes import Scene, SceneDataset, SceneObject
from data_modules.shards.index import Place, open_index
from data_modules.shards.pack import Packing, pack
from data_modules.shards.scan import FIELDS
from data_modules.shards.stores import ShardFile
from data_modules.training.augment import augmentation
from data_modules.training.first_clicks import InitialClickSampling
from data_modules.training.samples import TrainingSamples, collate
from data_modules.training.sources import TrainingSource
from data_modules.training.targets import TargetSampling

CROP, BATCH, ROUNDS = 448, 8, 3
PARTS = ("files", "masks", "index", "resume", "equal", "store")
PHOTOS, SHARDS = 11186, 1000  # of SA-1B: in a shard, and shards
LATENCY = 0.03  # seconds of a request to the slow store


class Repeated(SceneDataset):
    """Some scenes under many names."""

    name = "Repeated"

    def __init__(self, scenes: list[Scene], length: int) -> None:
        self.scenes, self.length = scenes, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Scene:
        return self.scenes[index % len(self.scenes)]

    def scene_name(self, index: int) -> str:
        return f"scene{index:07d}"

    def objects(self) -> list[tuple[int, int]]:
        return []


class SingleFiles(Shards):
    """The members of shards as files of their own."""

    def _content(self, index: int, place: Place) -> tuple[bytes, bytes]:
        folder = Path(self.store.where) / "files"
        return (folder / f"{place.name}.jpg").read_bytes(), (folder / f"{place.name}.json").read_bytes()


class SlowStore(LocalFileSystem):
    """A disk that takes its time with every request, as an object store does."""

    protocol = "slow"

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **named: Any) -> bytes:
        time.sleep(LATENCY)
        return super().cat_file(path, start=start, end=end, **named)


class NoFile:
    """A store whose shards are said to be there."""

    where, remote = "synthetic", True

    def shards(self, pattern: str) -> list[ShardFile]:
        return [ShardFile(f"sa_{number:06d}.tar", 1, "") for number in range(SHARDS)]


def write(folder: Path, scenes: int, drawn: int, size: tuple[int, int]) -> None:
    """Shards, and the same members as files."""
    if not (folder / "pack.json").is_file():
        shapes = Shapes(split="train", length=drawn, size=size)
        source = Repeated([shapes[index] for index in range(drawn)], scenes)
        pack(source, folder, Packing(quality=90), workers=1, progress=False)
    shards = Shards(folder)
    (folder / "files").mkdir(exist_ok=True)
    for index in range(len(shards)):
        place = shards.index.place(index)
        for content, kind in zip(shards._content(index, place), ("jpg", "json"), strict=True):
            (folder / "files" / f"{place.name}.{kind}").write_bytes(content)


def forget(folder: Path) -> None:
    """Asks the system to forget the contents of all files."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def training(dataset: SceneDataset, count: int) -> TrainingSamples:
    """Samples with the official COCO+LVIS settings."""
    law = TargetSampling(stuff_prob=0.3, min_object_area=1000, keep_background_prob=0.05)
    return TrainingSamples(
        [TrainingSource(dataset)], augmentation("coco_lvis", (CROP, CROP)), law, InitialClickSampling(), 0, count
    )


def rate(dataset: Shards, order: list[int], whole: bool) -> float:
    """Samples per second: bytes alone, or whole training samples of these scenes in batches."""
    samples = training(dataset, len(order))
    start = time.perf_counter()
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        if not whole:
            for index in batch:
                dataset._content(index, dataset.index.place(index))
            continue
        rng = np.random.default_rng(first)
        made = [samples.sample_of(dataset.training_scene(index), rng) for index in batch]
        if any(made):
            collate([sample for sample in made if sample is not None])
    return len(order) / (time.perf_counter() - start)


def files_and_shards(folder: Path, count: int) -> dict[str, Any]:
    """Cold and warm, bytes alone and `count` whole samples, in turns; medians of the rounds and of their ratios."""
    kinds = {"shards": Shards(folder), "files": SingleFiles(folder)}
    found: dict[str, Any] = {}
    for whole in (False, True):
        for cold in (True, False):
            rates: dict[str, list[float]] = {name: [] for name in kinds}
            for number in range(ROUNDS):
                order = np.random.default_rng(number).permutation(len(kinds["shards"])).tolist()
                for name in sorted(kinds, reverse=bool(number % 2)):
                    if cold:
                        forget(folder)
                    rates[name].append(rate(kinds[name], order[:count] if whole else order, whole))
            pairs = zip(rates["shards"], rates["files"], strict=True)
            key = f"{'samples' if whole else 'bytes'}, {'cold' if cold else 'warm'}"
            found[key] = {name: statistics.median(each) for name, each in rates.items()}
            found[key]["shards / files"] = statistics.median([one / two for one, two in pairs])
    return found


def many_masks(folder: Path, count: int = 24) -> dict[str, Any]:
    """Samples of photos like SA-1B's, 1500 x 2250 with a hundred masks: drawn in the crop, and drawn as a whole."""
    rng = np.random.default_rng(0)
    scenes = []
    for _ in range(2):
        layers = np.zeros((1500, 2250, 100), np.int32)
        for key in range(1, 101):
            canvas = np.zeros((1500, 2250), np.uint8)
            centre = (int(rng.integers(2250)), int(rng.integers(1500)))
            axes = (int(rng.lognormal(4, 0.8)) + 3, int(rng.lognormal(4, 0.8)) + 3)
            cv2.ellipse(canvas, centre, axes, float(rng.integers(180)), 0, 360, 1, -1)
            layers[..., key - 1][canvas == 1] = key
        image = cv2.GaussianBlur(rng.integers(0, 255, (1500, 2250, 3), dtype=np.uint8), (0, 0), 3)
        scenes.append(Scene(image, layers, {key: SceneObject(key - 1) for key in range(1, 101)}, "photo"))
    pack(Repeated(scenes, 6), folder / "masks", Packing(), workers=1, progress=False)
    dataset = SA1B(folder / "masks")
    samples = training(dataset, count)
    seconds = {}
    for name, read in (("in the crop", dataset.training_scene), ("whole", dataset.__getitem__)):
        start = time.process_time()
        for index in range(count):
            samples.sample_of(read(index % len(dataset)), np.random.default_rng(index))
        seconds[name] = (time.process_time() - start) / count
    return {"CPU milliseconds a sample": {name: 1000 * value for name, value in seconds.items()}}


def large_index(folder: Path) -> dict[str, Any]:
    """An index of 11 million samples: bytes on disk, time to open it, memory after 20,000 random looks."""
    folder = folder / "large"
    folder.mkdir()
    from data_modules.shards.index import FORMAT, JOURNAL, VERSION, rows_file

    lines = []
    for number in range(SHARDS):
        rows = np.zeros(PHOTOS, dtype=[*FIELDS, ("name", "S11")])
        rows["name"] = [b"sa_%d" % (number * PHOTOS + row) for row in range(PHOTOS)]
        rows["image_block"], rows["json_block"] = np.arange(PHOTOS) * 1800, np.arange(PHOTOS) * 1800 + 1700
        name = f"sa_{number:06d}.tar"
        np.save(rows_file(folder, name), rows)
        facts = {"size": 1, "stamp": "", "samples": PHOTOS, "problems": []}
        lines.append(json.dumps({"format": FORMAT, "version": VERSION, "shard": name} | facts))
    (folder / JOURNAL).write_text("\n".join(lines) + "\n")
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(_look_at_index, folder).result()


def _look_at_index(folder: Path) -> dict[str, Any]:
    before, start = _private(), time.perf_counter()
    index = open_index(NoFile(), folder=folder, progress=False)
    opened = time.perf_counter() - start
    drawn = np.random.default_rng(0).integers(len(index), size=20000).tolist()
    start = time.perf_counter()
    for sample in drawn:
        index.place(sample)
    each = (time.perf_counter() - start) / len(drawn)
    private, mapped = (after - earlier for after, earlier in zip(_private(), before, strict=True))
    return {
        "samples": len(index),
        "MiB on disk": index.memory() / 2**20,
        "seconds to open": opened,
        "microseconds a look": 1e6 * each,
        "MiB held": private / 2**20,
        "MiB of the mapped file in memory, which the system may drop": mapped / 2**20,
    }


def _private() -> tuple[int, int]:
    """Bytes of this process that are its own, and of files that are mapped."""
    text = Path("/proc/self/smaps_rollup").read_text().splitlines()
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text[1:]}
    own = values["Anonymous"]  # a mapped file that was just written would count as private, too
    return own, values["Rss"] - own


def module(folder: Path, epoch: int, workers: int) -> InteractiveDataModule:
    return InteractiveDataModule(
        [TrainingSource(Shards(folder))],
        crop_size=224,
        batch_size=BATCH,
        epoch_length=epoch,
        num_workers=workers,
        seed=0,
    )


def resume(folder: Path) -> dict[str, Any]:
    """Seconds from nothing to the first batch, from the beginning and from the middle of an epoch; and of a read."""
    found = {}
    epoch = 30000 // BATCH * BATCH
    for name, batches in (("beginning", 0), ("middle", epoch // BATCH // 2)):
        forget(folder)
        start = time.perf_counter()
        loader = module(folder, epoch, 1).train_dataloader()
        loader.sampler.position = lambda batches=batches: (0, batches)
        next(iter(loader))
        found[f"seconds to the first batch, {name} of an epoch of {epoch}"] = time.perf_counter() - start
    return found


def equal(folder: Path) -> dict[str, Any]:
    """Whether 1, 2 and 4 processes together see the same batches."""
    seen = {}
    for replicas in (1, 2, 4):
        with ProcessPoolExecutor(replicas) as pool:
            shares = list(pool.map(_digests, [(folder, replicas, rank) for rank in range(replicas)]))
        shared = zip(*shares, strict=True)  # of each batch, the shares of the processes, which take turns
        seen[replicas] = [[digest for turn in zip(*batch, strict=True) for digest in turn] for batch in shared]
    same = seen[1] == seen[2] == seen[4]
    if not same:
        raise RuntimeError("1, 2 and 4 processes do not see the same batches")
    return {"batches": len(seen[1]), "equal for 1, 2 and 4 processes": same}


def _digests(job: tuple[Path, int, int]) -> list[list[str]]:
    """Of every sample of this process, by batch."""
    folder, replicas, rank = job
    torch.set_num_threads(1)
    data = module(folder, 8 * BATCH, 0)
    data._ranks = lambda: (replicas, rank)
    return [
        [
            hashlib.sha256(image.numpy().tobytes() + target.numpy().tobytes()).hexdigest()
            for image, target in zip(batch.image, batch.target, strict=True)
        ]
        for batch in data.train_dataloader()
    ]


def slow_store(folder: Path, count: int = 64) -> dict[str, Any]:
    """Samples per second from a store of 30 ms a request, scene by scene and by batches that are announced."""
    fsspec.register_implementation("slow", SlowStore, clobber=True)
    count = min(count, len(Shards(folder)) // BATCH * BATCH)
    found = {}
    for name in ("scene by scene", "read ahead"):
        samples = training(Shards(f"slow://{folder}"), count)
        start = time.perf_counter()
        for first in range(0, count, BATCH):
            keys = [(0, first + place) for place in range(BATCH)]
            collate(samples.__getitems__(keys) if name == "read ahead" else [samples[key] for key in keys])
        found[f"samples per second, {name}"] = count / (time.perf_counter() - start)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scenes", type=int, default=20000, help="scenes as files and in shards (default %(default)s)")
    parser.add_argument("--samples", type=int, default=20000, help="whole samples of a round (default %(default)s)")
    parser.add_argument("--drawn", type=int, default=100, help="different ones among them (default %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=[480, 640], metavar=("H", "W"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure (default: all)")
    parser.add_argument("--folder", type=Path, help="keeps the data here, on the disk to be measured")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/shards.json"), metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_freed_memory()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        folder = (options.folder or Path(scratch)) / "scenes"
        if set(options.only) - {"masks", "index"}:
            write(folder, options.scenes, min(options.drawn, options.scenes), (options.size[0], options.size[1]))
        parts = {
            "files": lambda: files_and_shards(folder, options.samples),
            "masks": lambda: many_masks(Path(scratch)),
            "index": lambda: large_index(Path(scratch)),
            "resume": lambda: resume(folder),
            "equal": lambda: equal(folder),
            "store": lambda: slow_store(folder),
        }
        results = {name: parts[name]() for name in options.only}
    print(json.dumps(results, indent=2))
    machine = {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "scenes": options.scenes,
        "samples": options.samples,
    }
    machine["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine, "results": results}, indent=2), encoding="utf-8")
    print(f"written: {options.output}")


if __name__ == "__main__":
    sys.exit(run_script(main))
