"""What a network is like to click with, beyond NoC: does it obey, does a click harm, does it keep a mask that is right.

    python benchmarks/goals.py clicklite --data GrabCut=/data/GrabCut --data COCO_MVal=/data/COCO_MVal

Plays the simulated user of the evaluation one object at a time, as in a session of a person, and looks
at every mask.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

import clicklab
from clicklab.clicks.next_click import robot_click
from clicklab.inference.session import Session
from clicklab.masks.perturb import perturb
from clicklab.methods.focalclick.net import FocalClickNet
from clicklab.methods.simpleclick.net import SimpleClickNet
from clicklab.records import IGNORE, EvaluationObject
from data_modules.datasets import Shapes, open_dataset
from data_modules.scenes import EvaluationObjects

HARM = 0.05  # a click that lowers the IoU by more than this does harm
SPOILT = 0.8  # IoU of the spoilt masks


@dataclass
class Dialogue:
    """One object played: IoU after each click, and whether the click's own pixel has the click's sign then."""

    ious: list[float] = field(default_factory=list)
    obeyed: list[bool] = field(default_factory=list)

    def noc(self, threshold: float, most: int) -> int:
        """Clicks until the IoU is reached, `most` where it never is."""
        return next((n for n, iou in enumerate(self.ious, 1) if iou >= threshold), most)


def play(session: Session, item: EvaluationObject, most: int, stop: float) -> Dialogue:
    """The evaluation's simulated user on a session that holds the image, and maybe a mask to start from."""
    dialogue = Dialogue()
    target = torch.from_numpy(item.target)[None]
    clicked = torch.zeros_like(target, dtype=torch.bool)
    for _ in range(most):
        yx, label = robot_click(torch.from_numpy(session.mask)[None], target, clicked)
        y, x = (int(place) for place in yx[0])
        positive = bool(label[0])
        clicked[0, y, x] = True
        mask = session.add_click(y, x, positive)
        dialogue.obeyed.append(bool(mask[y, x]) == positive)
        dialogue.ious.append(iou(mask, item.target))
        if dialogue.ious[-1] >= stop:
            break
    return dialogue


def iou(mask: np.ndarray, target: np.ndarray) -> float:
    """Of a mask (H, W) bool with a target, ignored pixels left out."""
    known = target != IGNORE
    both, either = (mask & (target == 1) & known).sum(), ((mask | (target == 1)) & known).sum()
    return float(both / max(either, 1))


def opened(spec: str) -> EvaluationObjects:
    """The objects of NAME=FOLDER, or of generated scenes."""
    name, _, folder = spec.partition("=")
    return EvaluationObjects(Shapes(split="val", length=10, size=128) if not folder else open_dataset(name, folder))


def objects(spec: str, every: int) -> Iterator[EvaluationObject]:
    """Every so many-th object of a dataset."""
    items = opened(spec)
    for index in range(0, len(items), every):
        item = items[index]
        if isinstance(item, EvaluationObject):
            yield item


def agreeing_click(session: Session, item: EvaluationObject) -> float:
    """IoU after the true mask was given and one click in the middle of the object that agrees with it."""
    target = torch.from_numpy(item.target)[None]
    nothing = torch.zeros_like(target, dtype=torch.bool)
    yx, _ = robot_click(nothing, target, nothing)
    session.set_image(item.image)
    session.set_mask(item.target == 1)
    return iou(session.add_click(int(yx[0, 0]), int(yx[0, 1])), item.target)


def measure(checkpoint: str, spec: str, every: int, most: int) -> dict[str, Any]:
    """The figures of one dataset."""
    session = Session(clicklab.load(checkpoint), keep_history=False)
    fresh, spoilt, kept = [], [], []
    for number, item in enumerate(objects(spec, every)):
        session.set_image(item.image)
        fresh.append(play(session, item, most, 0.95))
        kept.append(agreeing_click(session, item))
        start = perturb(item.target, SPOILT, np.random.default_rng(number))
        session.set_image(item.image)
        session.set_mask(start.mask)
        spoilt.append(play(session, item, most, 0.9))
    changes = [after - before for d in fresh for before, after in pairwise([0.0, *d.ious])]
    return {
        "objects": len(fresh),
        "most clicks": most,
        **{f"NoC@{round(100 * t)}": _mean(d.noc(t, most) for d in fresh) for t in (0.85, 0.9, 0.95)},
        **{f"IoU@{n}": _mean(d.ious[min(n, len(d.ious)) - 1] for d in fresh) for n in (1, 3, 5)},
        "own pixel agrees": _mean(one for d in fresh for one in d.obeyed),
        f"clicks that lower the IoU by more than {HARM}": _mean(change < -HARM for change in changes),
        "true mask and a click that agrees: IoU": _mean(kept),
        f"NoC@90 from a mask of IoU {SPOILT}": _mean(d.noc(0.9, most) for d in spoilt),
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean([float(value) for value in values]))


def speed(checkpoint: str, spec: str, rounds: int) -> dict[str, Any]:
    """Seconds per click beside the two quickest networks of the house, untrained, by turns in one run."""
    networks = {
        checkpoint: clicklab.load(checkpoint),
        "FocalClick B0": FocalClickNet(backbone="b0").eval(),
        "SimpleClick ViT-xtiny": SimpleClickNet.from_variant("xtiny").eval(),
    }
    image = next(objects(spec, 1)).image
    sessions = {name: Session(net) for name, net in networks.items()}
    spent: dict[str, list[list[float]]] = {name: [[], []] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            session.set_image(image)
            for click, (y, x) in enumerate(((0.5, 0.5), (0.4, 0.6), (0.6, 0.4))):
                begin = time.perf_counter()
                session.add_click(y * image.shape[0], x * image.shape[1])
                spent[name][min(click, 1)].append(time.perf_counter() - begin)
    medians = {name: [float(np.median(seconds)) for seconds in both] for name, both in spent.items()}
    return {
        f"{name}, {when} click": seconds
        for name, both in medians.items()
        for when, seconds in zip(("first", "later"), both, strict=True)
    }


def main() -> None:
    """Reads the command line, prints the figures and writes them down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="clicklite")
    parser.add_argument("--data", action="append", metavar="NAME=FOLDER", help="default: generated shapes")
    parser.add_argument("--every", type=int, default=1, help="every so many-th object (default: all)")
    parser.add_argument("--clicks", type=int, default=20, help="most clicks of an object")
    parser.add_argument("--rounds", type=int, default=7, help="of the clock")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/goals.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    specs = options.data or ["Shapes"]
    record = {spec: measure(options.checkpoint, spec, options.every, options.clicks) for spec in specs}
    record["seconds"] = speed(options.checkpoint, specs[0], options.rounds)
    for title, figures in record.items():
        print(title)
        for name, value in figures.items():
            print(f"  {name:55} {value:.4g}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
