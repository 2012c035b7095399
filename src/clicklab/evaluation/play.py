"""Play whole datasets: the robot on every object, resumable, ending in the record that `results.json` holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from clicklab.evaluation.journal import Journal, fingerprint
from clicklab.evaluation.lockstep import LockstepPlayer, ObjectResult
from clicklab.evaluation.predictor import Predictor, predictor_for
from clicklab.evaluation.protocol import Protocol
from clicklab.evaluation.report import dataset_record, save_results
from clicklab.evaluation.robustness import Objects, PerturbedObjects
from clicklab.records import EvaluationObject, SkippedObject

JOURNAL = "progress.jsonl"
READERS = 4  # threads: on a GPU an object that needs few clicks is played faster than one thread reads it


def play(
    predictor: Predictor, objects: Iterable[EvaluationObject | SkippedObject], batch_size: int = 8
) -> Iterator[ObjectResult | SkippedObject]:
    """Plays the evaluation robot on all objects, `batch_size` at a time; results come in the order of their ends.

    Raises:
        ValueError: batch_size below 1.
    """
    player = LockstepPlayer(predictor, batch_size)
    for item in objects:
        yield from player.submit(item)
    yield from player.drain()


def evaluate_objects(
    network: nn.Module,
    datasets: Mapping[str, Objects],
    protocol: Protocol | None = None,
    *,
    batch_size: int = 8,
    device: torch.device | str | None = None,
    output: str | Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Plays all objects of all datasets.

    Args:
        network: keeps the network contract; it is put into eval mode meanwhile.
        datasets: printed name -> objects (`data_modules.sample.EvaluationObjects`); a dataset's `view_scale` is obeyed.
        protocol: the settings; default: the official ones.
        batch_size: objects in lockstep; changes the speed, not the result.
        device: where to run; default: where the network is.
        output: folder for results.json, table.txt, results.csv, curve.png, and for the journal from which a broken run
            goes on.
        progress: show a bar per dataset.

    Returns:
        {"protocol": {...}, "datasets": {name: record}}, see `report.dataset_record`. Datasets of a network that answers
        several candidates come twice, see `Protocol.choice`.

    Raises:
        ValueError: an impossible setting, or `output` holds a journal of other settings.
    """
    protocol = protocol or Protocol()
    settings = protocol.to_dict(network)
    journal = None if output is None else Journal(Path(output) / JOURNAL, _journal_settings(settings, network))
    was_training = network.training
    network.eval()
    if device is not None:
        network.to(device)
    results: dict[str, Any] = {"protocol": settings, "datasets": {}}
    try:
        for name, objects in datasets.items():
            for suffix, way in protocol.plays(network).items():
                predictor = predictor_for(network, way, view_scale_of(objects), device)
                runs = objects if way.perturb_iou is None else PerturbedObjects(objects, way.perturb_iou, way.repeats)
                played, skipped = _play_dataset(predictor, name + suffix, runs, batch_size, journal, progress)
                results["datasets"][name + suffix] = dataset_record(played, skipped, way, predictor.zoom_in)
    finally:
        network.train(was_training)
        if journal is not None:
            journal.close()
    if output is not None:
        save_results(results, output)
    return results


def view_scale_of(objects: object) -> float:
    """How much larger than usual a dataset is officially viewed (DAVIS 1.5)."""
    return getattr(getattr(objects, "dataset", objects), "view_scale", 1.0)


def _journal_settings(settings: dict[str, Any], network: nn.Module) -> dict[str, Any]:
    """What the clicks and IoUs of an object depend on: versions, and how NoF is counted, do not matter."""
    kept = {
        key: value for key, value in settings.items() if key not in ("versions", "thresholds", "late_success_fails")
    }
    return kept | {"weights": fingerprint(network)}


def _play_dataset(
    predictor: Predictor, name: str, objects: Objects, batch_size: int, journal: Journal | None, progress: bool
) -> tuple[list[ObjectResult], list[SkippedObject]]:
    """What an earlier run finished, and the rest played now."""
    earlier = {} if journal is None else journal.finished.get(name, {})
    played = [result for index, result in earlier.items() if index < len(objects)]
    skipped: list[SkippedObject] = []
    missing = [index for index in range(len(objects)) if index not in earlier]
    bar = tqdm(total=len(objects), initial=len(played), desc=name, unit="object", disable=not progress)
    with bar:
        for outcome in play(predictor, read_ahead(objects, missing, batch_size), batch_size):
            bar.update()
            if isinstance(outcome, SkippedObject):
                skipped.append(outcome)
                continue
            played.append(outcome)
            if journal is not None:
                journal.add(name, outcome)
    return played, skipped


def read_ahead(objects: Objects, indices: list[int], depth: int) -> Iterator[EvaluationObject | SkippedObject]:
    """Items in the order of `indices`, up to `depth` of them read by threads while earlier ones are played."""
    reader = ThreadPoolExecutor(READERS)
    waiting: deque[Future[EvaluationObject | SkippedObject]] = deque()
    try:
        for index in indices:
            waiting.append(reader.submit(_read, objects, index))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        reader.shutdown(cancel_futures=True)


def _read(objects: Objects, index: int) -> EvaluationObject | SkippedObject:
    item = objects[index]
    if item.index != index:
        raise ValueError(f"the object at position {index} carries index {item.index}: index must be the position")
    return item
