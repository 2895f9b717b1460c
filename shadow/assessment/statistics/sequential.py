"""Bands and e-processes that stay true under daily looks.

An e-process is a non-negative process whose expectation is at most 1 under its hypothesis at every stopping time;
by Ville's inequality it ever reaches 1/alpha with probability at most alpha, however often one looks. Evidence is
kept as natural logarithms: with many cases it leaves the range of floating point.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betainc, betaincc, betaln, hyp2f1, xlog1py, xlogy

from shadow.assessment.statistics.proportions import Limits

Floats = NDArray[np.float64]

DISPLAY_PRIOR = (9.0, 1.0)
"""Beta prior of the displayed band: about .9 expected, weight of 10 cases. It decides width, never validity."""
ALARM_PRIOR = (8.0, 2.0)
"""Beta prior of the alarm: a deficit to about .8 is what it looks for."""
ACCEPTANCE_PRIOR = (9.0, 1.0)
_SMALLEST = 1e-280  # below it the incomplete beta function is taken from its series


def confidence_sequence(
    detected: int, of: int, alpha: float = 0.05, prior: tuple[float, float] = DISPLAY_PRIOR
) -> Limits:
    """Two-sided time-uniform band for a proportion: P(it ever misses) <= alpha.

    All p with B(a+s, b+f) / B(a, b) / (p^s (1-p)^f) < 1/alpha, s detected and f missed (beta-binomial mixture:
    Robbins 1970, Ann Math Stat 41:1397; Howard, Ramdas, McAuliffe & Sekhon 2021, Ann Stat 49:1055). No running
    intersection. Without cases it is [0, 1].

    >>> band = confidence_sequence(46, 50, prior=(1, 1))
    >>> round(band.lower, 6), round(band.upper, 6)
    (0.739241, 0.991042)

    Raises:
        ValueError: `detected` lies outside 0..of, alpha outside (0, 1), or a prior weight is not positive.
    """
    _check(detected, of)
    _check_alpha(alpha)
    return _invert(lambda p: float(log_mixture_e_value(detected, of - detected, p, prior)), detected, of, alpha)


def tuned_confidence_sequence(detected: int, of: int, alpha: float = 0.05, tuned_for: float = 100.0) -> Limits:
    """Two-sided time-uniform band that is tightest near `tuned_for` cases.

    The mixing distribution is centred on each candidate p: Beta(p m, (1-p) m) with
    m = tuned_for / (2 log(1/alpha) + log(1 + 2 log(1/alpha))) - 1, at least .001 (Howard et al. 2021, Proposition 7
    with the tuning of its section 3.5).

    >>> band = tuned_confidence_sequence(184, 200)
    >>> round(band.lower, 6), round(band.upper, 6)
    (0.849741, 0.967916)

    Raises:
        ValueError: as for `confidence_sequence`; `tuned_for` is not positive.
    """
    _check(detected, of)
    _check_alpha(alpha)
    if not tuned_for > 0:
        raise ValueError(f"tuned_for is {tuned_for}; expected a positive number of cases")
    twice = 2 * math.log(1 / alpha)
    weight = max(tuned_for / (twice + math.log1p(twice)) - 1, 1e-3)

    def log_e(p: float) -> float:
        return float(log_mixture_e_value(detected, of - detected, p, (p * weight, (1 - p) * weight)))

    return _invert(log_e, detected, of, alpha)


def acceptance_lower_limit(
    detected: int, of: int, alpha: float = 0.025, prior: tuple[float, float] = ACCEPTANCE_PRIOR
) -> float:
    """One-sided time-uniform lower limit: the smallest floor that `log_acceptance_e_value` does not yet exclude.

    P(it ever exceeds the true proportion) <= alpha. 0 without cases.

    >>> round(acceptance_lower_limit(184, 200), 4)
    0.8459

    Raises:
        ValueError: as for `confidence_sequence`.
    """
    _check(detected, of)
    _check_alpha(alpha)
    threshold = math.log(1 / alpha)
    if detected == 0:
        return 0.0

    def excess(p: float) -> float:
        return float(log_acceptance_e_value(detected, of - detected, p, prior)) - threshold

    low, high = 1e-12, detected / of
    if excess(low) <= 0:
        return 0.0
    if high == 1.0:
        high = 1 - 1e-12
    return float(brentq(excess, low, high, xtol=1e-14, rtol=1e-14)) if excess(high) < 0 else high


def acceptance_upper_limit(
    detected: int, of: int, alpha: float = 0.025, prior: tuple[float, float] = ALARM_PRIOR
) -> float:
    """One-sided time-uniform upper limit: the largest floor that `log_floor_e_value` does not yet exclude.

    P(it ever falls below the true proportion) <= alpha. 1 without cases.

    >>> round(acceptance_upper_limit(12, 30), 4)
    0.6936

    Raises:
        ValueError: as for `confidence_sequence`.
    """
    return 1 - acceptance_lower_limit(of - detected, of, alpha, (prior[1], prior[0]))


def log_mixture_e_value(
    detected: ArrayLike, missed: ArrayLike, proportion: ArrayLike, prior: tuple[float, float] = (1.0, 1.0)
) -> Floats:
    """Log e-value against "the proportion is exactly `proportion`" by a Beta mixture. Arrays broadcast.

    >>> float(log_mixture_e_value(46, 4, 0.8).round(6))
    0.423391

    Raises:
        ValueError: a count is negative, a proportion outside [0, 1], or a prior weight not positive.
    """
    s, f, p = _counts(detected, missed, proportion)
    a, b = _prior(prior)
    with np.errstate(divide="ignore"):
        return np.asarray(betaln(a + s, b + f) - betaln(a, b) - xlogy(s, p) - xlog1py(f, -p), dtype=np.float64)


def log_floor_e_value(
    detected: ArrayLike, missed: ArrayLike, floor: ArrayLike, prior: tuple[float, float] = ALARM_PRIOR
) -> Floats:
    """Log e-value against "sensitivity is at least `floor`": grows when a cell is below its floor.

    E = B(a+s, b+f) I_floor(a+s, b+f) / (B(a, b) I_floor(a, b)) / (floor^s (1-floor)^f): the Beta mixture of
    likelihood ratios cut off at the floor. Each part is a supermartingale as long as every case's own chance of
    detection is at least the floor, so drift above it is covered. Arrays broadcast.

    >>> float(log_floor_e_value(40, 10, 0.88).round(6))
    0.666968

    Raises:
        ValueError: a count is negative, the floor outside (0, 1), or a prior weight not positive.
    """
    s, f, p = _counts(detected, missed, floor)
    a, b = _prior(prior)
    _check_floor(p)
    mass = _log_incomplete_beta(a + s, b + f, p) - _log_incomplete_beta(np.asarray(a), np.asarray(b), p)
    return np.asarray(log_mixture_e_value(s, f, p, prior) + mass, dtype=np.float64)


def log_acceptance_e_value(
    detected: ArrayLike, missed: ArrayLike, floor: ArrayLike, prior: tuple[float, float] = ACCEPTANCE_PRIOR
) -> Floats:
    """Log e-value against "sensitivity is at most `floor`": grows when the model is better than its floor.

    As `log_floor_e_value` with the Beta mixture cut off below the floor.

    >>> float(log_acceptance_e_value(184, 16, 0.85).round(6))
    3.237831

    Raises:
        ValueError: as for `log_floor_e_value`.
    """
    s, f, p = _counts(detected, missed, floor)
    a, b = _prior(prior)
    _check_floor(p)
    swapped = _log_incomplete_beta(b + f, a + s, 1 - p) - _log_incomplete_beta(np.asarray(b), np.asarray(a), 1 - p)
    return np.asarray(log_mixture_e_value(s, f, p, prior) + swapped, dtype=np.float64)


def log_episode_floor_process(
    detected: ArrayLike, studies: ArrayLike, floor: float, prior: tuple[float, float] = ALARM_PRIOR, nodes: int = 48
) -> Floats:
    """Log e-process against the floor, fed closed episodes of several studies; one value after each episode.

    Within an episode the likelihood ratios of its studies are averaged, not multiplied: studies of one patient are
    no independent evidence. Mixed over alternatives below the floor with the Beta prior's weights at Gauss-Legendre
    nodes. `detected` and `studies` have shape (episodes,), in the order in which episodes closed.

    >>> float(log_episode_floor_process([1, 0, 1], [1, 2, 1], 0.9)[-1].round(3))
    0.435

    Raises:
        ValueError: shapes differ, an episode has no study or more detected than studies, or the floor is no
            proportion strictly between 0 and 1.
    """
    found, total = np.atleast_1d(np.asarray(detected, float)), np.atleast_1d(np.asarray(studies, float))
    if found.shape != total.shape or found.ndim != 1:
        raise ValueError(f"detected {found.shape} and studies {total.shape}: expected two equal one-dimensional arrays")
    if (total < 1).any() or (found < 0).any() or (found > total).any():
        raise ValueError("each episode needs at least one study and no more detected than it has studies")
    _check_floor(np.asarray(floor))
    a, b = _prior(prior)
    points, weights = np.polynomial.legendre.leggauss(nodes)
    alternatives = (points + 1) / 2 * floor
    log_weights = np.log(weights) + (a - 1) * np.log(alternatives) + (b - 1) * np.log1p(-alternatives)
    log_weights -= np.logaddexp.reduce(log_weights)
    share = (found / total)[:, None]
    ratios = np.log(share * alternatives / floor + (1 - share) * (1 - alternatives) / (1 - floor))
    return np.asarray(np.logaddexp.reduce(np.cumsum(ratios, axis=0) + log_weights, axis=1), dtype=np.float64)


def log_betting_process(outcomes: ArrayLike, floor: float, stakes: int = 20) -> Floats:
    """Log e-process against "the mean outcome is at least `floor`" for outcomes in [0, 1]; one value an outcome.

    Mixes 1 - stake (X - floor) over a grid of constant stakes in (0, 1/(1-floor)) (Waudby-Smith & Ramdas 2024,
    J R Stat Soc B 86:1). For weighted or averaged outcomes; for plain counts `log_floor_e_value` is sharper.

    >>> float(log_betting_process([0.0] * 10, 0.5)[-1].round(3))
    5.223

    Raises:
        ValueError: an outcome lies outside [0, 1], or the floor is not strictly between 0 and 1.
    """
    values = np.atleast_1d(np.asarray(outcomes, float))
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("outcomes: expected one dimension of numbers within [0, 1]")
    _check_floor(np.asarray(floor))
    grid = (np.arange(stakes) + 0.5) / stakes / (1 - floor)
    paths = np.cumsum(np.log1p(-grid * (values[:, None] - floor)), axis=0)
    return np.asarray(np.logaddexp.reduce(paths, axis=1) - math.log(stakes), dtype=np.float64)


def _invert(log_e: Callable[[float], float], detected: int, of: int, alpha: float) -> Limits:
    """The p around the estimate whose log e-value stays below log(1/alpha)."""
    if of == 0:
        return Limits(0.0, 1.0)
    threshold = math.log(1 / alpha)
    estimate = detected / of

    def excess(p: float) -> float:
        return log_e(p) - threshold

    edge = 1e-15
    middle = min(max(estimate, edge), 1 - edge)
    lower, upper = 0.0, 1.0
    if detected > 0:
        lower = float(brentq(excess, edge, middle, xtol=1e-15, rtol=1e-14)) if excess(edge) > 0 else 0.0
    if detected < of:
        upper = float(brentq(excess, middle, 1 - edge, xtol=1e-15, rtol=1e-14)) if excess(1 - edge) > 0 else 1.0
    return Limits(lower, upper)


def _log_incomplete_beta(a: Floats, b: Floats, x: Floats) -> Floats:
    """Log of the regularised incomplete beta function, also where it is below the smallest float.

    There from I_x(a, b) = x^a (1-x)^b / (a B(a, b)) 2F1(a+b, 1; a+1; x), DLMF 8.17.8.
    """
    a, b, x = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float), np.asarray(x, float))
    value = betainc(a, b, x)
    near_one = value > 0.5
    complement = np.where(near_one, betaincc(a, b, x), 0.0)
    plain = np.where(near_one, np.log1p(-complement), np.log(np.maximum(value, _SMALLEST)))
    tiny = value < _SMALLEST
    if not tiny.any():
        return np.asarray(plain, dtype=np.float64)
    at, bt, xt = a[tiny], b[tiny], x[tiny]
    plain = np.array(plain, dtype=np.float64)
    plain[tiny] = at * np.log(xt) + bt * np.log1p(-xt) - np.log(at) - betaln(at, bt) + _log_series(at, bt, xt)
    return plain


def _log_series(a: Floats, b: Floats, x: Floats) -> Floats:
    return np.asarray(np.log(hyp2f1(a + b, 1.0, a + 1, x)), dtype=np.float64)


def _counts(detected: ArrayLike, missed: ArrayLike, proportion: ArrayLike) -> tuple[Floats, Floats, Floats]:
    s, f, p = (np.asarray(one, dtype=np.float64) for one in (detected, missed, proportion))
    if not ((s >= 0).all() and (f >= 0).all()):
        raise ValueError("detected and missed: expected counts of at least 0")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("proportion: expected a number within [0, 1]")
    return s, f, p


def _prior(prior: tuple[float, float]) -> tuple[float, float]:
    a, b = float(prior[0]), float(prior[1])
    if not (a > 0 and b > 0):
        raise ValueError(f"prior {prior}: expected two positive weights")
    return a, b


def _check(detected: int, of: int) -> None:
    if of < 0 or not 0 <= detected <= of:
        raise ValueError(f"{detected} of {of} is no proportion")


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; expected a number strictly between 0 and 1")


def _check_floor(floor: Floats) -> None:
    if not ((floor > 0) & (floor < 1)).all():
        raise ValueError("floor: expected a proportion strictly between 0 and 1")
