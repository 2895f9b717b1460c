"""Proportions of studies that are nested in patients: studies of one patient are no independent evidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri, stdtr, stdtrit

from shadow.assessment.statistics.proportions import DISPLAY_CONFIDENCE, Limits, clopper_pearson, wilson

Floats = NDArray[np.float64]
NEAR_ONE = 0.98
"""From here on the logit interval is replaced by Wilson's at the effective number of studies."""


@dataclass(frozen=True, slots=True)
class ClusteredProportion:
    """A proportion of studies, with what clustering costs.

    Attributes:
        proportion: detected / positive studies. standard_error: of the ratio estimator.
        limits: two-sided. method: how they were found: `logit-t`, `wilson-effective` or `exact-patients`.
        design_effect: its variance over the binomial one; None where that is 0.
        patients: with at least one positive study. studies: positive ones.
        per_patient: share of patients with any detected study. per_patient_limits: its Wilson interval.
    """

    proportion: float
    standard_error: float
    limits: Limits
    method: str
    design_effect: float | None
    patients: int
    studies: int
    per_patient: float
    per_patient_limits: Limits


@dataclass(frozen=True, slots=True)
class ClusteredDifference:
    """Second model minus first on the same patients, with its t interval and two-sided p."""

    difference: float
    standard_error: float
    limits: Limits
    p_value: float


def clustered_proportion(
    detected: ArrayLike, positives: ArrayLike, confidence: float = DISPLAY_CONFIDENCE
) -> ClusteredProportion:
    """Ratio estimator over patients (Rao & Scott 1992, Biometrics 48:577; Obuchowski 1998).

    p = sum x / sum n, Var = m / (m - 1) sum (x_i - n_i p)^2 / (sum n)^2 over the m patients with a positive study.
    The interval is p's logit with t on m - 1 degrees of freedom. From a proportion of .98 up (or .02 down) it is
    Wilson's at n / design effect; where all or none are detected it is exact on patients, never of zero width.
    Arrays of shape (patients,): detected and positive studies of each; patients without a positive one are left out.

    >>> found = clustered_proportion([1, 2, 0, 1], [1, 3, 1, 1])
    >>> round(found.proportion, 4), found.method
    (0.6667, 'logit-t')

    Raises:
        ValueError: the arrays differ, a count is impossible, or fewer than two patients have a positive study.
    """
    hits, of = _patients(detected, positives)
    m, total = of.size, float(of.sum())
    share = float(hits.sum()) / total
    variance = m / (m - 1) * float(((hits - of * share) ** 2).sum()) / total**2
    binomial = share * (1 - share) / total
    effect = variance / binomial if binomial > 0 else None
    any_hit = int((hits > 0).sum())
    if share in (0.0, 1.0) or variance == 0:
        exact = clopper_pearson(round(m * share) if share in (0.0, 1.0) else any_hit, m, confidence)
        limits, method = Limits(min(exact.lower, share), max(exact.upper, share)), "exact-patients"
    elif not 1 - NEAR_ONE < share < NEAR_ONE:
        limits, method = _wilson_effective(share, total / max(effect or 1.0, 1.0), confidence), "wilson-effective"
    else:
        reach = float(stdtrit(m - 1, (1 + confidence) / 2)) * math.sqrt(variance) / (share * (1 - share))
        limits = Limits(float(expit(logit(share) - reach)), float(expit(logit(share) + reach)))
        method = "logit-t"
    return ClusteredProportion(
        share,
        math.sqrt(variance),
        limits,
        method,
        effect,
        m,
        int(total),
        any_hit / m,
        wilson(any_hit, m, confidence),
    )


def logit_sandwich_error(detected: ArrayLike, positives: ArrayLike) -> tuple[float, float]:
    """Logit of the proportion and its robust standard error, as GEE with working independence gives it.

    sqrt(sum (x_i - n_i p)^2) / (n p (1 - p)) (Liang & Zeger 1986, Biometrika 73:13), without the m / (m - 1) of
    `clustered_proportion`: too small for few patients, here to compare with other software.

    >>> [round(one, 6) for one in logit_sandwich_error([1, 2, 0, 1], [1, 3, 1, 1])]
    [0.693147, 0.612372]

    Raises:
        ValueError: as for `clustered_proportion`; all or none are detected.
    """
    hits, of = _patients(detected, positives)
    total = float(of.sum())
    share = float(hits.sum()) / total
    if share in (0.0, 1.0):
        raise ValueError("all or none are detected: the logit is not finite")
    return float(logit(share)), math.sqrt(float(((hits - of * share) ** 2).sum())) / (total * share * (1 - share))


def clustered_difference(
    first_detected: ArrayLike, second_detected: ArrayLike, positives: ArrayLike, confidence: float = DISPLAY_CONFIDENCE
) -> ClusteredDifference:
    """Two models on the same studies of the same patients: second minus first (Obuchowski 1998, Stat Med 17:1495).

    Ratio estimator of the per-patient differences, t on patients - 1 degrees of freedom. Arrays of shape (patients,).

    >>> found = clustered_difference([1, 1, 0, 1], [1, 2, 1, 1], [1, 3, 1, 1])
    >>> round(found.difference, 4)
    0.3333

    Raises:
        ValueError: as for `clustered_proportion`.
    """
    first, of = _patients(first_detected, positives)
    second, _ = _patients(second_detected, positives)
    m, total = of.size, float(of.sum())
    gap = second - first
    difference = float(gap.sum()) / total
    error = math.sqrt(m / (m - 1) * float(((gap - of * difference) ** 2).sum())) / total
    reach = float(stdtrit(m - 1, (1 + confidence) / 2)) * error
    p_value = 1.0 if error == 0 and difference == 0 else 0.0 if error == 0 else _two_sided_t(difference / error, m - 1)
    return ClusteredDifference(
        difference, error, Limits(max(-1.0, difference - reach), min(1.0, difference + reach)), p_value
    )


def cluster_bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    clusters: ArrayLike,
    generator: np.random.Generator,
    resamples: int = 2000,
    confidence: float = DISPLAY_CONFIDENCE,
) -> Limits:
    """BCa interval of any statistic, resampling whole clusters (Efron 1987, JASA 82:171; Davison & Hinkley 1997).

    `statistic` gets the row numbers of a resample; `clusters` names the cluster of each row, shape (rows,). The
    acceleration is a jackknife over clusters. For odd statistics: below about 300 patients a bootstrap of a plain
    proportion covers less than `clustered_proportion`.

    >>> values = np.arange(40.0)
    >>> found = cluster_bootstrap(lambda rows: float(values[rows].mean()), np.arange(40) // 2, np.random.default_rng(1))
    >>> found.lower < 19.5 < found.upper
    True

    Raises:
        ValueError: fewer than two clusters, or a resample on which the statistic is not a number.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    if names.size < 2:
        raise ValueError("clusters: expected at least two")
    rows_of = [np.flatnonzero(member == one) for one in range(names.size)]
    whole = statistic(np.arange(member.size))
    drawn = generator.integers(0, names.size, (resamples, names.size))
    values = np.array([statistic(np.concatenate([rows_of[one] for one in draw])) for draw in drawn])
    jackknife = np.array([statistic(np.flatnonzero(member != one)) for one in range(names.size)])
    if not (np.isfinite(values).all() and np.isfinite(jackknife).all()):
        raise ValueError("the statistic is not a number on some resamples; use one that is defined on every resample")
    below = (float((values < whole).sum()) + float((values == whole).sum()) / 2) / resamples
    bias = float(ndtri(min(max(below, 0.5 / resamples), 1 - 0.5 / resamples)))
    spread = jackknife.mean() - jackknife
    scale = 6 * float((spread**2).sum()) ** 1.5
    acceleration = float((spread**3).sum()) / scale if scale > 0 else 0.0
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + float(ndtri(tail))
        ends.append(float(np.quantile(values, float(ndtr(bias + z / (1 - acceleration * z))))))
    return Limits(ends[0], ends[1])


def _two_sided_t(statistic: float, degrees: int) -> float:
    return float(2 * stdtr(degrees, -abs(statistic)))


def _wilson_effective(share: float, effective: float, confidence: float) -> Limits:
    z = float(ndtri((1 + confidence) / 2))
    centre = (share + z * z / (2 * effective)) / (1 + z * z / effective)
    spread = math.sqrt(share * (1 - share) / effective + z * z / (4 * effective**2))
    half = z * spread / (1 + z * z / effective)
    return Limits(max(0.0, centre - half), min(1.0, centre + half))


def _patients(detected: ArrayLike, positives: ArrayLike) -> tuple[Floats, Floats]:
    hits, of = np.atleast_1d(np.asarray(detected, float)), np.atleast_1d(np.asarray(positives, float))
    if hits.shape != of.shape or hits.ndim != 1 or not ((hits >= 0) & (hits <= of)).all():
        raise ValueError("detected and positives: expected equal one-dimensional arrays, detected at most positives")
    kept = of > 0
    if kept.sum() < 2:
        raise ValueError("expected at least two patients with a positive study")
    return hits[kept], of[kept]
