"""GrabCut by the released code of SimpleClick or RITM and by ours: the same weights, objects and rule, in turns.

    python benchmarks/against_official/evaluate.py CODE xtiny --grabcut FOLDER [--weights FILE.pth] [--gpu]

CODE is the fetched repository (released.py says which). Both read the images from their files and play as published:
flip and zoom-in. The released code is left as it is: float32, one object and one click at a time. Without a file of
weights these are drawn at random; then no object comes near its target, and every one gets all its clicks.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import released
import torch
from turns import Side, Work

from clicklab.commands.errors import run_script
from clicklab.evaluation.metrics import noc
from clicklab.evaluation.object_result import ObjectResult
from clicklab.evaluation.play import play, read_ahead
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.results import percent
from clicklab.inference.options import PRECISIONS
from clicklab.inference.predictor import predictor_for
from data_modules.datasets import open_dataset
from data_modules.process_memory import keep_freed_memory
from data_modules.scenes import EvaluationObjects

ZOOMS = {"ritm": {"skip_clicks": 1, "target_size": 400}, "simpleclick": {"skip_clicks": -1, "target_size": (448, 448)}}
THRESHOLDS = (0.85, 0.90)  # IoUs of the NoC that is printed
Played = dict[str, tuple[list[tuple[int, int, int]], list[float]]]  # image -> clicks (row, column, label), IoUs


def prepare_released(options: argparse.Namespace) -> Work:
    """Plays a list of images by the released evaluation."""
    released.open_code(options.code)
    from isegm.data.datasets import GrabCutDataset  # ty: ignore[unresolved-import]
    from isegm.inference.evaluation import evaluate_sample  # ty: ignore[unresolved-import]
    from isegm.inference.predictors import get_predictor  # ty: ignore[unresolved-import]

    network, _ = released.both(options.network, options.weights, options.device)
    zoom = ZOOMS[released.method_of(options.network)]
    predictor = get_predictor(network, "NoBRS", torch.device(options.device), with_flip=True, zoom_in_params=zoom)
    dataset = GrabCutDataset(options.grabcut)
    numbers = {Path(name).stem: number for number, name in enumerate(dataset.dataset_samples)}

    def play_images(names: list[str]) -> Played:
        played: Played = {}
        for name in names:
            sample = dataset.get_sample(numbers[name])
            (number,) = sample.objects_ids
            mask, rule = sample.gt_mask(number) if callable(sample.gt_mask) else sample.gt_mask, options.target_iou
            clicks, ious, _ = evaluate_sample(sample.image, mask, predictor, rule, max_clicks=options.clicks)
            played[name] = [(*map(int, one.coords), int(one.is_positive)) for one in clicks], ious.tolist()
        return played

    return play_images


def protocol_of(options: argparse.Namespace, precision: str) -> EvaluationProtocol:
    """Our settings for the rule that both play. Raises ValueError for a rule that nobody plays."""
    return EvaluationProtocol(
        max_clicks=options.clicks, target_iou=options.target_iou, thresholds=THRESHOLDS, precision=precision
    )


def prepare_ours(options: argparse.Namespace, precision: str, watched: bool = False) -> Work:
    """Plays a list of images in lockstep; `watched`: answers with the share of the network in the time as well."""
    released.open_code(options.code)
    _, network = released.both(options.network, options.weights, options.device)
    keep_freed_memory()  # as `clicklab evaluate` does
    objects = EvaluationObjects(open_dataset("GrabCut", options.grabcut))
    numbers = {objects[number].name: number for number in range(len(objects))}
    protocol = protocol_of(options, precision)
    seconds = 0.0

    def now() -> float:
        if watched and options.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    @contextmanager
    def watch() -> Iterator[None]:
        nonlocal seconds
        began = now()
        yield
        seconds += now() - began

    predictor = predictor_for(network, protocol, device=options.device, context=watch)

    def play_images(names: list[str]) -> tuple[Played, float]:
        nonlocal seconds
        seconds, began = 0.0, now()
        waiting = read_ahead(objects, [numbers[name] for name in names], options.batch)
        results = [result for result in play(predictor, waiting, options.batch) if isinstance(result, ObjectResult)]
        played = {result.name: (result.clicks, result.ious) for result in results}
        return played, seconds / (now() - began)

    return play_images


def compared(theirs: Played, ours: Played) -> dict[str, Any]:
    """How many clicks are the same, and how far IoUs are apart where all clicks of an object are."""
    alike = [name for name in theirs if theirs[name][0] == ours[name][0]]
    pairs = [zip(theirs[name][0], ours[name][0], strict=False) for name in theirs]
    differences = [
        abs(first - second) for name in alike for first, second in zip(theirs[name][1], ours[name][1], strict=True)
    ]
    return {
        "same clicks": sum(first == second for pair in pairs for first, second in pair),
        "same objects": len(alike),
        "largest IoU difference": max(differences, default=0.0),
    }


def figures(played: Played, seconds: list[float], clicks: int) -> dict[str, Any]:
    """Speed and NoC of one side."""
    curves = [ious for _, ious in played.values()]
    return {
        "seconds": seconds,
        "milliseconds per click": 1000 * sum(seconds) / sum(map(len, curves)),
    } | {f"NoC@{percent(threshold)}": noc(curves, threshold, clicks) for threshold in THRESHOLDS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grabcut", required=True, metavar="FOLDER")
    parser.add_argument("--weights", metavar="FILE", help="a released checkpoint of this network")
    parser.add_argument("--objects", type=int, default=50)
    parser.add_argument("--turn", type=int, default=10, help="objects until it is the other side's turn")
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--target-iou", type=float, default=1.01, help="where an object stops; 1.01: never")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, help="default: 32-true, with --gpu all")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/official_evaluate.json"), metavar="FILE")
    options = released.parse(parser)
    precisions = options.precisions or (list(PRECISIONS) if options.gpu else ["32-true"])
    protocol_of(options, precisions[0])  # what is wrong with it is better said before anything long begins
    dataset = open_dataset("GrabCut", options.grabcut)
    names = [dataset[number].name for number in range(min(options.objects, len(dataset)))]
    turns = [names[first : first + options.turn] for first in range(0, len(names), options.turn)]
    official = Side(prepare_released, options=options)
    sides = {precision: Side(prepare_ours, options=options, precision=precision) for precision in precisions}
    watched = Side(prepare_ours, options=options, precision=precisions[0], watched=True)
    for side in (official, *sides.values(), watched):
        side(turns[0])  # warms up
    theirs: Played = {}
    ours: dict[str, Played] = {precision: {} for precision in sides}
    seconds: dict[str, list[float]] = {name: [] for name in ("official", *sides)}
    shares = []
    for turn in turns:
        done = official(turn)
        theirs |= done.answer
        seconds["official"].append(done.seconds)
        for precision, side in sides.items():
            done = side(turn)
            ours[precision] |= done.answer[0]
            seconds[precision].append(done.seconds)
        shares.append(watched(turn).answer[1])
    rows = {"official": figures(theirs, seconds["official"], options.clicks)}
    for precision, played in ours.items():
        ratio = median(seconds["official"]) / median(seconds[precision])
        rows[precision] = figures(played, seconds[precision], options.clicks) | {"ratio": ratio}
        rows[precision] |= compared(theirs, played)
    total = sum(len(clicks) for clicks, _ in theirs.values())
    device = released.device_name(options.device)
    print(f"{options.network}, {len(names)} objects, {total} clicks, {options.batch} in lockstep, {device}")
    print(f"share of the network in {precisions[0]}: {median(shares):.0%}")
    for name, row in rows.items():
        line = f"  {name:12}{row['milliseconds per click']:9.2f} ms/click   NoC {row['NoC@85']:.2f} {row['NoC@90']:.2f}"
        if name != "official":
            line += f"   {row['ratio']:5.2f}x   same clicks {row['same clicks']}, objects {row['same objects']};"
            line += f" IoU {row['largest IoU difference']:.1e}"
        print(line)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {"network": options.network, "device": device, "objects": len(names), "clicks": total}
    record |= {
        "turn": options.turn,
        "batch": options.batch,
        "target_iou": options.target_iou,
        "share": median(shares),
        "rows": rows,
    }
    options.output.write_text(json.dumps(record, indent=1))
    for side in (official, *sides.values(), watched):
        side.close()


if __name__ == "__main__":
    sys.exit(run_script(main))
