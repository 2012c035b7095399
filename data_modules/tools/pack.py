"""`clicklab data pack` and `clicklab data index`: shards and their index."""

from __future__ import annotations

import argparse
import sys

from data_modules.datasets import dataset_class, open_dataset
from data_modules.datasets.shards import Shards
from data_modules.shards.pack import Packing, pack
from data_modules.tools.dataset_spec import dataset_spec


def run_pack(options: argparse.Namespace) -> int:
    """Exit code 1 where scenes had to be left out."""
    name, folder, reading = dataset_spec(options.dataset)
    dataset = open_dataset(name, folder, **reading)
    packing = Packing(options.images, options.quality, options.scenes_per_shard)
    report = pack(dataset, options.output, packing, options.workers, not options.no_progress)
    print(report)
    return 1 if report.broken else 0


def run_index(options: argparse.Namespace) -> int:
    """Builds what is missing of an index; exit code 1 where a shard is damaged."""
    name, folder, reading = dataset_spec(options.dataset)
    if not issubclass(dataset_class(name), Shards):
        raise ValueError(f"{name} has no index: give Shards=FOLDER or SA1B=FOLDER")
    dataset = open_dataset(name, folder, **reading)
    assert isinstance(dataset, Shards)
    index = dataset.index
    size = index.memory() / 2**20
    print(f"{len(index)} samples in {len(index.shards)} shards; index of {size:.1f} MiB in {index.folder}")
    for problem in index.problems:
        print(f"  {problem}", file=sys.stderr)
    return 1 if index.problems else 0
