"""What a network is like to click with, beyond NoC: does it obey, does a click harm, does it keep a mask that is right.

    python benchmarks/goals.py clicklite --data GrabCut=/data/GrabCut --data COCO_MVal=/data/COCO_MVal --every 4
    python benchmarks/goals.py clicklite --data GrabCut=/data/GrabCut --speed

Plays the simulated user of the evaluation one object at a time, as in a session of a person (preset clean), and looks
at every mask.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

import clicklab
from clicklab.clicks.next_click import robot_click
from clicklab.inference.session import Session
from clicklab.masks.perturb import perturb
from clicklab.records import IGNORE, EvaluationObject
from data_modules.datasets import open_dataset
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


def objects(spec: str, every: int) -> Iterator[EvaluationObject]:
    """Every so many-th object of NAME=FOLDER."""
    name, _, folder = spec.partition("=")
    items = EvaluationObjects(open_dataset(name, folder))
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


def measure(checkpoint: str, spec: str, every: int, most: int) -> None:
    """Prints the rows of one dataset."""
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
    print(f"{spec.partition('=')[0]}, {len(fresh)} objects, at most {most} clicks")
    print(
        "  NoC@85 / 90 / 95  ", " / ".join(f"{np.mean([d.noc(t, most) for d in fresh]):.2f}" for t in (0.85, 0.9, 0.95))
    )
    for click in (1, 3, 5):
        print(f"  IoU@{click}             {np.mean([d.ious[min(click, len(d.ious)) - 1] for d in fresh]):.3f}")
    print(f"  own pixel agrees   {100 * np.mean([o for d in fresh for o in d.obeyed]):.2f} % of clicks")
    drops = [after - before for d in fresh for before, after in zip([0.0, *d.ious[:-1]], d.ious, strict=True)]
    print(f"  harm > {HARM}        {100 * np.mean([drop < -HARM for drop in drops]):.2f} % of clicks")
    print(f"  true mask kept     {np.mean(kept):.3f} IoU after one click that agrees (worst {np.min(kept):.3f})")
    nocs = [np.mean([d.noc(0.9, most) for d in runs]) for runs in (fresh, spoilt)]
    print(f"  from IoU {SPOILT}       {nocs[1]:.2f} clicks to 0.90 against {nocs[0]:.2f} from nothing")


def speed(checkpoint: str, spec: str, rounds: int) -> None:
    """Seconds per click beside the two quickest networks of the house, untrained, by turns in one run."""
    from clicklab.methods.focalclick.net import FocalClickNet
    from clicklab.methods.simpleclick.net import SimpleClickNet

    networks = {
        checkpoint: clicklab.load(checkpoint),
        "FocalClick B0": FocalClickNet(backbone="b0").eval(),
        "SimpleClick ViT-xtiny": SimpleClickNet.from_variant("xtiny").eval(),
    }
    item = next(objects(spec, 1))
    sessions = {name: Session(net) for name, net in networks.items()}
    spent: dict[str, list[list[float]]] = {name: [[], []] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            session.set_image(item.image)
            for click, (y, x) in enumerate(((0.5, 0.5), (0.4, 0.6), (0.6, 0.4))):
                begin = time.perf_counter()
                session.add_click(y * item.image.shape[0], x * item.image.shape[1])
                spent[name][min(click, 1)].append(time.perf_counter() - begin)
    for name, (first, later) in spent.items():
        print(f"{name:24} first click {np.median(first):.3f} s, later {np.median(later):.3f} s")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--data", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--every", type=int, default=1, help="every so many-th object (default: all)")
    parser.add_argument("--max-clicks", type=int, default=20)
    parser.add_argument("--speed", action="store_true", help="seconds per click instead, on the first object")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for spec in options.data:
        if options.speed:
            speed(options.checkpoint, spec, 7)
        else:
            measure(options.checkpoint, spec, options.every, options.max_clicks)


if __name__ == "__main__":
    main()
