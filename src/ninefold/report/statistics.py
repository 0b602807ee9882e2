"""Means over seeds with Student's t interval, and the verdict on a claim. Pure Python.

Source: Abramowitz and Stegun, 26.7.3 and 26.7.4, for the distribution with whole freedom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["shown", "not shown", "underpowered"]


@dataclass(frozen=True)
class Summary:
    """Several measurements of one quantity.

    Args:
        count: How many.
        mean: Their mean.
        spread: Their standard deviation (n - 1 below the line); 0 for a single one.
        low: Lower end of the interval of the mean; minus infinity for a single one.
        high: Upper end, likewise.
    """

    count: int
    mean: float
    spread: float
    low: float
    high: float


def summarise(values: Sequence[float], *, confidence: float = 0.95) -> Summary:
    """Mean, spread and two-sided t interval of independent measurements, one at the least."""
    count = len(values)
    assert count > 0
    mean = math.fsum(values) / count
    if count == 1:
        return Summary(1, mean, 0.0, -math.inf, math.inf)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1))
    half = t_quantile((1 + confidence) / 2, count - 1) * spread / math.sqrt(count)
    return Summary(count, mean, spread, mean - half, mean + half)


def verdict(effect: Summary, smallest: float, *, equal: bool = False) -> Verdict:
    """What measured effects say of a claim; effects are positive in the claim's direction.

    `shown`: the mean is at least `smallest` and the interval lies above 0. `underpowered`: the
    interval holds both 0 and `smallest`, so more seeds could still decide either way. All else is
    `not shown`: no effect, one in the other direction, or a real one that is too small.

    Args:
        equal: The claim is that there is no effect worth the name. `shown`: the whole interval lies
            closer to 0 than `smallest`, to either side; `not shown`: no part of it does;
            `underpowered`: some of it.
    """
    assert smallest > 0, smallest
    if equal:
        if -smallest < effect.low and effect.high < smallest:
            return "shown"
        apart = effect.low >= smallest or effect.high <= -smallest
        return "not shown" if apart else "underpowered"
    if effect.mean >= smallest and effect.low > 0:
        return "shown"
    if effect.low <= 0 and effect.high >= smallest:
        return "underpowered"
    return "not shown"


def t_quantile(probability: float, freedom: int) -> float:
    """The value that Student's t with `freedom` degrees stays below with `probability` >= 0.5."""
    assert 0.5 <= probability < 1, probability
    assert freedom >= 1, freedom
    low, high = 0.0, 1.0
    while _t_below(high, freedom) < probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def _t_below(t: float, freedom: int) -> float:
    """P(T <= t) for t >= 0: a finite sum of powers of the cosine of atan(t / sqrt(freedom))."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= k / (k + 1) * cosine**2
    within = math.sin(angle) * total
    if odd:
        within = 2 / math.pi * (angle + within)
    return (1 + within) / 2
