"""Is one run better than another? The difference of their NoC over the objects that both played, with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clicklab.evaluation.metrics import clicks_needed
from clicklab.evaluation.paired_bootstrap import RESAMPLES, Interval, bootstrap_interval
from clicklab.visualize.comparable import counted_differences
from clicklab.visualize.comparison import MEAN
from clicklab.visualize.results_file import Run

SEED = 0  # the same resamples every time: a table does not change from one call to the next


@dataclass(frozen=True)
class Difference:
    """Clicks that a run needs more than another.

    Attributes:
        run: label of the run.
        against: label of the run it is compared with.
        dataset: name, or `MEAN` of all that both played.
        metric: NoC@...
        interval: of the difference; below zero the run is better.
        fewer: objects for which the run needs fewer clicks.
        more: objects for which it needs more.
        objects: that both played.
    """

    run: str
    against: str
    dataset: str
    metric: str
    interval: Interval
    fewer: int
    more: int
    objects: int


def differences(runs: Sequence[Run], metrics: Sequence[str]) -> list[Difference]:
    """Every run against the first, for all NoC of `metrics` and all datasets that both played.

    An object that was played several times (spoilt masks, spread clicks) counts once, with the mean of its clicks. A
    run that was played or counted otherwise than the first is left out: its clicks mean something else.
    """
    first, *others = runs
    found = []
    for run in others:
        if counted_differences(first.protocol, run.protocol):
            continue
        for metric in metrics:
            if metric.startswith("NoC@"):
                found += _of_pair(run, first, metric)
    return found


def _of_pair(run: Run, against: Run, metric: str) -> Iterator[Difference]:
    differing = {}
    for dataset in against.datasets:
        if dataset in run.datasets:
            there, here = (clicks_of(one, dataset, metric) for one in (against, run))
            shared = [key for key in there if key in here]
            if shared:
                differing[dataset] = np.array([here[key] - there[key] for key in shared])
    groups = dict(differing)
    for dataset, values in groups.items():
        yield _difference(run, against, dataset, metric, [values])
    if len(groups) > 1:
        yield _difference(run, against, MEAN, metric, list(groups.values()))


def _difference(run: Run, against: Run, dataset: str, metric: str, groups: list[np.ndarray]) -> Difference:
    interval = bootstrap_interval(groups, np.random.default_rng(SEED))
    every = np.concatenate(groups)
    fewer, more = int((every < 0).sum()), int((every > 0).sum())
    return Difference(run.label, against.label, dataset, metric, interval, fewer, more, len(every))


def clicks_of(run: Run, dataset: str, metric: str) -> dict[tuple[str, int], float]:
    """(image, object) -> clicks until the threshold of `metric`, capped at `max_clicks`; a mean over repeats."""
    threshold, limit = float(metric.partition("@")[2]) / 100, run.protocol["max_clicks"]
    played: dict[tuple[str, int], list[int]] = {}
    for row in run.datasets[dataset]["objects"]:
        needed = clicks_needed(row["ious"], threshold) or limit
        played.setdefault((row["name"], row["object"]), []).append(needed)
    return {key: float(np.mean(counts)) for key, counts in played.items()}


def as_sentences(found: Sequence[Difference]) -> str:
    """The differences for a terminal: one line each."""
    if not found:
        return ""
    lines = [f"Differences in clicks, with 95 % intervals ({RESAMPLES} paired resamples of the objects):"]
    names = [f"{one.run} - {one.against}" for one in found]
    intervals = [f"[{one.interval.low:+.2f}, {one.interval.high:+.2f}]" for one in found]
    widths = [max(map(len, words)) for words in (names, [one.dataset for one in found], intervals)]
    for one, name, interval in zip(found, names, intervals, strict=True):
        place = f"{name:<{widths[0]}}  {one.dataset:<{widths[1]}}  {one.metric}"
        number = f"{one.interval.mean:+6.2f}  {interval:<{widths[2]}}  {verdict(one.interval):<14}"
        equal = one.objects - one.fewer - one.more
        lines.append(f"  {place} {number}  fewer for {one.fewer} objects, more for {one.more}, equal for {equal}")
    return "\n".join(lines)


def verdict(interval: Interval) -> str:
    """What an interval of differing clicks says: it tells apart only where zero lies outside."""
    if interval.low <= 0 <= interval.high:
        return "not told apart"
    return "fewer clicks" if interval.high < 0 else "more clicks"
