"""Can the score be trusted as a probability? Intercept, slope, reliability without tuning, and what-ifs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.special import chdtrc, expit, logit, ndtr

Floats = NDArray[np.float64]

EVENTS_FOR_A_VERDICT = 100
EVENTS_FOR_A_CURVE = 200
_CLIP = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """A score against outcomes, each shape (cases,).

    Attributes:
        cases, events: counts.
        brier: mean squared error.
        in_the_large, in_the_large_error: intercept of logit(y) with the score's logit as offset; 0 is right.
        intercept, slope, slope_error: joint logistic recalibration; 0 and 1 are right.
        joint_p: likelihood-ratio p of intercept 0 and slope 1 on two degrees of freedom.
        observed_over_expected: events over the sum of scores.
        spiegelhalter_z, spiegelhalter_p: Spiegelhalter 1986 (Stat Med 5:421), two-sided.
        miscalibration, discrimination, uncertainty: Brier = MCB - DSC + UNC by CORP.
        verdict_allowed: at least 100 events; below, no verdict is given. curve_exploratory: fewer than 200.
    """

    cases: int
    events: int
    brier: float
    in_the_large: float
    in_the_large_error: float
    intercept: float
    slope: float
    slope_error: float
    joint_p: float
    observed_over_expected: float
    spiegelhalter_z: float
    spiegelhalter_p: float
    miscalibration: float
    discrimination: float
    uncertainty: float
    verdict_allowed: bool
    curve_exploratory: bool


@dataclass(frozen=True, slots=True)
class Reliability:
    """The CORP curve: recalibrated probability of each case in order of its score, with a consistency band.

    Attributes:
        score, recalibrated: shape (cases,), both non-decreasing.
        lower, upper: pointwise band in which the curve would lie, were the score calibrated.
    """

    score: Floats
    recalibrated: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True, slots=True)
class SmoothErrors:
    """|smoothed outcome - score|: mean (ICI), median, 90th percentile, maximum (Austin & Steyerberg 2019)."""

    ici: float
    e50: float
    e90: float
    maximum: float


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A cross-fitted recalibration: what the scores would have been, never what they were.

    Attributes:
        score: recalibrated, each from folds that do not hold its case. brier_before, brier_after.
    """

    score: Floats
    brier_before: float
    brier_after: float


def calibration_of(score: ArrayLike, present: ArrayLike) -> Calibration:
    """All of calibration in one look (Cox 1958; Van Calster 2019, BMC Med 17:230; CORP: Dimitriadis et al. 2021).

    >>> found = calibration_of([0.1, 0.3, 0.35, 0.8, 0.9, 0.6], [0, 0, 1, 1, 1, 0])
    >>> round(found.brier, 4), found.verdict_allowed
    (0.1554, False)

    Raises:
        ValueError: lengths differ, a score lies outside [0, 1], one kind of outcome does not occur, or the score
            separates the two.
    """
    p, y = _cases(score, present)
    line = logit(np.clip(p, _CLIP, 1 - _CLIP))
    (large,), large_variance = _logistic(np.ones((p.size, 1)), y, offset=line)
    (intercept, slope), both = _line(line, y)
    gain = 2 * (_log_likelihood(intercept + slope * line, y) - _log_likelihood(line, y))
    fitted = isotonic_regression(y[_order(p, y)]).x
    ordered_y = y[_order(p, y)]
    brier, base = float(np.mean((p - y) ** 2)), float(y.mean())
    recalibrated = float(np.mean((fitted - ordered_y) ** 2))
    spread = float(np.sum((1 - 2 * p) ** 2 * p * (1 - p)))
    z = float(np.sum((y - p) * (1 - 2 * p))) / math.sqrt(spread) if spread > 0 else 0.0
    return Calibration(
        cases=p.size,
        events=int(y.sum()),
        brier=brier,
        in_the_large=float(large),
        in_the_large_error=math.sqrt(float(large_variance[0, 0])),
        intercept=float(intercept),
        slope=float(slope),
        slope_error=math.sqrt(float(both[1, 1])),
        joint_p=float(chdtrc(2, max(gain, 0.0))),
        observed_over_expected=float(y.sum() / p.sum()),
        spiegelhalter_z=z,
        spiegelhalter_p=float(2 * ndtr(-abs(z))),
        miscalibration=brier - recalibrated,
        discrimination=base * (1 - base) - recalibrated,
        uncertainty=base * (1 - base),
        verdict_allowed=bool(y.sum() >= EVENTS_FOR_A_VERDICT),
        curve_exploratory=bool(y.sum() < EVENTS_FOR_A_CURVE),
    )


def reliability_curve(
    score: ArrayLike, present: ArrayLike, generator: np.random.Generator, resamples: int = 500, confidence: float = 0.9
) -> Reliability:
    """CORP reliability curve by isotonic regression: no bins, no tuning (Dimitriadis et al. 2021, PNAS 118).

    The band is that of curves of outcomes drawn from the scores themselves.

    >>> found = reliability_curve([0.1, 0.4, 0.6, 0.9], [0, 1, 0, 1], np.random.default_rng(1))
    >>> found.recalibrated.tolist()
    [0.0, 0.5, 0.5, 1.0]

    Raises:
        ValueError: as for `calibration_of`.
    """
    p, y = _cases(score, present)
    order = _order(p, y)
    ordered = p[order]
    curves = np.empty((resamples, p.size))
    for one in range(resamples):
        drawn = (generator.random(p.size) < ordered).astype(float)
        curves[one] = isotonic_regression(drawn[_order(ordered, drawn)]).x
    lower, upper = np.quantile(curves, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Reliability(ordered, np.asarray(isotonic_regression(y[order]).x), lower, upper)


def smooth_errors(score: ArrayLike, present: ArrayLike, fraction: float = 2 / 3) -> SmoothErrors:
    """ICI and its quantiles with a lowess smoother that is never robustified: an outcome of 0 or 1 is no outlier.

    >>> found = smooth_errors(np.linspace(0.05, 0.95, 40), np.arange(40) >= 20)
    >>> 0 < found.e50 <= found.e90 <= found.maximum
    True

    Raises:
        ValueError: as for `calibration_of`.
    """
    from statsmodels.nonparametric.smoothers_lowess import lowess

    p, y = _cases(score, present)
    gap = np.abs(lowess(y, p, frac=fraction, it=0, delta=0.0, return_sorted=False) - p)
    return SmoothErrors(float(gap.mean()), float(np.median(gap)), float(np.quantile(gap, 0.9)), float(gap.max()))


def expected_calibration_error(
    score: ArrayLike, present: ArrayLike, bins: int, equal_count: bool = True, closed: str = "left"
) -> float:
    """Mean |observed - mean score| over bins, weighted by their cases. It depends on its bins: an extra only.

    `equal_count` splits the sorted cases; else the bins are of equal width and `closed` says to which bin an edge
    belongs: `left` for [a, b), `right` for (a, b].

    >>> round(expected_calibration_error([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 2), 6)
    0.15

    Raises:
        ValueError: as for `calibration_of`; bins is not positive or `closed` unknown.
    """
    p, y = _cases(score, present)
    if bins < 1 or closed not in ("left", "right"):
        raise ValueError("bins: expected at least 1; closed: expected left or right")
    if equal_count:
        groups = np.array_split(np.argsort(p, kind="stable"), bins)
    else:
        edges = np.linspace(0, 1, bins + 1)  # as R's seq: an edge such as .3 lies a last digit above it
        side: Literal["left", "right"] = "right" if closed == "left" else "left"
        member = np.clip(np.searchsorted(edges, p, side=side) - 1, 0, bins - 1)
        groups = [np.flatnonzero(member == one) for one in range(bins)]
    return float(sum(abs(y[rows].mean() - p[rows].mean()) * rows.size for rows in groups if rows.size) / p.size)


def recalibrate_as_if(
    score: ArrayLike, present: ArrayLike, generator: np.random.Generator, method: str = "platt", folds: int = 10
) -> WhatIf:
    """Platt or isotonic recalibration, cross-fitted: a what-if for the next protocol, never applied to this trial.

    >>> generator = np.random.default_rng(1)
    >>> p = generator.random(400)
    >>> found = recalibrate_as_if(p, generator.random(400) < p**2, generator)
    >>> found.brier_after < found.brier_before
    True

    Raises:
        ValueError: as for `calibration_of`; the method is unknown, there are fewer cases than folds, or the score
            separates the outcomes of the cases outside one fold.
    """
    p, y = _cases(score, present)
    if method not in ("platt", "isotonic") or not 2 <= folds <= p.size:
        raise ValueError("method: expected platt or isotonic; folds: from 2 to the number of cases")
    fold = generator.permutation(np.arange(p.size) % folds)
    fitted = np.empty(p.size)
    for one in range(folds):
        train, test = fold != one, fold == one
        if method == "platt":
            line = logit(np.clip(p, _CLIP, 1 - _CLIP))
            (a, b), _ = _line(line[train], y[train])
            fitted[test] = expit(a + b * line[test])
        else:
            order = _order(p[train], y[train])
            known, values = p[train][order], np.asarray(isotonic_regression(y[train][order]).x)
            fitted[test] = np.interp(p[test], known, values)
    return WhatIf(fitted, float(np.mean((p - y) ** 2)), float(np.mean((fitted - y) ** 2)))


def _order(p: Floats, y: Floats) -> NDArray[np.intp]:
    """By score; among equal scores positives first, so that isotonic regression gives ties one value."""
    return np.lexsort((-y, p))


def _line(line: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Intercept and slope of the outcome's logit over the score's, and their covariance.

    Raises:
        ValueError: the score separates the outcomes, wholly or but for ties (Albert & Anderson 1984, Biometrika 71:1):
            no slope is the likeliest.
    """
    absent, present = line[y == 0], line[y == 1]
    if not (absent.size and present.size and absent.max() > present.min() and present.max() > absent.min()):
        raise ValueError("the score separates the outcomes: a logistic recalibration is not defined")
    return _logistic(np.column_stack([np.ones(line.size), line]), y)


def _logistic(design: Floats, y: Floats, offset: Floats | None = None) -> tuple[Floats, Floats]:
    """Maximum-likelihood logistic coefficients and their covariance by Newton's method."""
    beta, base = np.zeros(design.shape[1]), np.zeros(y.size) if offset is None else offset
    for _ in range(100):
        mean = expit(design @ beta + base)
        information = design.T @ (design * (mean * (1 - mean))[:, None])
        try:
            step = np.linalg.solve(information, design.T @ (y - mean))
        except np.linalg.LinAlgError as error:
            raise ValueError("the outcomes leave a logistic recalibration undefined: no information is left") from error
        beta = beta + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-12:
            return beta, np.linalg.inv(information)
    raise ValueError("the outcomes leave a logistic recalibration undefined: Newton's method did not end")


def _log_likelihood(line: Floats, y: Floats) -> float:
    return float(np.sum(y * line - np.logaddexp(0.0, line)))


def _cases(score: ArrayLike, present: ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(score, dtype=np.float64), np.asarray(present, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or not ((p >= 0) & (p <= 1)).all() or not np.isin(y, (0, 1)).all():
        raise ValueError("score and present: expected equal one-dimensional arrays, scores within [0, 1]")
    if not 0 < y.sum() < y.size:
        raise ValueError("present: expected both outcomes to occur")
    return p, y
