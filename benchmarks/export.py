"""What an exported network costs and loses: torch, onnxruntime in float32 and in 8 bits, in turns in one run.

    python benchmarks/export.py clicklite --data GrabCut=/data/GrabCut --calibrate /data/photos

Each object is played by the three one after the other, with the simulated user and the official protocol, so that they
share the weather of the machine. Seconds are those of an answer, from the click to the mask in the image; the simulated
user's own are left out. "cpu" are seconds of the processor, all threads together: beside other work they say more.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
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
from clicklab.inference.state import SessionState
from clicklab.nn.network import ClickNetwork
from clicklab.records import EvaluationObject
from data_modules.datasets import Shapes, open_dataset
from data_modules.scenes import EvaluationObjects

TORCH, FLOAT, INT8 = "torch", "onnxruntime float32", "onnxruntime int8"


def networks_of(checkpoint: str, folder: Path, photos: Path) -> tuple[dict[str, ClickNetwork], dict[str, float]]:
    """The three networks, and what they weigh in MB (graphs, or float32 parameters)."""
    network = clicklab.load(checkpoint)
    folders = {FLOAT: folder / "float32", INT8: folder / "int8"}
    export_folder(network, folders[FLOAT], source=checkpoint)
    shutil.copytree(folders[FLOAT], folders[INT8], dirs_exist_ok=True)
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


class Player:
    """One way: plays objects and takes the time of every answer.

    Attributes:
        results: of the objects so far.
        seconds: (wall, processor) of every answer, object by object.
    """

    def __init__(self, network: ClickNetwork, protocol: EvaluationProtocol) -> None:
        self.results: list[ObjectResult] = []
        self.seconds: list[tuple[float, float]] = []
        self._predictor = predictor_for(network, protocol)
        self._answer = self._predictor.predict
        self._predictor.predict = self._timed  # ty: ignore[invalid-assignment]

    def play(self, item: EvaluationObject) -> None:
        """One object to its end."""
        self.results += [one for one in play(self._predictor, [item], batch_size=1) if isinstance(one, ObjectResult)]

    def _timed(self, states: Sequence[SessionState]) -> list[SessionState]:
        wall, processor = time.perf_counter(), time.process_time()
        answers = self._answer(states)
        self.seconds.append((time.perf_counter() - wall, time.process_time() - processor))
        return answers

    def figures(self, most: int) -> dict[str, float]:
        """NoC, IoU, and medians over clicks of the seconds of an answer."""
        curves = [result.ious for result in self.results]
        found = {f"NoC@{threshold:.0%}": noc(curves, threshold, most) for threshold in (0.85, 0.90, 0.95)}
        found |= {f"IoU@{click}": iou_at(curves, click) for click in (1, 3, 5)}
        firsts = {sum(map(len, curves[:place])) for place in range(len(curves))}
        for name, wanted in (("first click", (True,)), ("later click", (False,)), ("click", (True, False))):
            chosen = [one for place, one in enumerate(self.seconds) if (place in firsts) in wanted]
            for clock, values in zip(("wall s", "cpu s"), zip(*chosen, strict=True), strict=False):
                found[f"{name}, {clock}"] = median(values)
        return found


def play_in_turns(players: Mapping[str, Player], items: Iterable[EvaluationObject]) -> None:
    """Every object by everybody; whoever begins changes from object to object."""
    order = list(players.values())
    for item in tqdm(items, desc="playing"):
        for player in order:
            player.play(item)
        order = [*order[1:], order[0]]


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
    protocol = EvaluationProtocol(max_clicks=options.clicks)
    with tempfile.TemporaryDirectory() as scratch:
        networks, weights = networks_of(options.checkpoint, options.folders or Path(scratch), options.calibrate)
        players = {name: Player(network, protocol) for name, network in networks.items()}
        play_in_turns(players, items)
    name = options.data.partition("=")[0]
    record: dict[str, Any] = {"data": name, "threads": options.threads, "objects": len(players[TORCH].results)}
    for name, player in players.items():
        pairs = zip(player.results, players[TORCH].results, strict=True)
        same = sum(one.clicks == other.clicks for one, other in pairs)
        record[name] = {"MB": weights[name], "objects with the same clicks": same} | player.figures(options.clicks)
    add_ratios(record)
    print_table(record)
    print(summary(record))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1))


def add_ratios(record: dict[str, Any]) -> None:
    """Medians of seconds as shares of torch's."""
    for name in (FLOAT, INT8):
        times = {key: value for key, value in record[name].items() if key.endswith(" s")}
        record[name] |= {f"{key[:-2]}, of torch": value / record[TORCH][key] for key, value in times.items()}


def summary(record: dict[str, Any]) -> str:
    """The line for docs/export.md."""
    torch_, float_, int8 = record[TORCH], record[FLOAT], record[INT8]
    wall, processor = "click, wall, of torch", "click, cpu, of torch"
    return (
        f"int8 against torch, {record['data']}, {record['objects']} objects, {record['threads']} threads: "
        f"{int8[wall]:.2f} of the seconds per click, {int8[processor]:.2f} of the processor's "
        f"(float32 {float_[wall]:.2f}, {float_[processor]:.2f}), "
        f"{int8['MB']:.1f} of {torch_['MB']:.1f} MB, NoC@90% {int8['NoC@90%']:.2f} : {torch_['NoC@90%']:.2f}"
    )


def print_table(record: dict[str, Any]) -> None:
    """One row per figure, one column per way."""
    print(f"{record['objects']} objects, {record['threads']} threads")
    print(f"{'':30}" + "".join(f"{name:>22}" for name in (TORCH, FLOAT, INT8)))
    for row in record[INT8]:
        cells = [record[name].get(row) for name in (TORCH, FLOAT, INT8)]
        print(f"{row:30}" + "".join(f"{'' if cell is None else format(cell, '.4g'):>22}" for cell in cells))


if __name__ == "__main__":
    sys.exit(run_script(main))
