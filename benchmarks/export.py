"""What an exported network costs and loses: torch, onnxruntime in float32 and in 8 bits, in turns in one run.

    python benchmarks/export.py clicklite --data GrabCut=/data/GrabCut --calibrate /data/photos

Each object is played by the three one after the other, with the simulated user and the official protocol, so that they
share the weather of the machine. Seconds are those of the evaluation (SPC): predicting and clicking.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

import clicklab
import clicklab.annotate
from clicklab.commands.errors import run_script
from clicklab.evaluation.metrics import iou_at, noc
from clicklab.evaluation.object_result import ObjectResult
from clicklab.evaluation.play import play
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.export.folder import export_folder
from clicklab.export.quantise import quantise_folder
from clicklab.inference.predictor import predictor_for
from clicklab.nn.network import ClickNetwork
from clicklab.records import EvaluationObject
from data_modules.datasets import Shapes, open_dataset
from data_modules.scenes import EvaluationObjects

TORCH, FLOAT, INT8 = "torch", "onnxruntime float32", "onnxruntime int8"


def networks_of(checkpoint: str, folder: Path, photos: Path) -> tuple[dict[str, ClickNetwork], dict[str, float]]:
    """The three networks, and what they weigh in MB (graphs, or float32 parameters)."""
    network = clicklab.load(checkpoint)
    folders = {FLOAT: folder / "float32", INT8: folder / "int8"}
    for place in folders.values():
        export_folder(network, place, source=checkpoint)
    quantise_folder(folders[INT8], photos)
    networks = {TORCH: network} | {name: clicklab.load(place) for name, place in folders.items()}
    weights = {TORCH: sum(parameter.numel() for parameter in network.parameters()) * 4 / 1e6}
    for name, place in folders.items():
        weights[name] = sum(path.stat().st_size for path in place.glob("*.onnx")) / 1e6
    return networks, weights


def objects_of(spec: str, most: int | None) -> Iterable[EvaluationObject]:
    """Those of NAME=FOLDER, or of generated scenes."""
    name, _, folder = spec.partition("=")
    dataset = open_dataset(name, folder) if folder else Shapes(split="val", length=4, size=128)
    every = EvaluationObjects(dataset, limit=most)
    return [item for item in tqdm(every, desc="reading") if isinstance(item, EvaluationObject)]


def play_in_turns(
    networks: dict[str, ClickNetwork], items: Iterable[EvaluationObject], protocol: EvaluationProtocol
) -> dict[str, list[ObjectResult]]:
    """Way -> its result for every object; whoever begins changes from object to object."""
    predictors = {name: predictor_for(network, protocol) for name, network in networks.items()}
    order, results = list(networks), {name: [] for name in networks}
    for item in tqdm(items, desc="playing"):
        for name in order:
            results[name] += play(predictors[name], [item], batch_size=1)
        order = [*order[1:], order[0]]
    return results


def figures(results: list[ObjectResult], most: int) -> dict[str, float]:
    """NoC, IoU, and medians over objects of the seconds of a first and a later click."""
    curves = [result.ious for result in results]
    found = {f"NoC@{threshold:.0%}": noc(curves, threshold, most) for threshold in (0.85, 0.90, 0.95)}
    found |= {f"IoU@{click}": iou_at(curves, click) for click in (1, 3, 5)}
    later = [(one.seconds - one.first_seconds) / (len(one.ious) - 1) for one in results if len(one.ious) > 1]
    found["first click, s"] = median(one.first_seconds for one in results)
    found["later click, s"] = median(later) if later else float("nan")
    found["click, s"] = sum(one.seconds for one in results) / sum(map(len, curves))
    return found


def main() -> None:
    """Reads the command line, prints a table and writes it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="clicklite")
    parser.add_argument("--data", default="Shapes", metavar="NAME=FOLDER", help="default: generated shapes")
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="FOLDER",
        default=Path(clicklab.annotate.__file__).parent / "samples",
        help="photos to measure ranges on, not those of --data (default: the page's)",
    )
    parser.add_argument("--objects", type=int, metavar="N", help="the first N (default: all)")
    parser.add_argument("--clicks", type=int, default=20, help="most clicks of an object")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folders", type=Path, metavar="DIR", help="keep what was exported")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/export.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    items = objects_of(options.data, options.objects)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folders or Path(scratch)
        networks, weights = networks_of(options.checkpoint, folder, options.calibrate)
        results = play_in_turns(networks, items, EvaluationProtocol(max_clicks=options.clicks))
    record: dict[str, Any] = {"threads": options.threads, "objects": len(results[TORCH])}
    for name, played in results.items():
        same = sum(one.clicks == other.clicks for one, other in zip(played, results[TORCH], strict=True))
        record[name] = {"MB": weights[name], "objects with the same clicks": same} | figures(played, options.clicks)
    for name in (FLOAT, INT8):
        for when in ("first click, s", "later click, s", "click, s"):
            record[name][f"{when[:-3]}, of torch"] = record[name][when] / record[TORCH][when]
    print_table(record)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1))


def print_table(record: dict[str, Any]) -> None:
    """One row per figure, one column per way."""
    print(f"{record['objects']} objects, {record['threads']} threads")
    print(f"{'':30}" + "".join(f"{name:>22}" for name in (TORCH, FLOAT, INT8)))
    for row in record[INT8]:
        cells = [record[name].get(row) for name in (TORCH, FLOAT, INT8)]
        print(f"{row:30}" + "".join(f"{'' if cell is None else format(cell, '.4g'):>22}" for cell in cells))


if __name__ == "__main__":
    sys.exit(run_script(main))
