"""One cell against the rest within strata of case mix: Cochran-Mantel-Haenszel, common odds ratio, Breslow-Day.

Each stratum (an indication, an age band, a lesion size) holds a 2 x 2 table: the cell and the rest, detected and
missed. A cell that looks bad because it sees harder cases looks like the rest within its strata.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, ndtr, ndtri

from shadow.assessment.statistics.heterogeneity import ChiSquare

Counts = Sequence[int] | npt.NDArray[np.int_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CommonOdds:
    """The Mantel-Haenszel odds ratio of detection, the cell against the rest; below 1 the cell is worse.

    `odds_ratio` is None where no stratum compares (0 / 0), and infinite where only its numerator is above 0; without
    a finite positive ratio there are no limits (None).
    """

    odds_ratio: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class StratifiedTest:
    """The Cochran-Mantel-Haenszel chi-square (1 degree of freedom), its p-value, and the one-sided p for "worse"."""

    statistic: float
    p_value: float
    p_worse: float


@dataclass(frozen=True, slots=True)
class Strata:
    """2 x 2 x K counts, one entry per stratum: the cell's and the rest's detections and misses.

    Raises:
        ValueError: counts negative, not whole, or lists of different length, or no positive at all.
    """

    cell_detected: Counts
    cell_missed: Counts
    rest_detected: Counts
    rest_missed: Counts

    def __post_init__(self) -> None:
        tables = [np.asarray(one) for one in self._columns()]
        if any(one.ndim != 1 or one.shape != tables[0].shape for one in tables):
            raise ValueError("the four counts of the strata must be lists of the same length")
        if any(one.dtype.kind not in "iu" or bool(np.any(one < 0)) for one in tables):
            raise ValueError("the counts of the strata must be whole numbers, none negative")
        if not any(one.any() for one in tables):
            raise ValueError("the strata hold no positive")

    def tables(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Detected and missed in the cell, detected and missed in the rest, for the strata with any positive."""
        columns = np.array([np.asarray(one, dtype=np.float64) for one in self._columns()])
        hit, miss, rest_hit, rest_miss = columns[:, columns.sum(axis=0) > 0]
        return hit, miss, rest_hit, rest_miss

    def _columns(self) -> tuple[Counts, Counts, Counts, Counts]:
        return self.cell_detected, self.cell_missed, self.rest_detected, self.rest_missed


def cochran_mantel_haenszel(strata: Strata, continuity_correction: bool = False) -> StratifiedTest:
    """Is the cell like the rest within strata? (Cochran 1954, Biometrics 10:417; Mantel & Haenszel 1959, JNCI 22:719).

    (sum (a - E a))^2 / sum Var a with the hypergeometric mean and variance of the cell's detections a in each
    stratum. The correction subtracts 1/2 from the absolute sum, as mantelhaen.test of R does by default; never
    beyond 0. `p_worse` is one-sided. Where no stratum can vary the statistic is 0 and both p-values are 1.

    >>> strata = Strata([18, 30], [4, 2], [55, 60], [5, 4])
    >>> round(cochran_mantel_haenszel(strata).statistic, 6)
    0.880202
    """
    hit, miss, rest_hit, rest_miss = strata.tables()
    cell, rest, detected, missed = hit + miss, rest_hit + rest_miss, hit + rest_hit, miss + rest_miss
    size = cell + rest
    difference = float(np.sum(hit - cell * detected / size))
    # A stratum with a single positive has no variance; its factor is 0, its divisor must not be.
    variance = float(np.sum(cell * rest * detected * missed / (size**2 * np.maximum(size - 1, 1))))
    if variance == 0:
        return StratifiedTest(0.0, 1.0, 1.0)
    taken_off = min(0.5, abs(difference)) if continuity_correction else 0.0
    z = math.copysign(abs(difference) - taken_off, difference) / math.sqrt(variance)
    return StratifiedTest(z * z, float(chdtrc(1, z * z)), float(ndtr(z)))


def common_odds_ratio(strata: Strata, confidence: float = 0.95) -> CommonOdds:
    """The Mantel-Haenszel odds ratio of detection, cell against rest, with Robins-Breslow-Greenland limits.

    (Mantel & Haenszel 1959; Robins, Breslow & Greenland 1986, Biometrics 42:311 for the variance of its logarithm.)
    sum (a d / N) / sum (b c / N), a and b being the cell's detections and misses, c and d the rest's.

    >>> found = common_odds_ratio(Strata([18, 30], [4, 2], [55, 60], [5, 4]))
    >>> round(found.odds_ratio, 6)
    0.596899

    Raises:
        ValueError: confidence outside 0..1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1")
    hit, miss, rest_hit, rest_miss = strata.tables()
    size = hit + miss + rest_hit + rest_miss
    with_it, against = hit * rest_miss / size, miss * rest_hit / size
    numerator, denominator = float(np.sum(with_it)), float(np.sum(against))
    if numerator == 0 or denominator == 0:
        alone = None if numerator == denominator else (0.0 if numerator == 0 else math.inf)
        return CommonOdds(alone, None, None)
    concordant, discordant = (hit + rest_miss) / size, (miss + rest_hit) / size
    variance = (
        np.sum(concordant * with_it) / (2 * numerator**2)
        + np.sum(concordant * against + discordant * with_it) / (2 * numerator * denominator)
        + np.sum(discordant * against) / (2 * denominator**2)
    )
    half = float(ndtri((1 + confidence) / 2)) * math.sqrt(float(variance))
    centre = math.log(numerator / denominator)
    return CommonOdds(numerator / denominator, math.exp(centre - half), math.exp(centre + half))


def breslow_day(strata: Strata, tarone: bool = True) -> ChiSquare:
    """Are the odds ratios alike in all strata? (Breslow & Day 1980, IARC 32:142; Tarone 1985, Biometrika 72:91).

    sum (a - E a)^2 / Var a, where E a has the common odds ratio of Mantel & Haenszel under the stratum's margins and
    Var a = 1 / (1/a + 1/b + 1/c + 1/d) of the expected table; Tarone subtracts (sum (a - E a))^2 / sum Var a. Strata
    with an empty margin say nothing and are left out, also of the K - 1 degrees of freedom.

    Args:
        strata: the tables.
        tarone: with Tarone's correction, the default because the Mantel-Haenszel ratio is not the most likely one.

    >>> round(breslow_day(Strata([18, 30], [4, 2], [55, 60], [5, 4])).p_value, 6)
    0.43347

    Raises:
        ValueError: fewer than two strata with all margins positive, or no finite positive common odds ratio.
    """
    hit, miss, rest_hit, rest_miss = strata.tables()
    margins = np.array([hit + miss, rest_hit + rest_miss, hit + rest_hit, miss + rest_miss])
    varying = np.all(margins > 0, axis=0)
    ratio = common_odds_ratio(strata).odds_ratio
    if np.count_nonzero(varying) < 2 or not ratio or math.isinf(ratio):
        raise ValueError("breslow_day needs two strata with all margins positive and a finite positive odds ratio")
    cell, rest, detected, _ = margins[:, varying]
    expected = _expected(ratio, cell, rest, detected)
    variance = 1 / (1 / expected + 1 / (cell - expected) + 1 / (detected - expected) + 1 / (rest - detected + expected))
    difference = hit[varying] - expected
    statistic = float(np.sum(difference**2 / variance))
    if tarone:
        statistic -= float(np.sum(difference)) ** 2 / float(np.sum(variance))
    degrees_of_freedom = int(np.count_nonzero(varying)) - 1
    return ChiSquare(statistic, degrees_of_freedom, float(chdtrc(degrees_of_freedom, statistic)))


def _expected(ratio: float, cell: Floats, rest: Floats, detected: Floats) -> Floats:
    """The cell's detections x under an odds ratio: x (rest - detected + x) = ratio (cell - x)(detected - x)."""
    square, linear = 1 - ratio, rest - detected + ratio * (cell + detected)
    root = np.sqrt(linear**2 + 4 * square * ratio * cell * detected)
    # The same root in the form that does not subtract two like numbers.
    return np.where(linear > 0, 2 * ratio * cell * detected / (linear + root), (root - linear) / (2 * square or 1.0))
