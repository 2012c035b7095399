"""Play whole datasets: the robot on every object, resumable, ending in the record that `results.json` holds."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from clicklab.device import usable_device
from clicklab.evaluation.journal import Journal, behaviour, checksum, fingerprint
from clicklab.evaluation.lockstep import LockstepPlayer, protocol_of
from clicklab.evaluation.object_result import SCHEMA, ObjectResult
from clicklab.evaluation.protocol import BATCH_SIZE, EvaluationProtocol
from clicklab.evaluation.results import dataset_record, save_results
from clicklab.evaluation.robustness import Objects, RepeatedObjects
from clicklab.inference.predictor import Predictor, in_eval_mode, predictor_for
from clicklab.nn.compiled import compile_parts
from clicklab.nn.fold_norms import fold_norms
from clicklab.nn.network import ClickNetwork, as_click_network
from clicklab.records import EvaluationObject, SkippedObject

JOURNAL = "progress.jsonl"
READERS = 4  # threads: on a GPU an object that needs few clicks is played faster than one thread reads it


def play(
    predictor: Predictor, objects: Iterable[EvaluationObject | SkippedObject], batch_size: int = BATCH_SIZE
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
    protocol: EvaluationProtocol | None = None,
    *,
    batch_size: int = BATCH_SIZE,
    device: torch.device | str | None = None,
    output: str | Path | None = None,
    progress: bool = False,
    compiled: bool = False,
    source: str | None = None,
) -> dict[str, Any]:
    """Plays all objects of all datasets.

    Args:
        network: a `ClickNetwork` or any torch module that `as_click_network` takes; in eval mode meanwhile.
        datasets: printed name -> objects (`data_modules.scenes.EvaluationObjects`); a dataset's `view_scale` is obeyed.
        protocol: the settings; default: the official ones.
        batch_size: objects in lockstep; changes the speed, not the result.
        device: where to run, and where the network then stays; default: where it is.
        output: folder for results.json, table.txt, results.csv, and for the journal from which a broken run goes on.
        progress: show a bar per dataset.
        compiled: run a copy of the network with compiled parts (`clicklab.nn.compiled`), for long runs on a GPU.
        source: where the weights came from, for the record.

    Returns:
        {"schema": 1, "protocol": {...}, "run": {...}, "data": {name: what its reader was told},
        "datasets": {name: record}}, see `results.dataset_record`. Datasets of a network that answers several candidates
        come twice (`choice`).

    Raises:
        TypeError: no network.
        ValueError: an impossible setting, no such device, an answer that holds NaN or Inf, or `output` holds a journal
            of other settings or of other data, or another evaluation writes there.
    """
    network = as_click_network(network)
    protocol = EvaluationProtocol() if protocol is None else protocol
    settings = protocol.to_dict(network)
    if device is not None:
        network.to(usable_device(device))
    run: dict[str, Any] = {"source": source, "device": str(device or _device_of(network)), "compiled": compiled}
    run["arguments"] = _recorded(network.arguments)
    journal = None
    if output is not None:
        run["weights"] = fingerprint(network)
        with in_eval_mode(network):
            journal = Journal(Path(output) / JOURNAL, _journal_settings(settings, run) | behaviour(network))
    data = {name: {"objects": len(objects)} | _told(objects) for name, objects in datasets.items()}
    results: dict[str, Any] = {"schema": SCHEMA, "protocol": settings, "run": run, "data": data, "datasets": {}}
    with in_eval_mode(network), closing(journal) if journal else nullcontext():
        played_network = _compiled_copy(network) if compiled else network
        for name, objects in datasets.items():
            predictor = predictor_for(played_network, protocol, view_scale_of(objects), device)
            rows = {name + suffix: way for suffix, way in protocol.plays(network).items()}
            runs = objects
            if protocol.runs > 1 or protocol.perturb_iou is not None:
                runs = RepeatedObjects(objects, protocol.runs, protocol.perturb_iou)
            played = _play_dataset(predictor, rows, runs, batch_size, journal, progress)
            for row, (finished, skipped) in played.items():
                results["datasets"][row] = dataset_record(finished, skipped, rows[row], predictor.zoom_in)
    if output is not None:
        save_results(results, output)
    return results


def _device_of(network: nn.Module) -> torch.device:
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def _compiled_copy(network: ClickNetwork) -> ClickNetwork:
    network = copy.deepcopy(fold_norms(network))
    compile_parts(network)
    return network


def _told(objects: Objects) -> dict[str, Any]:
    """The reader of a dataset and what it was given: folder, split, kind of masks."""
    reader = getattr(objects, "dataset", objects)
    if given := getattr(reader, "given", None):  # opened by name
        return {"reader": type(reader).__name__} | given
    plain = {key: value for key, value in getattr(reader, "__dict__", {}).items() if not key.startswith("_")}
    known = {key: value for key, value in plain.items() if isinstance(value, (str, int, float, Path, type(None)))}
    return {"reader": type(reader).__name__} | {
        key: str(value) if isinstance(value, Path) else value for key, value in known.items()
    }


def view_scale_of(objects: object) -> float:
    """How much larger than usual a dataset is officially viewed (DAVIS 1.5)."""
    return getattr(getattr(objects, "dataset", objects), "view_scale", 1.0)


def _journal_settings(settings: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """What the clicks and IoUs of an object depend on: versions, and how NoF is counted, do not matter."""
    kept = {
        key: value for key, value in settings.items() if key not in ("versions", "thresholds", "late_success_fails")
    }
    device = torch.device(run["device"]).type  # which card of a kind does not matter
    return kept | {name: run[name] for name in ("weights", "arguments", "compiled")} | {"device": device}


def _recorded(value: Any) -> Any:
    """A network's argument as JSON: plain values as they are, anything else by the name of its type."""
    if isinstance(value, Mapping):
        return {str(key): _recorded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_recorded(entry) for entry in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__


class _Checked:
    """Objects with a checksum of each that was read: a journal must know whether they are still the same."""

    def __init__(self, objects: Objects, with_start: bool) -> None:
        self.objects, self.with_start = objects, with_start
        self.sums: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> EvaluationObject | SkippedObject:
        item = self.objects[index]
        if isinstance(item, EvaluationObject):
            self.sums[index] = checksum(item, self.with_start)
        return item

    def compare(self, name: str, journal: Journal, depth: int, progress: bool) -> None:
        """Reads again what an earlier run has finished. Raises ValueError where it is no longer what was played."""
        earlier = sorted(index for index in journal.checksums.get(name, {}) if index < len(self))
        reading = read_ahead(self, earlier, depth)
        for item in tqdm(
            reading, f"{name}, looking at what is there", len(earlier), disable=not (progress and earlier)
        ):
            was = journal.finished[name][item.index]
            renamed = (was.name, was.object) != (item.name, item.object)
            if renamed or self.sums.get(item.index) != journal.checksums[name][item.index]:
                raise ValueError(
                    f"{journal.path} holds results of other data: object {item.index} of {name} was {was.name} (object "
                    f"{was.object}), now it is {item.name} (object {item.object}), or its image or masks have changed. "
                    "Give another output folder, or remove the file to start anew"
                )


def _play_dataset(
    predictor: Predictor,
    rows: Mapping[str, EvaluationProtocol],
    objects: Objects,
    batch_size: int,
    journal: Journal | None,
    progress: bool,
) -> dict[str, tuple[list[ObjectResult], list[SkippedObject]]]:
    """What an earlier run finished, and the rest played now.

    Args:
        predictor: answers.
        rows: name in the record -> how objects are played for it: by the network's own choice, by the oracle, or both
            at a time, which share the encoding of every image.
        objects: the dataset.
        batch_size: objects in lockstep.
        journal: of this folder.
        progress: show a bar.
    """
    played: dict[str, tuple[list[ObjectResult], list[SkippedObject]]] = {row: ([], []) for row in rows}
    earlier: dict[str, Mapping[int, ObjectResult]] = {row: {} for row in rows}
    if journal is not None:
        objects = checked = _Checked(objects, protocol_of(predictor).starts_from_mask)
        for row in rows:
            checked.compare(row, journal, batch_size, progress)
            earlier[row] = journal.finished.get(row, {})
            played[row][0].extend(result for index, result in earlier[row].items() if index < len(objects))
    row_of = {way.choice == "oracle": row for row, way in rows.items()}
    missing = {
        index: ways
        for index in range(len(objects))
        if (ways := [oracle for oracle, row in row_of.items() if index not in earlier[row]])
    }
    player = LockstepPlayer(predictor, batch_size)
    name = next(iter(rows))
    with tqdm(
        total=len(objects), initial=len(objects) - len(missing), desc=name, unit="object", disable=not progress
    ) as bar:
        for outcome in _outcomes(player, read_ahead(objects, list(missing), batch_size), missing):
            if isinstance(outcome, SkippedObject):
                bar.update()
                for finished, skipped in played.values():
                    if outcome.index not in {result.index for result in finished}:
                        skipped.append(outcome)
                continue
            row = row_of[outcome.oracle]
            bar.update(1 / len(missing[outcome.index]))
            played[row][0].append(outcome)
            if journal is not None:
                journal.add(row, outcome, checked.sums[outcome.index])
    return played


def _outcomes(
    player: LockstepPlayer,
    items: Iterable[EvaluationObject | SkippedObject],
    ways: Mapping[int, Sequence[bool]],
) -> Iterator[ObjectResult | SkippedObject]:
    for item in items:
        yield from player.submit(item, ways[item.index])
    yield from player.drain()


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
