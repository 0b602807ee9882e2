"""Intervals against scipy, verdicts case by case."""

import math

import pytest
from scipy import stats

from ninefold.report.statistics import Summary, summarise, t_quantile, verdict


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 101])
@pytest.mark.parametrize("probability", [0.5, 0.9, 0.975, 0.995])
def test_quantiles_of_t_equal_scipys(freedom: int, probability: float) -> None:
    expected = stats.t.ppf(probability, freedom)
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_the_interval_of_a_mean_is_students() -> None:
    values = [0.8, 0.83, 0.79, 0.85, 0.81]
    low, high = stats.t.interval(0.95, 4, loc=sum(values) / 5, scale=stats.sem(values))
    found = summarise(values)
    assert (found.count, found.low, found.high) == (5, pytest.approx(low), pytest.approx(high))
    assert found.spread == pytest.approx(stats.tstd(values))


def test_a_single_measurement_has_no_interval() -> None:
    found = summarise([0.5])
    assert (found.mean, found.spread, found.low, found.high) == (0.5, 0.0, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("mean", "low", "high", "expected"),
    [
        (0.02, 0.005, 0.035, "shown"),
        (0.01, 0.001, 0.019, "shown"),  # exactly the smallest effect
        (0.02, 0.0, 0.04, "underpowered"),  # the interval touches 0
        (0.002, -0.01, 0.014, "underpowered"),
        (0.0, -0.01, 0.01, "underpowered"),  # the interval touches the smallest effect
        (0.001, -0.004, 0.006, "not shown"),  # nothing worth the name is left
        (0.004, 0.001, 0.007, "not shown"),  # real, but too small
        (0.009, 0.001, 0.017, "not shown"),  # likewise: above 0, its mean below the smallest
        (-0.02, -0.03, -0.01, "not shown"),  # the other way round
        (0.0, 0.0, 0.0, "not shown"),
        (0.05, -math.inf, math.inf, "underpowered"),  # one seed
    ],
)
def test_a_verdict_follows_from_mean_and_interval(
    mean: float, low: float, high: float, expected: str
) -> None:
    assert verdict(Summary(5, mean, 0.01, low, high), smallest=0.01) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.008, 0.006, "shown"),
        (0.001, 0.009, "shown"),  # a real effect, but none worth the name
        (-0.02, 0.005, "underpowered"),
        (-math.inf, math.inf, "underpowered"),
        (0.012, 0.03, "not shown"),
        (-0.03, -0.011, "not shown"),
    ],
)
def test_that_two_things_are_equal_follows_from_the_whole_interval(
    low: float, high: float, expected: str
) -> None:
    assert verdict(Summary(5, 0.0, 0.01, low, high), smallest=0.01, equal=True) == expected
