"""Intervals for one proportion: Wilson for display, Clopper-Pearson for pass or fail."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import betaincinv, ndtri

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
    _check(count, of)
    z = float(ndtri((1 + confidence) / 2))
    share = count / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return Limits(0.0 if count == 0 else centre - half, 1.0 if count == of else centre + half)


def clopper_pearson(count: int, of: int, confidence: float) -> Limits:
    """Exact interval (Clopper & Pearson 1934, Biometrika 26:404): never less than its confidence.

    >>> limits = clopper_pearson(81, 263, 0.95)
    >>> round(limits.lower, 6), round(limits.upper, 6)
    (0.252737, 0.367622)

    Raises:
        ValueError: `of` is not positive, or `count` lies outside 0..of.
    """
    _check(count, of)
    tail = (1 - confidence) / 2
    lower = 0.0 if count == 0 else float(betaincinv(count, of - count + 1, tail))
    upper = 1.0 if count == of else float(betaincinv(count + 1, of - count, 1 - tail))
    return Limits(lower, upper)


def _check(count: int, of: int) -> None:
    if of < 1 or not 0 <= count <= of:
        raise ValueError(f"{count} of {of} is no proportion")
