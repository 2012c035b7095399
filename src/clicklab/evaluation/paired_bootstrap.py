"""How sure a mean over objects is: the bootstrap, for one run and for the difference of two.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile interval. The objects are resampled,
because they are what another benchmark of the same kind would draw anew. Two runs are compared on the same resamples
(paired): what makes an object easy for both cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
CHUNK = 2_000_000  # entries of the table of counts at a time


class Interval(NamedTuple):
    """A mean and the ends of its interval."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    groups: Sequence[np.ndarray],
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """The mean over the objects of every group, averaged over the groups, and its percentile interval.

    Args:
        groups: (n,) one number per object for each dataset; for two runs the difference of their numbers, object by
            object. Objects are resampled inside their dataset.
        generator: draws the resamples.
        resamples: how many.
        level: share of the resamples between the ends.

    Raises:
        ValueError: no group, or one without objects.
    """
    if not groups or any(len(values) == 0 for values in groups):
        raise ValueError("a bootstrap wants at least one object of every dataset")
    mean = float(np.mean([np.mean(values) for values in groups]))
    drawn = np.mean([resampled_means(values, generator, resamples) for values in groups], axis=0)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def resampled_means(values: np.ndarray, generator: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """Means of `resamples` samples of the objects, each as large as the set, drawn with replacement.

    Equal objects are drawn together: how often each distinct value comes is multinomial, which is the same law and
    spares a table of all objects where the values are few (clicks are whole numbers).

    Args:
        values: (n,) a number for each object, or (n, k) several.
        generator: draws the resamples.
        resamples: how many.

    Returns:
        (resamples,) or (resamples, k).
    """
    values = np.asarray(values, dtype=np.float64)
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    step = max(1, CHUNK // len(distinct))
    means = []
    for first in range(0, resamples, step):
        rows = min(step, resamples - first)
        drawn = generator.multinomial(len(values), counts / len(values), size=rows)
        means.append(drawn @ distinct / len(values))
    return np.concatenate(means)
