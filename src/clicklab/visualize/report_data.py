"""What the HTML report holds: numbers of every object, the worst ones, those where two runs part."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import cv2
import numpy as np

from clicklab.evaluation.metrics import clicks_needed
from clicklab.evaluation.results import percent
from clicklab.records import EvaluationObject
from clicklab.visualize.outlines import outline_path
from clicklab.visualize.replay import Step
from clicklab.visualize.results_file import Run

SIDE = 560  # pixels of the longer side of a picture in the page
QUALITY = 82  # of its JPEG


@dataclass(frozen=True)
class Chosen:
    """An object that is shown with all its clicks.

    Attributes:
        dataset: its name in the run.
        row: its row in the record.
        why: one of `worst` and `parted`.
    """

    dataset: str
    row: Mapping[str, Any]
    why: str


def main_threshold(run: Run) -> float:
    """The IoU that objects are ranked by: 0.90 where it was measured, or else the highest one."""
    thresholds = run.protocol["thresholds"]
    return 0.9 if 0.9 in thresholds else max(thresholds)


def needed(row: Mapping[str, Any], threshold: float, limit: int) -> int:
    """Clicks until the threshold; one more than all of them where it is never reached."""
    return clicks_needed(row["ious"], threshold) or limit + 1


def worst_objects(run: Run, count: int) -> list[Chosen]:
    """The objects that took the most clicks, of these those left with the lowest IoU; dealt over the datasets."""
    threshold, limit = main_threshold(run), run.protocol["max_clicks"]
    ranked = []
    for dataset, record in run.datasets.items():
        rows = sorted(record["objects"], key=lambda row: (-needed(row, threshold, limit), row["ious"][-1]))
        ranked.append([Chosen(dataset, row, "worst") for row in rows[:count]])
    return _dealt(ranked, count)


def parted_objects(run: Run, against: Run, count: int) -> list[Chosen]:
    """The objects for which two runs differ by the most clicks, then by IoU; dealt over the datasets."""
    threshold, limit = main_threshold(run), run.protocol["max_clicks"]
    ranked = []
    for dataset, record in run.datasets.items():
        others = rows_by_object(against, dataset)
        pairs = [(row, others[key_of(row)]) for row in record["objects"] if key_of(row) in others]
        gaps = [
            (abs(needed(a, threshold, limit) - needed(b, threshold, limit)), abs(a["ious"][-1] - b["ious"][-1]))
            for a, b in pairs
        ]
        order = sorted(range(len(pairs)), key=lambda place: gaps[place], reverse=True)
        ranked.append([Chosen(dataset, pairs[place][0], "parted") for place in order[:count] if gaps[place][0]])
    return _dealt(ranked, count)


def key_of(row: Mapping[str, Any]) -> tuple[str, int, int]:
    """What is the same object in two runs."""
    return row["name"], row["object"], row["index"]


def rows_by_object(run: Run, dataset: str) -> dict[tuple[str, int, int], Mapping[str, Any]]:
    """Object -> its row; nothing where the run has no such dataset."""
    record = run.datasets.get(dataset)
    return {} if record is None else {key_of(row): row for row in record["objects"]}


def _dealt(ranked: Sequence[Sequence[Chosen]], count: int) -> list[Chosen]:
    """The first of every dataset, then the second of every dataset, ...: a large set does not take all places."""
    turns = zip_longest(*ranked)
    return [one for turn in turns for one in turn if one is not None][:count]


def table_of_objects(run: Run, against: Run | None) -> dict[str, Any]:
    """The rows of the sortable table, as short as they can be: thousands of objects stay a small page.

    Returns:
        `thresholds`: names of the columns of clicks; `rows`: [dataset, image, object, [clicks per threshold], IoU x
        1000 after each click, clicks of the other run at the main threshold or null]. Clicks are null where the IoU
        was never reached.
    """
    thresholds, main = run.protocol["thresholds"], main_threshold(run)
    rows = []
    for place, (dataset, record) in enumerate(run.datasets.items()):
        others = rows_by_object(against, dataset) if against is not None else {}
        for row in record["objects"]:
            other = others.get(key_of(row))
            rows.append(
                [
                    place,
                    row["name"],
                    row["object"],
                    [clicks_needed(row["ious"], threshold) for threshold in thresholds],
                    [round(1000 * value) for value in row["ious"]],
                    None if other is None else needed(other, main, run.protocol["max_clicks"]),
                ]
            )
    return {
        "datasets": list(run.datasets),
        "thresholds": [f"NoC@{percent(threshold)}" for threshold in thresholds],
        "main": thresholds.index(main),
        "limit": run.protocol["max_clicks"],
        "rows": rows,
    }


def picture_data(
    chosen: Chosen, item: EvaluationObject, played: Mapping[str, tuple[Sequence[Step], Mapping[str, Any]]]
) -> dict[str, Any]:
    """One object for the page: the image, the target's outline, and for every run its clicks with outlines.

    Args:
        chosen: what is shown.
        item: its image and target.
        played: label of a run -> its steps (none where its network is not there) and its row.
    """
    height, width = item.target.shape
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(item.image, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return {
        "dataset": chosen.dataset,
        "name": chosen.row["name"],
        "object": chosen.row["object"],
        "index": chosen.row["index"],
        "why": chosen.why,
        "width": size[0],
        "height": size[1],
        "image": "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode(),
        "target": outline_path(item.target == 1, scale),
        "ignored": outline_path(item.target == -1, scale),
        "runs": [_dialogue(label, steps, row, scale) for label, (steps, row) in played.items()],
    }


def _dialogue(label: str, steps: Sequence[Step], row: Mapping[str, Any], scale: float) -> dict[str, Any]:
    masks = [outline_path(step.mask, scale) for step in steps] or [None] * len(row["clicks"])
    return {
        "label": label,
        "clicks": [
            [round((x + 0.5) * scale, 1), round((y + 0.5) * scale, 1), label_of_click, round(value, 4), mask]
            for (y, x, label_of_click), value, mask in zip(row["clicks"], row["ious"], masks, strict=True)
        ],
    }
