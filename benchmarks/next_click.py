"""The robot's next click for a batch of masks: one batched call against a loop over samples, in one run.

python benchmarks/next_click.py [--gpu] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from clicklab.clicks.next_click import robot_click
from data_modules.datasets import Shapes


def masks(count, side):
    """Targets and predictions that are shifted copies of them."""
    scenes = Shapes(length=count, size=side)
    targets = [scene.mask(min(scene.objects)) for scene in (scenes[n] for n in range(count))]
    target = torch.from_numpy(np.stack(targets))
    return target, torch.roll(target == 1, (side // 12, side // 20), (1, 2))


def median_seconds(call, device, repeats):
    """Median wall time of some calls, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--output")
    options = parser.parse_args()
    target, pred = masks(options.batch, options.side)
    clicked = torch.zeros_like(pred)
    one_by_one = median_seconds(
        lambda: [robot_click(pred[n : n + 1], target[n : n + 1], clicked[n : n + 1]) for n in range(options.batch)],
        "cpu",
        options.repeats,
    )
    rows = {"cpu, one by one": one_by_one}
    rows["cpu, batched"] = median_seconds(lambda: robot_click(pred, target, clicked), "cpu", options.repeats)
    if options.gpu:
        there = [maps.cuda() for maps in (pred, target, clicked)]
        rows["cuda, batched"] = median_seconds(lambda: robot_click(*there), "cuda", options.repeats)
    print(f"next click, {options.batch} masks of {options.side} x {options.side}, median of {options.repeats}")
    for name, seconds in rows.items():
        print(f"  {name:18} {1000 * seconds:8.1f} ms   {one_by_one / seconds:5.1f}x")
    if options.output:
        record = {"batch": options.batch, "side": options.side, "seconds": rows}
        Path(options.output).write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
