"""What an evaluation leaves behind: record, table, CSV, JSON, curve, picture sheet."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import nn

from clicklab.evaluation.lockstep import LockstepPlayer, ObjectResult
from clicklab.evaluation.metrics import clicks_needed, miou_curve, noc, nof, seconds_per_click
from clicklab.evaluation.predictor import Predictor, predictor_for
from clicklab.evaluation.protocol import Protocol, plain
from clicklab.evaluation.robustness import missed
from clicklab.evaluation.session import Session
from clicklab.evaluation.transforms import ZoomIn
from clicklab.records import POSITIVE, EvaluationObject, SkippedObject

SHOWN_CLICKS = (1, 2, 3, 5, 10, 20)  # columns of mean IoU, as RITM prints them
AS_THEY_ARE = "surrogateescape"  # file names need not be text: such bytes are written as they are
COLOURS = 10  # lines until matplotlib begins again
OVERLAY = np.array([255, 64, 32], dtype=np.float32)


def percent(threshold: float) -> str:
    """0.9 -> "90", 0.925 -> "92.5": how thresholds are written in names and keys."""
    return f"{round(100 * threshold, 4):g}"


def dataset_record(
    played: Sequence[ObjectResult], skipped: Sequence[SkippedObject], protocol: Protocol, zoom_in: ZoomIn | None = None
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
    if protocol.starts_from_mask:
        record["starts"] = _starts([result.initial_iou or 0.0 for result in ordered], protocol)
    record["objects"] = [_object_row(result) for result in ordered]
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
    """Writes results.json, table.txt, results.csv and curve.png into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "results.json.part"
    unfinished.write_text(json.dumps(_without_nan(results), indent=1, allow_nan=False) + "\n")
    unfinished.replace(folder / "results.json")
    (folder / "table.txt").write_text(table(results) + "\n", encoding="utf-8", errors=AS_THEY_ARE)
    write_csv(results, folder / "results.csv")
    curve_figure(results).savefig(folder / "curve.png", dpi=120)


def write_csv(results: Mapping[str, Any], path: Path) -> None:
    """One row per object: clicks needed for each threshold (empty: never reached) and the IoU after each click."""
    thresholds, limit = results["protocol"]["thresholds"], results["protocol"]["max_clicks"]
    with path.open("w", newline="", encoding="utf-8", errors=AS_THEY_ARE) as file:
        writer = csv.writer(file)
        numbers = [f"NoC@{percent(t)}" for t in thresholds] + [f"IoU@{k}" for k in range(1, limit + 1)]
        writer.writerow(["dataset", "index", "name", "object", "clicks", "seconds", *numbers])
        for dataset, record in results["datasets"].items():
            for row in record["objects"]:
                needed = [clicks_needed(row["ious"], t) for t in thresholds]
                facts = [dataset, row["index"], row["name"], row["object"], len(row["clicks"]), f"{row['seconds']:.4f}"]
                writer.writerow([*facts, *needed, *(f"{iou:.6f}" for iou in row["ious"])])


def curve_figure(results: Mapping[str, Any]) -> Figure:
    """Mean IoU after each click, one line per dataset."""
    datasets, limit = results["datasets"], results["protocol"]["max_clicks"]
    figure = Figure(figsize=(7, max(4, 0.22 * len(datasets) + 0.6)), layout="constrained")  # the legend has to fit
    axes = figure.subplots()
    for row, (dataset, record) in enumerate(datasets.items()):
        style = ("-", "--", ":")[row // COLOURS % 3]
        axes.plot(range(1, len(record["miou"]) + 1), record["miou"], style, marker=".", label=dataset)
    curves = [iou for record in datasets.values() for iou in record["miou"] if not math.isnan(iou)]
    lowest = math.floor(10 * min(curves, default=0.0)) / 10  # whole tenths: small differences look small
    axes.set(xlim=(0.5, limit + 0.5), ylim=(min(lowest, 0.9), 1))
    axes.set(xlabel="clicks", ylabel="mean IoU", title=f"preset {results['protocol']['preset']}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # there are no half clicks
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))  # beside the curves, not on them
    return figure


def picture_sheet(
    objects: Sequence[EvaluationObject | SkippedObject] | Any,
    network: nn.Module,
    path: str | Path,
    *,
    protocol: Protocol | None = None,
    count: int = 6,
    clicks: int = 5,
) -> None:
    """Draws the first `count` objects: image with all clicks in order, the mask after each, the target."""
    predictor = predictor_for(network, protocol or Protocol(max_clicks=clicks, target_iou=1.01))
    items = [
        item for item in (objects[n] for n in range(min(count, len(objects)))) if isinstance(item, EvaluationObject)
    ]
    played = [result for item in items for result in _play_one(predictor, item)]
    figure = Figure(figsize=(2.2 * (clicks + 2), 2.2 * max(1, len(played))), layout="constrained")
    grid = figure.subplots(max(1, len(played)), clicks + 2, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, item, result in zip(grid, items, played, strict=True):
        _draw_object(row, predictor, item, result)
    figure.savefig(path, dpi=90)


def _play_one(predictor: Predictor, item: EvaluationObject) -> list[Any]:
    player = LockstepPlayer(predictor, batch_size=2)
    return [*player.submit(item), *player.drain()]


def _draw_object(row: np.ndarray, predictor: Predictor, item: EvaluationObject, result: ObjectResult) -> None:
    """Image, masks and target; the masks come from clicking once more."""
    session = Session(predictor)
    session.set_image(item.image)
    if predictor.protocol.starts_from_mask and item.initial_mask is not None:
        session.set_mask(item.initial_mask)
    row[0].imshow(item.image)
    row[0].set_title(item.name, fontsize=8)
    for number, (y, x, label) in enumerate(result.clicks, start=1):
        mask = session.add_click(y, x, bool(label))
        _draw_click(row[0], number, y, x, label)
        if number < len(row) - 1:
            row[number].imshow(_overlay(item.image, mask))
            _draw_click(row[number], number, y, x, label)
            row[number].set_title(f"click {number}: IoU {result.ious[number - 1]:.3f}", fontsize=8)
    row[-1].imshow(_overlay(item.image, item.target == 1))
    row[-1].set_title("target", fontsize=8)


def _draw_click(axes: Axes, number: int, y: float, x: float, label: int) -> None:
    colour = "lime" if label == POSITIVE else "red"
    axes.plot(x, y, "o", color=colour, markersize=5, markeredgecolor="black", markeredgewidth=0.5)
    axes.annotate(str(number), (x, y), xytext=(3, 3), textcoords="offset points", color=colour, fontsize=7)


def _overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], 0.5 * image + 0.5 * OVERLAY, 0.6 * image).astype(np.uint8)


def _object_row(result: ObjectResult) -> dict[str, Any]:
    row = {
        "name": result.name,
        "object": result.object,
        "index": result.index,
        "clicks": [list(click) for click in result.clicks],
        "ious": result.ious,
        "seconds": result.seconds,
    }
    if result.selections:
        row["selections"] = result.selections
    if result.changes is not None:
        row["changes"] = result.changes
    if result.initial_iou is not None:
        row["initial_iou"] = result.initial_iou
    return row if result.boundary_ious is None else row | {"boundary_ious": result.boundary_ious}


def _starts(ious: Sequence[float], protocol: Protocol) -> dict[str, Any]:
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
    if protocol["cascade"]:
        parts.append(_cascade_note(protocol))
    return "; ".join(parts)


def _cascade_note(protocol: Mapping[str, Any]) -> str:
    name = f"{'A-' if protocol['cascade_adaptive'] else ''}CFR-{protocol['cascade']}"
    stop = f" until {protocol['cascade_pixels']} pixels or fewer change" if protocol["cascade_adaptive"] else ""
    return f"{name} after {'the first click' if protocol['cascade_once'] else 'every click'}{stop}"
