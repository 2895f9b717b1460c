"""Intervals for one proportion: Wilson for display, Clopper-Pearson for pass or fail, others to compare with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import bdtr, bdtrc, betaincinv, ndtri

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


def mid_p(count: int, of: int, confidence: float) -> Limits:
    """Mid-p exact interval: the tail probabilities count the observed value by half (Lancaster 1961, JASA 56:223).

    Shorter than Clopper-Pearson, and on average near its confidence; never for pass or fail.

    >>> limits = mid_p(15, 148, 0.95)
    >>> round(limits.lower, 6), round(limits.upper, 6)
    (0.060064, 0.158122)

    Raises:
        ValueError: `of` is not positive, or `count` lies outside 0..of.
    """
    _check(count, of)
    tail = (1 - confidence) / 2

    def above(p: float) -> float:  # P(X > count) + P(X = count) / 2
        return float((bdtrc(count - 1, of, p) if count else 1.0) + bdtrc(count, of, p)) / 2

    lower = 0.0 if count == 0 else float(brentq(lambda p: above(p) - tail, 0.0, count / of, xtol=1e-15))
    upper = 1.0 if count == of else float(brentq(lambda p: above(p) - 1 + tail, count / of, 1.0, xtol=1e-15))
    return Limits(lower, upper)


def jeffreys(count: int, of: int, confidence: float) -> Limits:
    """Equal-tailed Jeffreys interval, Beta(x + 1/2, n - x + 1/2) (Brown, Cai & DasGupta 2001, Stat Sci 16:101).

    With their endpoint rule: the lower limit is 0 without a success, the upper 1 without a failure.

    >>> limits = jeffreys(0, 20, 0.95)
    >>> round(limits.lower, 6), round(limits.upper, 6)
    (0.0, 0.116639)

    Raises:
        ValueError: `of` is not positive, or `count` lies outside 0..of.
    """
    _check(count, of)
    tail = (1 - confidence) / 2
    lower = 0.0 if count == 0 else float(betaincinv(count + 0.5, of - count + 0.5, tail))
    upper = 1.0 if count == of else float(betaincinv(count + 0.5, of - count + 0.5, 1 - tail))
    return Limits(lower, upper)


def agresti_coull(count: int, of: int, confidence: float) -> Limits:
    """Wald interval around the Wilson midpoint (Agresti & Coull 1998, Am Stat 52:119), cut off at 0 and 1.

    >>> limits = agresti_coull(81, 263, 0.95)
    >>> round(limits.lower, 6), round(limits.upper, 6)
    (0.255221, 0.366277)

    Raises:
        ValueError: `of` is not positive, or `count` lies outside 0..of.
    """
    _check(count, of)
    z = float(ndtri((1 + confidence) / 2))
    total = of + z * z
    share = (count + z * z / 2) / total
    half = z * math.sqrt(share * (1 - share) / total)
    return Limits(max(0.0, share - half), min(1.0, share + half))


def blaker(count: int, of: int, confidence: float, step: float | None = None) -> Limits:
    """Blaker's exact interval, contained in Clopper-Pearson's (Blaker 2000, Can J Stat 28:783).

    From the smallest to the largest p whose acceptability, the smaller tail at x plus the largest other tail that is
    no greater, reaches 1 - confidence. With a `step`, each limit is the last point outside it on a grid that starts at
    the Clopper-Pearson limit: wider by less than the step, as R's epiR gives it with a step of 1e-4.

    >>> limits = blaker(4, 80, 0.95)
    >>> round(limits.lower, 5), round(limits.upper, 5)
    (0.01726, 0.12079)

    Raises:
        ValueError: `of` is not positive, or `count` lies outside 0..of.
    """
    _check(count, of)
    alpha = 1 - confidence
    exact = clopper_pearson(count, of, confidence)
    lower = 0.0 if count == 0 else _blaker_lower(count, of, alpha, exact.lower)
    upper = 1.0 if count == of else 1 - _blaker_lower(of - count, of, alpha, 1 - exact.upper)
    if step is None:
        return Limits(lower, upper)
    inward = [max(0, math.ceil(gap / step) - 1) * step for gap in (lower - exact.lower, exact.upper - upper)]
    return Limits(exact.lower + inward[0], exact.upper - inward[1])


def wilson_many(
    counts: NDArray[np.int64], of: NDArray[np.int64], confidence: float = DISPLAY_CONFIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper Wilson limits of many groups at once; shapes as the counts.

    >>> lower, upper = wilson_many(np.array([81, 0]), np.array([263, 20]))
    >>> lower.round(6).tolist(), upper.round(6).tolist()
    ([0.255289, 0.0], [0.36621, 0.161125])

    Raises:
        ValueError: an `of` is not positive, or a count lies outside 0..of.
    """
    _check_many(counts, of)
    z = float(ndtri((1 + confidence) / 2))
    share = counts / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * np.sqrt(share * (1 - share) / of + z * z / (4.0 * of * of)) / (1 + z * z / of)
    return np.where(counts == 0, 0.0, centre - half), np.where(counts == of, 1.0, centre + half)


def clopper_pearson_many(
    counts: NDArray[np.int64], of: NDArray[np.int64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper exact limits of many groups at once; shapes as the counts.

    >>> lower, upper = clopper_pearson_many(np.array([81, 0]), np.array([263, 20]), 0.95)
    >>> lower.round(6).tolist(), upper.round(6).tolist()
    ([0.252737, 0.0], [0.367622, 0.168433])

    Raises:
        ValueError: an `of` is not positive, or a count lies outside 0..of.
    """
    _check_many(counts, of)
    tail = (1 - confidence) / 2
    lower = np.where(counts == 0, 0.0, betaincinv(np.maximum(counts, 1), of - counts + 1, tail))
    upper = np.where(counts == of, 1.0, betaincinv(counts + 1, np.maximum(of - counts, 1), 1 - tail))
    return lower, upper


def _blaker_lower(count: int, of: int, alpha: float, start: float) -> float:
    """The smallest p that is acceptable; none below `start`, the exact limit, is.

    Below count/of the acceptability is P(X >= count) + P(X <= k), k the largest value whose lower tail is no greater.
    It jumps where k grows and between two jumps falls before it rises, so that only the ends need a look.
    """

    def gap(p: float, k: int) -> float:
        return float(bdtrc(count - 1, of, p) - bdtr(k, of, p))

    def excess(p: float, k: int) -> float:
        return float(bdtrc(count - 1, of, p) + (bdtr(k, of, p) if k >= 0 else 0.0)) - alpha

    k = -1
    while k + 1 < count and gap(start, k + 1) >= 0:
        k += 1
    left = start
    while True:
        if excess(left, k) >= 0:
            return left
        right = float(brentq(gap, left, count / of, args=(k + 1,), xtol=1e-16)) if k + 1 < count else count / of
        if excess(right, k) >= 0:
            return float(brentq(excess, left, right, args=(k,), xtol=1e-16))
        left, k = right, k + 1


def _check(count: int, of: int) -> None:
    if of < 1 or not 0 <= count <= of:
        raise ValueError(f"{count} of {of} is no proportion")


def _check_many(counts: NDArray[np.int64], of: NDArray[np.int64]) -> None:
    if not ((np.asarray(of) >= 1) & (np.asarray(counts) >= 0) & (np.asarray(counts) <= np.asarray(of))).all():
        raise ValueError("counts: expected numbers from 0 to `of`, and each `of` at least 1")
