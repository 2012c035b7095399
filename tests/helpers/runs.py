"""Records as `results.json` holds them, made from clicks that a test chooses."""

from __future__ import annotations

import json
from pathlib import Path

from clicklab.evaluation.object_result import ObjectResult
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.results import dataset_record


def results_of(needed, protocol=None, names=None):
    """The record of one evaluation.

    Args:
        needed: dataset -> for each object the click at which IoU 0.96 is reached, 0 where it never is.
        protocol: default: the official one.
        names: of the images; default: a, b, c, ...
    """
    protocol = protocol or EvaluationProtocol()
    datasets = {}
    for dataset, counts in needed.items():
        played = []
        for index, count in enumerate(counts):
            length = count or protocol.max_clicks
            ious = [0.5] * (length - 1) + [0.96 if count else 0.5]
            name = names[index] if names else chr(ord("a") + index)
            clicks = [(10 + k, 20, 1 - k % 2) for k in range(length)]
            played.append(ObjectResult(index, name, 1, clicks, ious, seconds=0.1 * length, first_seconds=0.1))
        datasets[dataset] = dataset_record(played, [], protocol)
    run = {"source": "made_up.pth", "device": "cpu", "compiled": False, "weights": "Net:0"}
    return {"protocol": protocol.to_dict(), "run": run, "data": {}, "datasets": datasets}


def write_run(folder: Path, needed, protocol=None, names=None) -> Path:
    """A folder with a `results.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results_of(needed, protocol, names)))
    return folder
