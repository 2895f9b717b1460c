"""Reports that are still to come: turnaround, weights for what is labelled so far, and when a week may speak.

Positives that the model missed are subtle, and their reports take longer. What is labelled so far therefore flatters
the model; weights by turnaround within the model's result take that off, because the result of a pending study is
known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from shadow.assessment.statistics.proportions import DISPLAY_CONFIDENCE, Limits

Floats = NDArray[np.float64]
FEWEST_LABELLED = 0.02
"""Weights are cut off where less than this share of reports is expected to be in."""


@dataclass(frozen=True, slots=True)
class Turnaround:
    """P(report within so many days) as a step function.

    Attributes:
        days: where it steps, increasing, shape (steps,). labelled: its value from there on.
    """

    days: Floats
    labelled: Floats

    def at(self, age: ArrayLike) -> Floats:
        """The probability at each age in days; 0 before the first step."""
        place = np.searchsorted(self.days, np.asarray(age, float), side="right")
        return np.asarray(np.concatenate([[0.0], self.labelled])[place], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class WeightedSensitivity:
    """Sensitivity over labelled studies that are old enough, weighted by 1 / P(labelled by their age).

    Attributes:
        estimate: None without a labelled positive. limits: normal, linearised, cut off at 0 and 1.
        unweighted: the same without weights: what a naive page would show.
        labelled_positives: that it rests on. effective_positives: (sum w)^2 / sum w^2.
    """

    estimate: float | None
    limits: Limits | None
    unweighted: float | None
    labelled_positives: int
    effective_positives: float


def turnaround(delay: ArrayLike, age: ArrayLike) -> Turnaround:
    """Kaplan-Meier estimate of the time from index to final report (Kaplan & Meier 1958, JASA 53:457).

    `delay` in days, NaN where the report is pending; `age` of each study in days: pending ones are censored there.
    Shapes (studies,).

    >>> found = turnaround([1, 2, np.nan, 4], [10, 10, 3, 10])
    >>> found.at([0, 1, 2, 5]).tolist()
    [0.0, 0.25, 0.5, 1.0]

    Raises:
        ValueError: shapes differ, a report came before its study or after the study's age, or no study is given.
    """
    took, old = _delays(delay, age)
    labelled = ~np.isnan(took)
    until = np.where(labelled, took, old)
    days = np.unique(took[labelled])
    at_risk = until.size - np.searchsorted(np.sort(until), days, side="left")
    events = np.searchsorted(np.sort(took[labelled]), days, side="right") - np.searchsorted(
        np.sort(took[labelled]), days, side="left"
    )
    return Turnaround(days, np.asarray(1 - np.cumprod(1 - events / at_risk), dtype=np.float64))


def weighted_sensitivity(
    index_test_positive: ArrayLike,
    present: ArrayLike,
    delay: ArrayLike,
    age: ArrayLike,
    maturity_days: float = 14.0,
    confidence: float = DISPLAY_CONFIDENCE,
) -> WeightedSensitivity:
    """Inverse-probability-weighted sensitivity, turnaround estimated within the model's result (Hajek ratio).

    Studies younger than `maturity_days` only help to estimate turnaround. `present` is read only where a report is
    in. Shapes (studies,); `delay` is NaN where it is pending. Bias remains only where delay depends on the truth
    given the model's result.

    >>> found = weighted_sensitivity([1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 20, np.nan], [30, 30, 30, 15])
    >>> round(found.estimate, 3), round(found.unweighted, 3)
    (0.667, 0.667)

    Raises:
        ValueError: as for `turnaround`.
    """
    took, old = _delays(delay, age)
    called, truth = np.asarray(index_test_positive).astype(bool), np.nan_to_num(np.asarray(present, float)) > 0
    if called.shape != took.shape or truth.shape != took.shape:
        raise ValueError("expected arrays of the same length")
    weight = np.zeros(took.size)
    labelled = ~np.isnan(took)
    for result in (True, False):
        rows = called == result
        if rows.any():
            expected = turnaround(took[rows], old[rows]).at(old[rows])
            weight[rows] = np.where(expected >= FEWEST_LABELLED, 1 / np.maximum(expected, FEWEST_LABELLED), 0.0)
    counted = labelled & truth & (old >= maturity_days) & (weight > 0)
    if not counted.any():
        return WeightedSensitivity(None, None, None, 0, 0.0)
    w, hit = weight[counted], called[counted].astype(float)
    total = float(w.sum())
    estimate = float((w * hit).sum()) / total
    error = math.sqrt(float(((w * (hit - estimate)) ** 2).sum())) / total
    reach = float(ndtri((1 + confidence) / 2)) * error
    return WeightedSensitivity(
        estimate,
        Limits(max(0.0, estimate - reach), min(1.0, estimate + reach)),
        float(hit.mean()),
        int(counted.sum()),
        total**2 / float((w**2).sum()),
    )


def closed_weeks(
    age: ArrayLike, labelled: ArrayLike, maturity_days: float = 14.0, share: float = 0.98, latest_days: float = math.inf
) -> NDArray[np.bool_]:
    """Which weekly cohorts may speak, in index order; a week closes only after the one before it.

    `age` in days since the week's end, `labelled` the share of its studies with a final report; shapes (weeks,), the
    oldest first.

    >>> closed_weeks([30, 23, 16, 9], [1.0, 0.99, 0.90, 1.0]).tolist()
    [True, True, False, False]

    Raises:
        ValueError: shapes differ or a share is none.
    """
    old, done = np.asarray(age, float), np.asarray(labelled, float)
    if old.shape != done.shape or not ((done >= 0) & (done <= 1)).all():
        raise ValueError("age and labelled: expected equal arrays, labelled of shares")
    ripe = ((old >= maturity_days) & (done >= share)) | (old >= latest_days)
    return np.asarray(np.logical_and.accumulate(ripe))


def bootstrap_by_week(
    estimate: Callable[[NDArray[np.intp]], float | None],
    week: ArrayLike,
    generator: np.random.Generator,
    resamples: int = 500,
    confidence: float = DISPLAY_CONFIDENCE,
) -> Limits:
    """Percentile interval that resamples whole weeks: the weights are estimated anew in each resample.

    >>> hit = np.array([1.0, 1, 0, 1, 1, 0])
    >>> found = bootstrap_by_week(lambda rows: float(hit[rows].mean()), [0, 0, 1, 1, 2, 2], np.random.default_rng(1))
    >>> bool(found.lower < hit.mean() < found.upper)
    True

    Raises:
        ValueError: fewer than two weeks, or an estimate that is undefined on more than a tenth of the resamples.
    """
    names, member = np.unique(np.asarray(week), return_inverse=True)
    if names.size < 2:
        raise ValueError("week: expected at least two")
    rows = [np.flatnonzero(member == one) for one in range(names.size)]
    draws = generator.integers(0, names.size, (resamples, names.size))
    found = [estimate(np.concatenate([rows[one] for one in draw])) for draw in draws]
    values = np.array([one for one in found if one is not None])
    if values.size < 0.9 * resamples:
        raise ValueError("the estimate is undefined on many resamples; expected more positives a week")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Limits(float(low), float(high))


def _delays(delay: ArrayLike, age: ArrayLike) -> tuple[Floats, Floats]:
    took, old = np.asarray(delay, dtype=np.float64), np.asarray(age, dtype=np.float64)
    if took.ndim != 1 or took.shape != old.shape or took.size == 0 or not np.isfinite(old).all():
        raise ValueError("delay and age: expected equal one-dimensional arrays, ages known")
    known = ~np.isnan(took)
    if (took[known] < 0).any() or (took[known] > old[known]).any():
        raise ValueError("delay: expected days from 0 to the study's age, NaN where the report is pending")
    return took, old
