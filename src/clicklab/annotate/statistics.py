"""What it cost: objects, clicks and seconds, by person and by class; and how good, where true masks exist."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

import numpy as np

from clicklab.annotate import masks
from clicklab.annotate.events import Event
from clicklab.annotate.exports import Drawn, drawn_on
from clicklab.annotate.imports import MaskFiles, mask_files_of, objects_of
from clicklab.annotate.store import Store

PAUSE_SECONDS = 60.0  # a longer gap between two events is a pause, not work
TARGETS = (0.85, 0.90, 0.95)


@dataclass(frozen=True)
class Cost:
    """One object. `overlaps` are IoUs with the truth after each click, empty where there is none."""

    person: str
    class_name: str
    clicks: int
    seconds: float
    edits: int
    overlaps: tuple[float, ...] = ()


def statistics(store: Store, reference: tuple[Path, MaskFiles] | None = None) -> str:
    """Tables as text.

    Args:
        store: of the annotations.
        reference: folder of true masks named like the photos, and how they are read; an object is compared with the
            true one that it overlaps most.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a mask that cannot be read.
    """
    if reference is not None and not reference[0].is_dir():
        raise FileNotFoundError(f"--reference: there is no folder {reference[0]}")
    photos = store.photos()
    costs = []
    for photo in photos:
        truths = _truths(reference, photo.path)
        costs += [_cost(store, drawn, truths) for drawn in drawn_on(store, photo)]
    states = [photo.state for photo in photos]
    counted = ", ".join(f"{states.count(state)} {word}" for state, word in _WORDS.items() if state in states)
    lines = [f"{len(photos)} photos: {counted or 'none'}; {len(costs)} objects"]
    if costs:
        lines += ["", *_table("person", ((cost.person or "-", cost) for cost in costs))]
        lines += ["", *_table("class", ((cost.class_name, cost) for cost in costs))]
    measured = [cost.overlaps for cost in costs if cost.overlaps]
    if measured:
        lines += ["", *_curve(measured)]
    return "\n".join(lines)


_WORDS = {"todo": "to do", "doing": "begun", "done": "done", "skipped": "skipped"}


def _cost(store: Store, drawn: Drawn, truths: list[np.ndarray]) -> Cost:
    events = store.events(drawn.object.id)
    clicks = drawn.history.clicks
    person = next((event.person for event in events if event.person), "")
    edits = sum(step.kind in ("brush", "fill", "specks") for step in drawn.history.applied)
    seconds = sum(min(later - earlier, PAUSE_SECONDS) for earlier, later in _gaps(events))
    return Cost(person, drawn.class_name, len(clicks), seconds, edits, _overlaps(drawn, truths))


def _gaps(events: list[Event]) -> Iterable[tuple[float, float]]:
    times = [event.time for event in events]
    return pairwise(times)


def _overlaps(drawn: Drawn, truths: list[np.ndarray]) -> tuple[float, ...]:
    """IoU after each click with the true object that the final mask overlaps most."""
    final = drawn.mask
    fitting = [truth for truth in truths if truth.shape == final.shape]
    if not fitting:
        return ()
    best = max(fitting, key=lambda truth: _iou(final, truth))
    if not _iou(final, best):
        return ()
    after = [click.counts for click in drawn.history.clicks if click.counts is not None]
    return tuple(_iou(masks.decode(masks.Rle(size=drawn.rle["size"], counts=counts)), best) for counts in after)


def _iou(mask: np.ndarray, truth: np.ndarray) -> float:
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 0.0


def _truths(reference: tuple[Path, MaskFiles] | None, path: str) -> list[np.ndarray]:
    if reference is None:
        return []
    folder, files = reference
    given = mask_files_of(folder, [path], files).get(path, [])
    return [mask for file in given for _, mask in objects_of(file, files)]


def _table(title: str, rows: Iterable[tuple[str, Cost]]) -> list[str]:
    groups: dict[str, list[Cost]] = defaultdict(list)
    for name, cost in rows:
        groups[name].append(cost)
    wide = max(len(title), *map(len, groups))
    lines = [f"{title:<{wide}}  objects  clicks (mean)  seconds (median)  with edits"]
    for name, costs in sorted(groups.items()):
        clicks, seconds = mean(cost.clicks for cost in costs), median(cost.seconds for cost in costs)
        edited = sum(cost.edits > 0 for cost in costs)
        lines.append(f"{name:<{wide}}  {len(costs):>7}  {clicks:>13.2f}  {seconds:>16.1f}  {edited:>10}")
    return lines


def _curve(measured: list[tuple[float, ...]]) -> list[str]:
    """Mean IoU after k clicks (the last one kept), and how many objects reached a target and in how many clicks."""
    lines = [f"against the reference: {len(measured)} objects", "clicks  mean IoU"]
    for count in range(1, min(max(map(len, measured)), 20) + 1):
        lines.append(f"{count:>6}  {mean(overlaps[min(count, len(overlaps)) - 1] for overlaps in measured):.3f}")
    for target in TARGETS:
        needed = [next((n for n, iou in enumerate(one, 1) if iou >= target), None) for one in measured]
        reached = [number for number in needed if number is not None]
        mean_clicks = f", {mean(reached):.2f} clicks on average" if reached else ""
        lines.append(f"IoU {target:.2f}: reached by {len(reached)} of {len(measured)}{mean_clicks}")
    return lines
