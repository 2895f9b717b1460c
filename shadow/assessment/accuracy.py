"""Proportions with their n and their interval: Wilson for display, Clopper-Pearson for pass or fail."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import binomtest

from shadow.assessment.snapshot import Proportion

DISPLAY_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Limits:
    """A two-sided interval within [0, 1]."""

    lower: float
    upper: float


def wilson(count: int, of: int, confidence: float = DISPLAY_CONFIDENCE) -> Limits:
    """Wilson score interval without continuity correction (Wilson 1927, JASA 22:209).

    >>> limits = wilson(81, 263)
    >>> round(limits.lower, 6), round(limits.upper, 6)
    (0.255289, 0.36621)

    Raises:
        ValueError: `of` is not positive, or `count` lies outside 0..of.
    """
    interval = binomtest(count, of).proportion_ci(confidence, method="wilson")
    lower = 0.0 if count == 0 else float(interval.low)
    upper = 1.0 if count == of else float(interval.high)
    return Limits(lower, upper)


def clopper_pearson(count: int, of: int, confidence: float) -> Limits:
    """Exact interval (Clopper & Pearson 1934, Biometrika 26:404): never less than its confidence.

    >>> limits = clopper_pearson(81, 263, 0.95)
    >>> round(limits.lower, 6), round(limits.upper, 6)
    (0.252737, 0.367622)

    Raises:
        ValueError: `of` is not positive, or `count` lies outside 0..of.
    """
    interval = binomtest(count, of).proportion_ci(confidence, method="exact")
    return Limits(float(interval.low), float(interval.high))


def proportion(count: int, of: int) -> Proportion:
    """A figure for display. Without a denominator there is no figure: never 0, never 1.

    >>> proportion(0, 0)
    Proportion(count=0, of=0, estimate=None, lower=None, upper=None)
    """
    if of == 0:
        return Proportion(count, of, None, None, None)
    limits = wilson(count, of)
    return Proportion(count, of, count / of, limits.lower, limits.upper)
