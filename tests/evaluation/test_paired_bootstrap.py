"""The bootstrap against all resamples written out, and against the normal law of a large set."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from clicklab.evaluation.paired_bootstrap import bootstrap_interval, resampled_means


def all_means(values):
    """The means of every resample there is: n^n of them, all equally likely."""
    return np.array([np.mean(pick) for pick in itertools.product(values, repeat=len(values))])


@pytest.mark.parametrize("values", [[-3.0, 0.0, 0.0, 1.0, 5.0], [2.0, 2.0, -1.0, 0.5, 7.0, 0.0]])
def test_the_interval_is_that_of_all_resamples(values):
    exact = all_means(values)
    interval = bootstrap_interval([np.array(values)], np.random.default_rng(0), resamples=200_000)
    assert interval.mean == pytest.approx(np.mean(values))
    step = 1.01 / len(values)  # the means of few numbers lie on a grid: a quantile may be the next point of it
    assert interval.low == pytest.approx(np.quantile(exact, 0.025), abs=step * 0.5)
    assert interval.high == pytest.approx(np.quantile(exact, 0.975), abs=step * 0.5)


def test_drawn_means_have_the_exact_distribution():
    values = [0.0, 1.0, 1.0, 4.0]
    drawn = resampled_means(np.array(values), np.random.default_rng(1), 100_000)
    exact = all_means(values)
    for point in np.unique(exact):
        assert np.mean(np.isclose(drawn, point)) == pytest.approx(np.mean(np.isclose(exact, point)), abs=0.01)


def test_a_large_set_follows_the_closed_form():
    """Mean +- 1.96 standard errors; two datasets: the variance of the mean of two means."""
    rng = np.random.default_rng(2)
    first, second = rng.normal(1.0, 2.0, 900), rng.normal(0.0, 1.0, 400)
    interval = bootstrap_interval([first, second], np.random.default_rng(3), resamples=20_000)
    error = 0.5 * np.sqrt(first.var() / 900 + second.var() / 400)
    mean = (first.mean() + second.mean()) / 2
    assert interval.mean == pytest.approx(mean)
    assert interval.low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)


def test_several_numbers_of_an_object_are_drawn_together():
    curves = np.array([[0.0, 10.0], [1.0, 20.0], [1.0, 20.0], [3.0, 40.0]])
    drawn = resampled_means(curves, np.random.default_rng(4), 500)
    assert drawn.shape == (500, 2) and np.allclose(drawn[:, 1], 10 + 10 * drawn[:, 0])


def test_nothing_played_is_said():
    with pytest.raises(ValueError, match="at least one object"):
        bootstrap_interval([np.zeros(0)], np.random.default_rng(0))
