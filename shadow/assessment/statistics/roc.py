"""Area under the ROC curve with DeLong's variance, paired and clustered, in O(n log n)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri

from shadow.assessment.statistics.proportions import DISPLAY_CONFIDENCE, Limits

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AreaUnderCurve:
    """An AUROC with its variance and two intervals.

    Attributes:
        area: P(score of a positive > score of a negative) + P(equal) / 2.
        variance: DeLong's, or the clustered one.
        limits: plain normal interval, cut off at 0 and 1, for comparability with other software.
        logit_limits: on the logit scale, for areas near 1 or few cases; at exactly 0 or 1, where the variance is 0,
            one-sided exact from the smaller group: (alpha / 2)^(1 / smaller).
        positives, negatives: cases of each kind.
    """

    area: float
    variance: float
    limits: Limits
    logit_limits: Limits
    positives: int
    negatives: int


@dataclass(frozen=True, slots=True)
class AreaComparison:
    """Two models on the same cases: second minus first.

    Attributes:
        first, second: the areas. covariance: of the two. difference, standard_error, limits, statistic, p_value.
    """

    first: AreaUnderCurve
    second: AreaUnderCurve
    covariance: float
    difference: float
    standard_error: float
    limits: Limits
    statistic: float
    p_value: float


def area_under_curve(
    present: ArrayLike, score: ArrayLike, cluster: ArrayLike | None = None, confidence: float = DISPLAY_CONFIDENCE
) -> AreaUnderCurve:
    """AUROC of a score, higher meaning more likely present; shapes (cases,).

    Variance by DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44:837) from mid-ranks (Sun & Xu 2014, IEEE SPL
    21:1389); with `cluster` (for example the patient) by Obuchowski 1997 (Biometrics 53:567), which is the same where
    every case is its own cluster.

    >>> found = area_under_curve([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1])
    >>> found.area
    0.75

    Raises:
        ValueError: lengths differ, a score is not a number, or positives or negatives number fewer than two.
    """
    positive, scores = _cases(present, [score])
    parts, clusters = _structural(positive, scores[0]), _clusters(cluster, positive)
    return _area(parts, _covariance(parts, parts, positive, clusters), positive, confidence)


def compare_areas(
    present: ArrayLike,
    first_score: ArrayLike,
    second_score: ArrayLike,
    cluster: ArrayLike | None = None,
    confidence: float = DISPLAY_CONFIDENCE,
) -> AreaComparison:
    """Two scores of the same cases: difference second minus first, z test (DeLong 1988; clustered Obuchowski 1997).

    Not for nested models refitted on the same data. Equal scores give p = 1.

    >>> found = compare_areas([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1], [0.9, 0.8, 0.5, 0.1])
    >>> found.difference
    0.25

    Raises:
        ValueError: as for `area_under_curve`.
    """
    positive, scores = _cases(present, [first_score, second_score])
    clusters = _clusters(cluster, positive)
    one, two = _structural(positive, scores[0]), _structural(positive, scores[1])
    first = _area(one, _covariance(one, one, positive, clusters), positive, confidence)
    second = _area(two, _covariance(two, two, positive, clusters), positive, confidence)
    covariance = _covariance(one, two, positive, clusters)
    difference = second.area - first.area
    error = math.sqrt(max(0.0, first.variance + second.variance - 2 * covariance))
    reach = float(ndtri((1 + confidence) / 2)) * error
    statistic = difference / error if error > 0 else math.copysign(math.inf, difference) if difference else 0.0
    return AreaComparison(
        first,
        second,
        covariance,
        difference,
        error,
        Limits(max(-1.0, difference - reach), min(1.0, difference + reach)),
        statistic,
        float(2 * ndtr(-abs(statistic))),
    )


def stratified_area(present: ArrayLike, score: ArrayLike, stratum: ArrayLike) -> float:
    """Mean of the strata's areas, weighted by their pairs of a positive and a negative; shapes (cases,).

    Shown beside the pooled area: where sites score on different levels, the pooled one mixes that in. Strata without
    both kinds of cases have no pairs.

    >>> stratified_area([1, 0, 1, 0], [0.9, 0.8, 0.3, 0.2], ["a", "a", "b", "b"])
    1.0

    Raises:
        ValueError: as for `area_under_curve`; no stratum has both kinds of cases.
    """
    positive, scores = _cases(present, [score])
    names, member = np.unique(np.asarray(stratum), return_inverse=True)
    if member.shape != positive.shape:
        raise ValueError(f"stratum has shape {member.shape}; expected {positive.shape}")
    total = weight = 0.0
    for one in range(names.size):
        rows = member == one
        pairs = float(positive[rows].sum()) * float((~positive[rows]).sum())
        if pairs:
            total += pairs * float(_structural(positive[rows], scores[0][rows])[0].mean())
            weight += pairs
    if not weight:
        raise ValueError("no stratum has both positives and negatives")
    return total / weight


def curve(present: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Points of the empirical ROC curve: threshold, sensitivity, 1 - specificity, from (inf, 0, 0) on.

    A case is positive at a threshold when its score is at least that.

    >>> threshold, sensitivity, false_alarm = curve([1, 1, 0], [0.9, 0.4, 0.5])
    >>> sensitivity.tolist(), false_alarm.tolist()
    ([0.0, 0.5, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0])

    Raises:
        ValueError: as for `area_under_curve`.
    """
    positive, scores = _cases(present, [score], fewest=1)
    order = np.argsort(-scores[0], kind="stable")
    ordered, hit = scores[0][order], positive[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
    found, alarms = np.cumsum(hit)[last], np.cumsum(~hit)[last]
    return (
        np.concatenate([[np.inf], ordered[last]]),
        np.concatenate([[0.0], found / positive.sum()]),
        np.concatenate([[0.0], alarms / (~positive).sum()]),
    )


def _structural(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """Placement values: V10 of each positive, V01 of each negative, from mid-ranks."""
    cases, controls = score[positive], score[~positive]
    together = _mid_ranks(score)
    v10 = (together[positive] - _mid_ranks(cases)) / controls.size
    v01 = 1 - (together[~positive] - _mid_ranks(controls)) / cases.size
    return v10, v01


def _mid_ranks(values: Floats) -> Floats:
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1])
    ends = np.append(starts[1:], values.size)
    ranks = np.empty(values.size)
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def _covariance(
    one: tuple[Floats, Floats],
    two: tuple[Floats, Floats],
    positive: NDArray[np.bool_],
    clusters: NDArray[np.intp] | None,
) -> float:
    m, n = int(positive.sum()), int((~positive).sum())
    gaps = [(a - a.mean(), b - b.mean()) for a, b in zip(one, two, strict=True)]
    if clusters is None:
        s10, s01 = (float(a @ b) / (size - 1) for (a, b), size in zip(gaps, (m, n), strict=True))
        return s10 / m + s01 / n
    count = int(clusters.max()) + 1
    (a10, b10), (a01, b01) = (
        tuple(np.bincount(clusters[rows], weights=gap, minlength=count) for gap in pair)
        for pair, rows in zip(gaps, (positive, ~positive), strict=True)
    )
    with_positive = np.unique(clusters[positive]).size
    with_negative = np.unique(clusters[~positive]).size
    s10 = with_positive / ((with_positive - 1) * m) * float(a10 @ b10)
    s01 = with_negative / ((with_negative - 1) * n) * float(a01 @ b01)
    cross = count / ((count - 1) * m * n) * (float(a10 @ b01) + float(b10 @ a01))
    return s10 / m + s01 / n + cross


def _area(
    parts: tuple[Floats, Floats], variance: float, positive: NDArray[np.bool_], confidence: float
) -> AreaUnderCurve:
    area = float(parts[0].mean())
    m, n = int(positive.sum()), int((~positive).sum())
    reach = float(ndtri((1 + confidence) / 2)) * math.sqrt(max(variance, 0.0))
    bound = ((1 - confidence) / 2) ** (1 / min(m, n))
    if area == 1.0:
        on_logit = Limits(bound, 1.0)
    elif area == 0.0:
        on_logit = Limits(0.0, 1 - bound)
    else:
        step = reach / (area * (1 - area))
        on_logit = Limits(float(expit(logit(area) - step)), float(expit(logit(area) + step)))
    return AreaUnderCurve(area, variance, Limits(max(0.0, area - reach), min(1.0, area + reach)), on_logit, m, n)


def _clusters(cluster: ArrayLike | None, positive: NDArray[np.bool_]) -> NDArray[np.intp] | None:
    if cluster is None:
        return None
    names, member = np.unique(np.asarray(cluster), return_inverse=True)
    if member.shape != positive.shape or names.size < 2:
        raise ValueError(f"cluster: expected {positive.size} names of at least two clusters")
    return np.asarray(member, dtype=np.intp)


def _cases(present: ArrayLike, scores: list[ArrayLike], fewest: int = 2) -> tuple[NDArray[np.bool_], list[Floats]]:
    positive = np.asarray(present).astype(bool)
    arrays = [np.asarray(one, dtype=np.float64) for one in scores]
    if positive.ndim != 1 or any(one.shape != positive.shape for one in arrays):
        raise ValueError("present and score: expected one-dimensional arrays of the same length")
    if not all(np.isfinite(one).all() for one in arrays):
        raise ValueError("score: expected finite numbers")
    if positive.sum() < fewest or (~positive).sum() < fewest:
        raise ValueError(f"expected at least {fewest} positives and {fewest} negatives")
    return positive, arrays
