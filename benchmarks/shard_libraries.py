"""One worker reading the same packed shards through our index, with `webdataset` and with `litdata`.

    python benchmarks/shard_libraries.py [--scenes 2000] [--folder DIR]

Each gives the decoded image and the parsed json file of a sample, in a shuffled order where the library has one.
Measured: seconds to the first sample, samples per second, and seconds from nothing to the sample in the middle of an
epoch. litdata reads chunks of its own, which its `optimize` writes from the shards first (that time is listed); a
library that is not installed is left out. Nothing here reads a network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from clicklab.commands.errors import run_script
from data_modules.datasets.shapes import Shapes
from data_modules.datasets.shards import Shards
from data_modules.shards.pack import Packing, pack

SEED, BUFFER = 0, 1000  # webdataset shuffles inside a buffer of samples

Sample = tuple[np.ndarray, Any]
Reader = Callable[[int], Iterator[Sample]]  # number of samples to leave out -> the others


def decoded(image: bytes, annotation: bytes) -> Sample:
    return cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR), json.loads(annotation)


def ours(folder: Path) -> Reader:
    def read(skip: int) -> Iterator[Sample]:
        dataset = Shards(folder)
        for index in np.random.default_rng(SEED).permutation(len(dataset))[skip:].tolist():
            yield decoded(*dataset._content(index, dataset.index.place(index)))

    return read


def webdataset_reader(folder: Path) -> Reader:
    import webdataset

    def read(skip: int) -> Iterator[Sample]:
        urls = sorted(map(str, folder.glob("*.tar")))
        samples = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=SEED).shuffle(BUFFER)
        # it keeps no place in an epoch: what was seen is read and thrown away
        yield from (decoded(sample["jpg"], sample["json"]) for sample in islice(samples, skip, None))

    return read


class Record:
    """A sample of the shards by its number, for litdata to write."""

    def __init__(self, folder: Path) -> None:
        self.shards = Shards(folder)

    def __call__(self, index: int) -> dict[str, bytes]:
        image, annotation = self.shards._content(index, self.shards.index.place(index))
        return {"image": image, "json": annotation}


def litdata_reader(folder: Path, chunks: Path, scenes: int) -> Reader:
    import litdata

    record = Record(folder)
    litdata.optimize(record, list(range(scenes)), str(chunks), num_workers=1, chunk_bytes="64MB", verbose=False)
    state: dict[str, Any] = {}  # of the loader in the middle of an epoch

    def read(skip: int) -> Iterator[Sample]:
        dataset = litdata.StreamingDataset(str(chunks), shuffle=True, seed=SEED)
        loader = litdata.StreamingDataLoader(dataset, batch_size=1, num_workers=0, collate_fn=lambda items: items[0])
        if skip:
            loader.load_state_dict(state)
        for number, item in enumerate(loader, start=1):
            yield decoded(item["image"], bytes(item["json"]))
            if not skip and number == scenes // 2:
                state.update(loader.state_dict())

    return read


def measure(reader: Reader, scenes: int) -> dict[str, float]:
    """Seconds to the first sample, samples per second of an epoch, and seconds to the sample in its middle."""
    start = time.perf_counter()
    samples = reader(0)
    next(samples)
    first = time.perf_counter()
    count = 1 + sum(1 for _ in samples)
    rate = (count - 1) / (time.perf_counter() - first)
    if count != scenes:
        raise RuntimeError(f"{count} samples of {scenes}")
    middle = time.perf_counter()
    next(reader(scenes // 2))
    return {
        "seconds to the first sample": first - start,
        "samples per second": rate,
        "seconds to the middle of an epoch": time.perf_counter() - middle,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scenes", type=int, default=2000, help="drawn by code, 480 x 640 (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/shard_libraries.json"), metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        folder = Path(scratch) / "shards"
        scenes = Shapes(split="train", length=options.scenes, size=(480, 640))
        pack(scenes, folder, Packing(scenes_per_shard=200), workers=1, progress=False)
        start = time.perf_counter()
        Shards(folder)
        results["ours"] = {"seconds to build the index, once": time.perf_counter() - start}
        results["ours"] |= measure(ours(folder), options.scenes)
        if find_spec("webdataset"):
            results["webdataset"] = measure(webdataset_reader(folder), options.scenes)
        if find_spec("litdata"):
            start = time.perf_counter()
            reader = litdata_reader(folder, Path(scratch) / "chunks", options.scenes)
            results["litdata"] = {"seconds to write its chunks, once": time.perf_counter() - start}
            results["litdata"] |= measure(reader, options.scenes)
            shutil.rmtree(Path(scratch) / "chunks")
    print(json.dumps(results, indent=2))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {"scenes": options.scenes, "load": os.getloadavg()[0], "libraries": results}
    options.output.write_text(json.dumps(record, indent=2), encoding="utf-8")
    print(f"written: {options.output}")


if __name__ == "__main__":
    sys.exit(run_script(main))
