"""Evaluation in lockstep against the straight loop, one object and one forward pass after the other, in one run.

    python benchmarks/evaluate.py [--method NAME --variant NAME] [--data NAME=FOLDER] [--gpu] [--output FILE.json]

The network is untrained: speed does not depend on what it has learnt, and every row has to click the same pixels.
Without --data the objects are drawn by code at the size of photos.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from clicklab.clicks.next_click import robot_click
from clicklab.commands.errors import run_script
from clicklab.device import usable_device
from clicklab.evaluation.play import play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.inference.options import PRECISIONS
from clicklab.inference.predictor import predictor_for
from clicklab.inference.session import Session
from clicklab.methods import method_package
from clicklab.records import Clicks, EvaluationObject, Prediction, SkippedObject
from data_modules.datasets import Shapes, open_dataset
from data_modules.process_memory import keep_freed_memory
from data_modules.scenes import EvaluationObjects
from data_modules.tools.dataset_spec import dataset_spec

Clicked = dict[int, list[tuple[int, int, int]]]  # index of the object -> its clicks
GPU_SIZES = {"variant": "base", "objects": 64, "batch": [1, 4, 16, 32]}


class Straight(nn.Module):
    """The network without the state that it may keep between clicks: everything is computed at every click."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.zoom_in = network, network.zoom_in
        for name in ("predictor", "candidates"):
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, image: Tensor, clicks: Clicks, prev_mask: Tensor) -> Prediction:
        return self.network(image, clicks, prev_mask)


class Stopwatch:
    """Adds up the seconds spent inside, the device's work included."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        began = self.now()
        yield
        self.seconds += self.now() - began

    def now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def one_by_one(
    network: nn.Module, items: list[EvaluationObject], protocol: EvaluationProtocol, watch: Stopwatch
) -> Clicked:
    """The official order: an object is played to its end before the next one begins."""
    predictor = predictor_for(Straight(network).eval(), protocol, device=watch.device, context=watch)
    clicked: Clicked = {}
    for item in items:
        session = Session(predictor, keep_history=False)
        session.set_image(item.image)
        target = torch.from_numpy(item.target)[None].to(watch.device)
        seen = torch.zeros_like(target, dtype=torch.bool)
        before = torch.zeros_like(seen)
        for _ in range(protocol.max_clicks):
            yx, label = robot_click(seen, target, before)
            y, x, positive = int(yx[0, 0]), int(yx[0, 1]), int(label[0])
            session.add_click(y, x, bool(positive))
            before[0, y, x] = True
            seen = session.probability_tensor[None] > predictor.mask_threshold
            known = target != -1
            iou = ((seen & (target == 1)).sum() / ((seen | (target == 1)) & known).sum()).item()
            if iou >= protocol.stop_iou:
                break
        clicked[item.index] = [(int(y), int(x), label) for y, x, label in session.clicks]
    return clicked


def in_lockstep(batch: int) -> Callable[..., Clicked]:
    """Our engine with so many objects at a time."""

    def run(
        network: nn.Module, items: list[EvaluationObject], protocol: EvaluationProtocol, watch: Stopwatch
    ) -> Clicked:
        predictor = predictor_for(network, protocol, device=watch.device, context=watch)
        return {result.index: result.clicks for result in play(predictor, items, batch)}

    return run


def measure(
    way: Callable[..., Clicked],
    network: nn.Module,
    items: list[EvaluationObject],
    protocol: EvaluationProtocol,
    device: str,
) -> tuple[dict[str, float], Clicked]:
    """Objects per second, seconds per click, share of the network; and the clicks."""
    way(network, items[:1], protocol, Stopwatch(device))  # warms up
    watch = Stopwatch(device)
    began = watch.now()
    clicked = way(network, items, protocol, watch)
    seconds = watch.now() - began
    clicks = sum(map(len, clicked.values()))
    return {
        "objects per second": len(items) / seconds,
        "seconds per click": seconds / clicks,
        "share of the network": watch.seconds / seconds,
    }, clicked


def objects(given: str | None, count: int, side: int) -> list[EvaluationObject]:
    """Objects of a dataset NAME=FOLDER, or drawn ones."""
    if given:
        name, folder, reading = dataset_spec(given)
        dataset = open_dataset(name, folder, **reading)
    else:
        dataset = Shapes(length=count, size=(side * 3 // 4, side), split="val")
    items = (item for item in EvaluationObjects(dataset) if not isinstance(item, SkippedObject))
    return list(islice(items, count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="simpleclick")
    parser.add_argument("--variant", default=None, help="default: xtiny, with --gpu base")
    parser.add_argument("--data", metavar="NAME=FOLDER")
    parser.add_argument("--objects", type=int, default=None)
    parser.add_argument("--side", type=int, default=640, help="longer side of drawn images")
    parser.add_argument("--clicks", type=int, default=6)
    parser.add_argument("--batch", type=int, nargs="+", default=None, help="default: 1 4 16, with --gpu 32 as well")
    parser.add_argument("--precision", choices=PRECISIONS, default="32-true", help="of the lockstep rows")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/evaluate.json"), metavar="FILE")
    options = parser.parse_args()
    sizes = GPU_SIZES if options.gpu else {"variant": "xtiny", "objects": 16, "batch": [1, 4, 16]}
    sizes |= {name: getattr(options, name) for name in sizes if getattr(options, name) is not None}
    device = str(usable_device("cuda", "--gpu:")) if options.gpu else "cpu"
    torch.manual_seed(0)
    hyper_parameters = {"variant": sizes["variant"], "network_options": {}}
    network = method_package(options.method).build(hyper_parameters).to(device).eval()
    items = objects(options.data, sizes["objects"], options.side)
    straight = EvaluationProtocol(max_clicks=options.clicks, choice="automatic")
    protocol = replace(straight, precision=options.precision)
    keep_freed_memory()  # as `clicklab evaluate` does
    ways = {"one by one": one_by_one} | {f"lockstep {n}": in_lockstep(n) for n in sizes["batch"]}
    rows, first = {}, None
    print(f"{options.method} {sizes['variant']}, {len(items)} objects, {options.clicks} clicks, with flip")
    print(f"{device}, lockstep in {options.precision}")
    for name, way in ways.items():
        row, clicked = measure(way, network, items, protocol if first else straight, device)
        first = first or (row, clicked)
        row["ratio"] = row["objects per second"] / first[0]["objects per second"]
        row["same clicks"] = sum(clicked[n] == first[1][n] for n in clicked) / len(clicked)
        rows[name] = row
        print(
            f"  {name:14}{row['objects per second']:9.3f} objects/s{1000 * row['seconds per click']:10.2f} ms/click"
            f"   network {row['share of the network']:4.0%}   {row['ratio']:5.2f}x"
            f"   same clicks {row['same clicks']:4.0%}"
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "method": options.method,
        "device": device,
        "precision": options.precision,
        "clicks": options.clicks,
        **sizes,
        "rows": rows,
    }
    options.output.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(run_script(main))
