"""What an evaluation leaves behind: record, table, CSV, JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clicklab.evaluation.metrics import clicks_needed, miou_curve, noc, nof, seconds_per_click
from clicklab.evaluation.object_result import ObjectResult, columns, to_row
from clicklab.evaluation.protocol import EvaluationProtocol
from clicklab.evaluation.robustness import missed, spread_of_noc
from clicklab.inference.options import plain
from clicklab.records import SkippedObject
from clicklab.views.zoom_in import ZoomIn
from clicklab.whole_file import written_whole

SHOWN_CLICKS = (1, 2, 3, 5, 10, 20)  # columns of mean IoU, as RITM prints them
AS_THEY_ARE = "surrogateescape"  # file names need not be text: such bytes are written as they are


def percent(threshold: float) -> str:
    """0.9 -> "90", 0.925 -> "92.5": how thresholds are written in names and keys."""
    return f"{round(100 * threshold, 4):g}"


def dataset_record(
    played: Sequence[ObjectResult],
    skipped: Sequence[SkippedObject],
    protocol: EvaluationProtocol,
    zoom_in: ZoomIn | None = None,
) -> dict[str, Any]:
    """The numbers of one dataset, ready for JSON; nan where nothing was played.

    `zoom_in` is the rule that this dataset was looked at with: some are officially viewed larger than others.
    """
    ordered = sorted(played, key=lambda result: result.index)
    curves = [result.ious for result in ordered]
    limit, late = protocol.max_clicks, protocol.quirk("late_success_fails")
    counts = [len(result.clicks) for result in ordered]
    spc = seconds_per_click([r.seconds for r in ordered], [r.first_seconds for r in ordered], counts)
    record: dict[str, Any] = {
        "zoom_in": None if zoom_in is None else plain(asdict(zoom_in)),
        "noc": {percent(t): noc(curves, t, limit) for t in protocol.thresholds},
        "nof": {percent(t): nof(curves, t, limit, late) for t in protocol.thresholds},
        "never": {percent(t): nof(curves, t, limit, late_success_fails=False) for t in protocol.thresholds},
        "miou": miou_curve(curves, limit),
        "spc": spc.every,
        "spc_first": spc.first,
        "spc_later": spc.later,
    }
    if protocol.choice == "oracle":  # how often per object the user has to prefer another candidate (PiClick, Table 5)
        record["selections"] = sum(result.selections for result in ordered) / max(1, len(ordered))
    if protocol.cascade:  # passes of the network for each click, the first one included
        passes = sum(1 + len(changed) for result in ordered for changed in result.changes or ())
        record["passes"] = passes / max(1, sum(counts))
    if protocol.boundary_iou:
        record["biou"] = miou_curve([result.boundary_ious or [] for result in ordered], limit)
    if protocol.click_spread:
        runs = {result.index: result.ious for result in ordered}
        record["spread"] = {percent(t): spread_of_noc(runs, t, limit, protocol.runs) for t in protocol.thresholds}
    if protocol.starts_from_mask:
        record["starts"] = _starts([result.initial_iou or 0.0 for result in ordered], protocol)
    record["objects"] = [to_row(result) for result in ordered]
    record["skipped"] = [
        {"name": item.name, "object": item.object, "index": item.index, "reason": item.reason}
        for item in sorted(skipped, key=lambda item: item.index)
    ]
    return record


def table(results: Mapping[str, Any]) -> str:
    """A text table of one results record, or of several by name; below it the settings they were made with."""
    named: Mapping[str, Any] = {"": results} if "datasets" in results else results
    rows = [
        ({"": name} if name else {}) | {"dataset": dataset} | _columns(record)
        for name, result in named.items()
        for dataset, record in result["datasets"].items()
    ]
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    lines = [headings, *([row.get(heading, "") for heading in headings] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    text = [
        "  ".join(c.ljust(w) if n < 2 else c.rjust(w) for n, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    text.insert(1, "-" * len(text[0]))
    notes = {name: _settings_line(result["protocol"]) for name, result in named.items()}
    text += [note for result in named.values() for note in _notes(result)]
    if len(set(notes.values())) == 1:
        return "\n".join([*text, next(iter(notes.values()))])
    return "\n".join([*text, *(f"{name}: {note}" for name, note in notes.items())])


def save_results(results: Mapping[str, Any], folder: str | Path) -> None:
    """Writes results.json, table.txt and results.csv into `folder`, each beside its place and renamed."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / "results.json") as part:
        part.write_text(json.dumps(_without_nan(results), indent=1, allow_nan=False) + "\n")
    with written_whole(folder / "table.txt") as part:
        part.write_text(table(results) + "\n", encoding="utf-8", errors=AS_THEY_ARE)
    write_csv(results, folder / "results.csv")


def write_csv(results: Mapping[str, Any], path: Path) -> None:
    """One row per object: its facts, clicks needed for each threshold (empty: never reached), IoU after each click."""
    thresholds, limit = results["protocol"]["thresholds"], results["protocol"]["max_clicks"]
    facts = {name: column for name, column in columns().items() if column.heading is not None}
    numbers = [f"NoC@{percent(t)}" for t in thresholds] + [f"IoU@{k}" for k in range(1, limit + 1)]
    with written_whole(path) as part, part.open("w", newline="", encoding="utf-8", errors=AS_THEY_ARE) as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", *(column.heading for column in facts.values()), *numbers])
        for dataset, record in results["datasets"].items():
            for row in record["objects"]:
                needed = [clicks_needed(row["ious"], t) for t in thresholds]
                told = [column.text(row[name]) for name, column in facts.items()]
                writer.writerow([dataset, *told, *needed, *(f"{iou:.6f}" for iou in row["ious"])])


def _starts(ious: Sequence[float], protocol: EvaluationProtocol) -> dict[str, Any]:
    """How good the masks before the first click were, and how many missed the IoU that was asked for."""
    record: dict[str, Any] = {"iou": sum(ious) / len(ious) if ious else math.nan}
    if protocol.perturb_iou is not None:
        record |= {"wanted": protocol.perturb_iou, "missed": missed(ious, protocol.perturb_iou)}
    return record


def _notes(results: Mapping[str, Any]) -> list[str]:
    """Lines for datasets with skipped objects, or with masks that could not be spoilt as wanted (`clicks.perturb`)."""
    notes = []
    for name, record in results["datasets"].items():
        if record["skipped"]:
            first = record["skipped"][0]
            rest = "" if len(record["skipped"]) == 1 else f"; all {len(record['skipped'])} are in results.json"
            notes.append(f"{name}: skipped {first['name']}, object {first['object']}: {first['reason']}{rest}")
        if record.get("starts", {}).get("missed"):
            notes.append(
                f"{name}: {record['starts']['missed']} of {len(record['objects'])} masks to start from missed "
                f"IoU {record['starts']['wanted']:g} (initial_iou in results.json); they are counted"
            )
    return notes


def _without_nan(value: Any) -> Any:
    """JSON knows no nan (the mean over no objects): null instead."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _columns(record: Mapping[str, Any]) -> dict[str, str]:
    """Heading -> text of one table row."""
    columns = {"objects": str(len(record["objects"]))}
    if "starts" in record:
        columns["IoU@0"] = f"{record['starts']['iou']:.3f}"
    columns |= {f"NoC@{key}": f"{value:.2f}" for key, value in record["noc"].items()}
    for key, spread in record.get("spread", {}).items():
        columns[f"NoC@{key} sd"] = f"{spread['std']:.2f}"
        columns[f"NoC@{key} worst"] = f"{spread['worst']:.2f}"
    columns |= {f"NoF@{key}": str(value) for key, value in record["nof"].items()}
    shown = [k for k in SHOWN_CLICKS if k <= len(record["miou"])]
    columns |= {f"IoU@{k}": f"{record['miou'][k - 1]:.3f}" for k in shown}
    if "biou" in record:
        columns |= {f"BIoU@{k}": f"{record['biou'][k - 1]:.3f}" for k in shown}
    columns["SPC"] = f"{record['spc']:.3f}"
    columns |= {"SPC@1": f"{record['spc_first']:.3f}", "SPC@2+": f"{record['spc_later']:.3f}"}
    if "selections" in record:
        columns["picks"] = f"{record['selections']:.2f}"
    if "passes" in record:
        columns["passes"] = f"{record['passes']:.2f}"
    if record["skipped"]:
        columns["skipped"] = str(len(record["skipped"]))
    return columns


def _settings_line(protocol: Mapping[str, Any]) -> str:
    zoom = protocol["zoom_in"]
    stop = protocol["target_iou"]
    parts = [
        f"preset {protocol['preset']}",
        f"at most {protocol['max_clicks']} clicks",
        f"mask > {protocol['mask_threshold']:g}",
        "all clicks played" if stop > 1 else f"stop at IoU {stop:g} (IoU@k holds the last one)",
        "flip" if protocol["flip"] else "no flip",
        "whole image" if zoom is None else f"zoom to {zoom['target_size']} after {max(0, zoom['skip_clicks'])} clicks",
    ]
    if protocol["precision"] != "32-true":
        parts.append(protocol["precision"])
    if protocol["initial_masks"]:
        parts.append("from the masks of the dataset")
    if protocol["perturb_iou"] is not None:
        parts.append(f"from {protocol['repeats']} masks of IoU {protocol['perturb_iou']:g} for every object")
    if protocol.get("click_spread"):
        parts.append(f"clicks spread by {protocol['click_spread']:g}, {protocol['repeats']} runs of every object")
    if protocol["cascade"]:
        parts.append(_cascade_note(protocol))
    return "; ".join(parts)


def _cascade_note(protocol: Mapping[str, Any]) -> str:
    name = f"{'A-' if protocol['cascade_adaptive'] else ''}CFR-{protocol['cascade']}"
    stop = f" until {protocol['cascade_pixels']} pixels or fewer change" if protocol["cascade_adaptive"] else ""
    return f"{name} after {'the first click' if protocol['cascade_once'] else 'every click'}{stop}"
