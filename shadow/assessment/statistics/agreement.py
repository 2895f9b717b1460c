"""Agreement of two readers: kappa with AC1 beside it, because kappa alone misleads where one answer is rare."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from shadow.assessment.statistics.proportions import DISPLAY_CONFIDENCE, Limits

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A chance-corrected coefficient with its large-sample error, interval and two-sided p against 0.

    `value` is None where chance agreement is certain: both readers gave one and the same answer throughout.
    """

    value: float | None
    standard_error: float | None
    limits: Limits | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two readers on the same cases.

    Attributes:
        cases: read by both. observed: share on which they agree.
        kappa: Cohen's. ac1: Gwet's.
        specific: for each category 2 a / (row + column): its specific agreement; None where nobody used it.
        prevalence_adjusted: PABAK, (k observed - 1) / (k - 1).
    """

    cases: int
    observed: float
    kappa: Coefficient
    ac1: Coefficient
    specific: tuple[float | None, ...]
    prevalence_adjusted: float


def agreement(table: ArrayLike, confidence: float = DISPLAY_CONFIDENCE) -> Agreement:
    """Agreement from a square table of counts: rows are the first reader's answers, columns the second's.

    Cohen 1960 (Educ Psychol Meas 20:37) and Gwet 2008 (Br J Math Stat Psychol 61:29), with Gwet's standard errors.

    >>> found = agreement([[118, 5], [2, 0]])
    >>> round(found.kappa.value, 4), round(found.ac1.value, 4)
    (-0.0234, 0.9408)

    Raises:
        ValueError: the table is not square, holds a negative count, or fewer than two cases.
    """
    counts = _table(table)
    size = counts.shape[0]
    return Agreement(
        int(counts.sum()),
        float(np.trace(counts) / counts.sum()),
        weighted_kappa(counts, np.eye(size), confidence),
        _ac1(counts, confidence),
        tuple(
            float(2 * counts[one, one] / used) if (used := counts[one].sum() + counts[:, one].sum()) else None
            for one in range(size)
        ),
        float((size * np.trace(counts) / counts.sum() - 1) / (size - 1)),
    )


def linear_weights(categories: int) -> Floats:
    """1 - |i - j| / (k - 1), for ordered answers.

    >>> linear_weights(3).tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]]
    """
    step = np.abs(np.subtract.outer(np.arange(categories), np.arange(categories)))
    return np.asarray(1 - step / (categories - 1), dtype=np.float64)


def quadratic_weights(categories: int) -> Floats:
    """1 - (i - j)^2 / (k - 1)^2, for ordered answers.

    >>> quadratic_weights(3).tolist()
    [[1.0, 0.75, 0.0], [0.75, 1.0, 0.75], [0.0, 0.75, 1.0]]
    """
    step = np.subtract.outer(np.arange(categories), np.arange(categories))
    return np.asarray(1 - (step / (categories - 1)) ** 2, dtype=np.float64)


def weighted_kappa(table: ArrayLike, weights: ArrayLike, confidence: float = DISPLAY_CONFIDENCE) -> Coefficient:
    """Cohen's weighted kappa (1968, Psychol Bull 70:213); identity weights give the plain one.

    Variance by linearisation over cases: sum p_ij (w_ij' - 2 (1 - kappa) (w_i. + w_.j) / 2 / (1 - p_e))^2, as Gwet 2014
    (Handbook of Inter-Rater Reliability) gives it, over n.

    >>> round(weighted_kappa([[20, 5], [10, 15]], np.eye(2)).value, 6)
    0.4

    Raises:
        ValueError: as for `agreement`; weights of another shape.
    """
    counts, scale = _table(table), np.asarray(weights, float)
    if scale.shape != counts.shape:
        raise ValueError(f"weights have shape {scale.shape}; expected {counts.shape}")
    total = counts.sum()
    share = counts / total
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    chance = float(rows @ scale @ columns)
    if chance == 1:
        return Coefficient(None, None, None, None)
    observed = float((scale * share).sum())
    kappa = (observed - chance) / (1 - chance)
    expected = (scale @ columns)[:, None] + (rows @ scale)[None, :]  # what each margin contributes to chance
    influence = (scale - observed - (1 - kappa) * (expected - 2 * chance)) / (1 - chance)
    return _coefficient(kappa, float((share * influence**2).sum()) / total, confidence)


def _ac1(counts: Floats, confidence: float) -> Coefficient:
    """Chance agreement from the mean margins: sum pi (1 - pi) / (k - 1)."""
    total, size = counts.sum(), counts.shape[0]
    share = counts / total
    mean = (share.sum(axis=1) + share.sum(axis=0)) / 2
    observed, chance = float(np.trace(share)), float((mean * (1 - mean)).sum() / (size - 1))
    value = (observed - chance) / (1 - chance)
    slope = (1 - 2 * mean) / (size - 1)
    each = (slope[:, None] + slope[None, :]) / 2
    influence = (np.eye(size) - observed - (1 - value) * (each - float((share * each).sum()))) / (1 - chance)
    return _coefficient(value, float((share * influence**2).sum()) / total, confidence)


def _coefficient(value: float, variance: float, confidence: float) -> Coefficient:
    error = math.sqrt(max(variance, 0.0))
    reach = float(ndtri((1 + confidence) / 2)) * error
    p_value = float(2 * ndtr(-abs(value) / error)) if error > 0 else 1.0 if value == 0 else 0.0
    return Coefficient(value, error, Limits(max(-1.0, value - reach), min(1.0, value + reach)), p_value)


def _table(table: ArrayLike) -> Floats:
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.shape[0] < 2:
        raise ValueError(f"table has shape {counts.shape}; expected a square of at least two categories")
    if (counts < 0).any() or counts.sum() < 2:
        raise ValueError("table: expected counts of at least 0 and at least two cases")
    return counts
