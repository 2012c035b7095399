"""The next click for a batch of masks: one batched call against a loop over samples through OpenCV, in one run.

    python benchmarks/next_click.py [--gpu] [--output FILE.json]

Both rules: the evaluation robot, and the training annotator. The loop does what official code does, one sample after
the other on the CPU: OpenCV's exact distances for the robot, its faster approximation for training (ours are exact).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from clicklab.clicks.next_click import robot_click, training_click
from clicklab.commands.errors import run_script
from clicklab.device import usable_device
from data_modules.datasets import Shapes
from data_modules.process_memory import keep_freed_memory

EXACT, APPROXIMATE = 0, 5  # of cv2.distanceTransform
Masks = tuple[Tensor, Tensor, Tensor]


def masks(count: int, side: int) -> Masks:
    """Targets (B, H, W) int8, predictions that are shifted copies of them, and no clicks so far."""
    scenes = Shapes(length=count, size=side)
    targets = [scene.mask(min(scene.objects)) for scene in (scenes[n] for n in range(count))]
    target = torch.from_numpy(np.stack(targets))
    pred = torch.roll(target == 1, (side // 12, side // 20), (1, 2))
    return pred, target, torch.zeros_like(pred)


def depths(wrong: np.ndarray, kind: int) -> np.ndarray:
    """Distance of the pixels of one error (H, W) to its outline."""
    return cv2.distanceTransform(np.pad(wrong, 1).astype(np.uint8), cv2.DIST_L2, kind)[1:-1, 1:-1]


def robot_loop(pred: np.ndarray, target: np.ndarray, clicked: np.ndarray) -> list[tuple[int, int, bool]]:
    """(y, x, positive) of the deepest point of the deeper error, sample by sample."""
    found = []
    for seen, wanted, before in zip(pred, target, clicked, strict=True):
        missed = depths((wanted == 1) & ~seen, EXACT) * ~before
        excess = depths((wanted == 0) & seen, EXACT) * ~before
        positive = missed.max() > excess.max()
        depth = missed if positive else excess
        y, x = np.argwhere(depth == depth.max())[0]
        found.append((int(y), int(x), bool(positive)))
    return found


def training_loop(pred: np.ndarray, target: np.ndarray, clicked: np.ndarray) -> list[tuple[int, int, bool]]:
    """(y, x, positive) of a random point deep in the deeper error, sample by sample."""
    rng, found = np.random.default_rng(0), []
    for seen, wanted in zip(pred, target, strict=True):
        missed = depths((wanted == 1) & ~seen, APPROXIMATE)
        excess = depths((wanted != 1) & seen, APPROXIMATE)
        positive = missed.max() > excess.max()
        depth = missed if positive else excess
        inner = np.argwhere(depth > depth.max() / 2)
        y, x = inner[rng.integers(len(inner))]
        found.append((int(y), int(x), bool(positive)))
    return found


def robot(pred: Tensor, target: Tensor, clicked: Tensor) -> list[tuple[int, int, bool]]:
    """The same from one batched call."""
    yx, label = robot_click(pred, target, clicked)
    return [(int(y), int(x), label == 1) for (y, x), label in zip(yx.tolist(), label.tolist(), strict=True)]


def training(pred: Tensor, target: Tensor, clicked: Tensor) -> list[tuple[int, int, bool]]:
    """The same from one batched call."""
    yx, label = training_click(pred[:, None].float(), target[:, None].float())
    return [(int(y), int(x), label == 1) for (y, x), label in zip(yx.tolist(), label.tolist(), strict=True)]


RULES: dict[str, tuple[Callable[..., list], Callable[..., list]]] = {
    "robot": (robot_loop, robot),
    "training": (training_loop, training),
}


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of some calls, after one to warm up. The answers are on the CPU, so nothing is left running."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def measure(rule: str, given: Masks, gpu: bool, repeats: int) -> dict[str, float]:
    """Way -> median seconds for the batch; and the share of the loop's clicks that the batched robot makes as well."""
    loop, batched = RULES[rule]
    arrays = tuple(one.numpy() for one in given)
    seconds = {
        "loop through OpenCV": median_seconds(lambda: loop(*arrays), repeats),
        "cpu, batched": median_seconds(lambda: batched(*given), repeats),
    }
    if gpu:
        there = tuple(one.cuda() for one in given)
        seconds["cuda, batched"] = median_seconds(lambda: batched(*there), repeats)
    if rule == "robot":
        pairs = zip(loop(*arrays), batched(*given), strict=True)
        seconds["same clicks"] = sum(one == other for one, other in pairs) / len(arrays[0])
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--gpu", action="store_true", help="the batched call on CUDA as well")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/next_click.json"), metavar="FILE")
    options = parser.parse_args()
    if options.gpu:
        usable_device("cuda", "--gpu:")
    given = masks(options.batch, options.side)
    keep_freed_memory()  # as the commands do
    print(f"next click, {options.batch} masks of {options.side} x {options.side}, median of {options.repeats}")
    rules = {}
    for rule in RULES:
        rules[rule] = measure(rule, given, options.gpu, options.repeats)
        same = rules[rule].pop("same clicks", None)
        loop = rules[rule]["loop through OpenCV"]
        for way, seconds in rules[rule].items():
            print(f"  {rule:10}{way:22}{1000 * seconds:9.2f} ms{loop / seconds:8.1f}x")
        if same is not None:
            print(f"  {rule:10}same clicks as the loop: {same:.0%}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {"batch": options.batch, "side": options.side, "seconds": rules}
    options.output.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(run_script(main))
