"""Reading `results.json` back, checked: what is compared, reported and drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clicklab.evaluation.metrics import noc

RESULTS = "results.json"
SECTIONS = ("protocol", "datasets")
OBJECT_FIELDS = {"name": str, "object": int, "index": int, "clicks": list, "ious": list}
GENERIC = ("results", "eval", "test", "val", "latest")  # folders that say nothing of what was measured
STEP = re.compile(r"step\d+")
ROUNDING = 1e-4  # a mean that differs by more does not follow from the clicks listed


@dataclass(frozen=True)
class Run:
    """One evaluation, as its `results.json` tells it.

    Attributes:
        label: how tables and figures call it.
        file: the `results.json` it was read from.
        protocol: the settings.
        run: where the weights came from, their checksum, the device; empty for a validation during training.
        data: dataset -> its reader and what it was told; empty for a validation during training.
        datasets: dataset -> its record (`clicklab.evaluation.results.dataset_record`).
    """

    label: str
    file: Path
    protocol: Mapping[str, Any]
    run: Mapping[str, Any]
    data: Mapping[str, Any]
    datasets: Mapping[str, Mapping[str, Any]]


def read_run(text: str) -> Run:
    """The run that a command was given.

    Args:
        text: a `results.json`, the folder that holds one, or the folder of a training run, whose last validation is
            taken; `NAME=` before it gives it a name for tables and figures.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no results of this version of ClickLab, or numbers that do not follow from the clicks.
    """
    name, path = _name_and_path(text)
    file = find_results(path)
    content = read_results(file)
    return Run(
        label=name or label_of(file),
        file=file,
        protocol=content["protocol"],
        run=content.get("run") or {},
        data=content.get("data") or {},
        datasets=content["datasets"],
    )


def find_results(path: Path) -> Path:
    """The `results.json` meant by a file or folder. Raises FileNotFoundError naming what was looked for."""
    if path.is_file():
        return path
    if (path / RESULTS).is_file():
        return path / RESULTS
    validations = sorted(path.glob(f"results/val/step*/{RESULTS}"))
    if validations:
        return validations[-1]
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: name the --output folder of `clicklab evaluate`")
    raise FileNotFoundError(
        f"{path} holds no {RESULTS}: name the --output folder of `clicklab evaluate`, or the folder of a training run "
        "that was validated"
    )


def read_results(file: Path) -> dict[str, Any]:
    """The content of a `results.json`, checked; raises ValueError as `read_run`."""
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}): it was changed by hand or cut off; measure again") from error
    problem = next(_problems(content), None)
    if problem is not None:
        raise ValueError(f"{file}: {problem}; `clicklab evaluate` with the same --output writes it anew")
    return content


def label_of(file: Path) -> str:
    """A short name from the path: `runs/mine/results.json` -> mine; of a validation the run and its step."""
    parts = [part for part in file.resolve().parent.parts if part not in GENERIC]
    if len(parts) > 1 and STEP.fullmatch(parts[-1]):
        return f"{parts[-2]} step {int(parts[-1].removeprefix('step'))}"
    return parts[-1] if parts else file.stem


def _name_and_path(text: str) -> tuple[str, Path]:
    """`NAME=RUN` in two; a path that exists as it is may hold an equals sign."""
    name, sign, path = text.partition("=")
    if not sign or Path(text).exists():
        return "", Path(text)
    return name, Path(path)


def _problems(content: Any) -> Iterator[str]:
    """What is wrong with the content of a file, the plainest first."""
    if not isinstance(content, dict) or any(not isinstance(content.get(part), dict) for part in SECTIONS):
        yield "these are no results of `clicklab evaluate` (no `protocol` and `datasets` in it)"
        return
    limit = content["protocol"].get("max_clicks")
    if not isinstance(limit, int):
        yield "its `protocol` has no `max_clicks`"
        return
    if not content["datasets"]:
        yield "it holds no dataset"
    for name, record in content["datasets"].items():
        if not isinstance(record, dict) or not isinstance(record.get("objects"), list):
            yield f"{name} has no list of `objects`"
            return
        for place, row in enumerate(record["objects"]):
            yield from (f"{name}, object number {place}: {text}" for text in _row_problems(row, limit))
        yield from (f"{name}: {text}" for text in _mean_problems(record, limit))


def _row_problems(row: Any, limit: int) -> Iterator[str]:
    """What is wrong with one object's row."""
    if not isinstance(row, dict):
        yield "it is no record"
        return
    for field, kind in OBJECT_FIELDS.items():
        if not isinstance(row.get(field), kind):
            yield f"`{field}` is {row.get(field)!r}"
            return
    clicks, ious = row["clicks"], row["ious"]
    if not 1 <= len(clicks) == len(ious) <= limit:
        yield f"{len(clicks)} clicks and {len(ious)} IoUs, where at most {limit} clicks were allowed"
    if not all(isinstance(click, list) and len(click) == 3 for click in clicks):
        yield "a click is no [row, column, label]"
    if not all(isinstance(iou, (int, float)) and 0 <= iou <= 1 for iou in ious):
        yield "an IoU is not a number from 0 to 1"


def _mean_problems(record: Mapping[str, Any], limit: int) -> Iterator[str]:
    """Means that do not follow from the clicks, and objects listed twice."""
    rows = record["objects"]
    if len({row["index"] for row in rows}) < len(rows):
        yield "an object is listed twice"
    if not isinstance(record.get("noc"), dict):
        yield "there is no `noc`"
        return
    curves = [row["ious"] for row in rows]
    for key, said in record["noc"].items():
        if not rows and said is None:
            continue
        follows = noc(curves, float(key) / 100, limit)
        if not isinstance(said, (int, float)) or abs(said - follows) > ROUNDING:
            yield f"NoC@{key} is {said}, but {follows:.4f} follows from the clicks listed: it was changed by hand"
