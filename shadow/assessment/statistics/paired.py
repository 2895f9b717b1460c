"""Champion against challenger on the same studies: McNemar tests, Tango and Newcombe intervals, non-inferiority.

One sign everywhere: a difference is **challenger minus champion**, so a positive figure favours the challenger.
(The R function PropCIs::scoreci.mp(b, c, n) returns the interval of (c - b)/n: the other sign.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import bdtr, chdtrc, ndtr, ndtri

from shadow.assessment.statistics.proportions import DISPLAY_CONFIDENCE, Limits, wilson


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """Studies by what the two models said: called positive by both, by one alone, or by neither.

    Both models must have treated failures alike (a failure is a call of "not positive" for either), or the pairing
    is broken.

    Raises:
        ValueError: a count is negative or not whole.
    """

    both: int
    challenger_only: int
    champion_only: int
    neither: int

    def __post_init__(self) -> None:
        for name in ("both", "challenger_only", "champion_only", "neither"):
            count = getattr(self, name)
            if count != int(count) or count < 0:
                raise ValueError(f"{name} must be a whole number of studies from 0, not {count}")

    @property
    def studies(self) -> int:
        """All pairs."""
        return self.both + self.challenger_only + self.champion_only + self.neither

    @property
    def discordant(self) -> int:
        """Pairs on which the models disagree: all that McNemar's tests look at."""
        return self.challenger_only + self.champion_only

    @property
    def difference(self) -> float:
        """Share positive of the challenger minus that of the champion."""
        return (self.challenger_only - self.champion_only) / _some(self)

    def negatives(self) -> PairedCounts:
        """The same studies, counted by who called them negative."""
        return PairedCounts(self.neither, self.champion_only, self.challenger_only, self.both)


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """A statistic on one degree of freedom and its two-sided p."""

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Tango's one-sided score test and the verdict from the interval of challenger minus champion."""

    margin: float
    difference: float
    limits: Limits
    statistic: float
    p_value: float
    non_inferior: bool


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """One measure of both models on the same studies; `difference` is challenger minus champion."""

    studies: int
    champion: float
    challenger: float
    difference: float
    tango: Limits
    newcombe: Limits
    mid_p: float
    exact_p: float


@dataclass(frozen=True, slots=True)
class PairedAccuracy:
    """Both measures together: a gain in one is not to be read without the other. None: no such studies."""

    sensitivity: PairedDifference | None
    specificity: PairedDifference | None


def paired_counts(champion_positive: ArrayLike, challenger_positive: ArrayLike) -> PairedCounts:
    """The 2 x 2 table of two models' calls on the same studies: two boolean arrays of shape (studies,).

    >>> paired_counts([True, True, False], [True, False, False])
    PairedCounts(both=1, challenger_only=0, champion_only=1, neither=1)

    Raises:
        ValueError: the arrays are not booleans, or not of the same one-dimensional shape.
    """
    champion, challenger = np.asarray(champion_positive), np.asarray(challenger_positive)
    if champion.shape != challenger.shape or champion.ndim != 1:
        raise ValueError("champion_positive and challenger_positive must be of the same shape (studies,)")
    if champion.size and not (champion.dtype == bool and challenger.dtype == bool):
        raise ValueError("champion_positive and challenger_positive must be booleans: settle failures first")
    first, second = champion.astype(bool), challenger.astype(bool)
    return PairedCounts(
        int(np.sum(first & second)),
        int(np.sum(~first & second)),
        int(np.sum(first & ~second)),
        int(np.sum(~first & ~second)),
    )


def mcnemar_exact(counts: PairedCounts) -> float:
    """Two-sided exact conditional p: twice the smaller binomial(discordant, 1/2) tail, at most 1.

    Conservative; shown for comparison with other reports. Without discordant pairs it is 1.

    >>> mcnemar_exact(PairedCounts(1, 1, 7, 12))
    0.0703125
    """
    return min(1.0, 2 * _tail(counts))


def mcnemar_mid_p(counts: PairedCounts) -> float:
    """Two-sided mid-p, the default test (Fagerland, Lydersen & Laake 2013, BMC Med Res Methodol 13:91).

    The exact p less the probability of the observed split; for an even split 1 - P(split)/2, as in the paper.
    Without discordant pairs that formula gives 0.5, the mid-p of an outcome that could not have been another.

    >>> mcnemar_mid_p(PairedCounts(1, 1, 7, 12))
    0.0390625
    >>> round(mcnemar_mid_p(PairedCounts(50, 14, 14, 22)), 10)
    0.9252770096
    """
    split = math.comb(counts.discordant, counts.challenger_only) / (1 << counts.discordant)
    if counts.challenger_only == counts.champion_only:
        return 1 - split / 2
    return 2 * _tail(counts) - split


def mcnemar_asymptotic(counts: PairedCounts, *, continuity_correction: bool) -> ChiSquare:
    """McNemar's chi-square (1947, Psychometrika 12:153), or Edwards' corrected one (1948, Psychometrika 13:185).

    (b - c)^2/(b + c), or max(|b - c| - 1, 0)^2/(b + c). Without discordant pairs the statistic is 0 and p is 1.

    >>> mcnemar_asymptotic(PairedCounts(1, 1, 7, 12), continuity_correction=False).statistic
    4.5
    """
    if counts.discordant == 0:
        return ChiSquare(0.0, 1.0)
    gap = abs(counts.challenger_only - counts.champion_only)
    statistic = max(gap - 1, 0) ** 2 / counts.discordant if continuity_correction else gap**2 / counts.discordant
    return ChiSquare(statistic, float(chdtrc(1, statistic)))


def tango(counts: PairedCounts, confidence: float = DISPLAY_CONFIDENCE) -> Limits:
    """Score interval of the difference challenger minus champion (Tango 1998, Stat Med 17:891), to 1e-12.

    The differences d at which (b - c - n d)/sqrt(n (2 q + d (1 - d))) = +-z, where q is the probability of
    "champion alone" fitted under d. It holds with zero discordant pairs: then the limits are +-z^2/(n + z^2).

    >>> limits = tango(PairedCounts(43, 0, 1, 0))
    >>> round(limits.lower, 9), round(limits.upper, 9)
    (-0.118077097, 0.059393231)

    Raises:
        ValueError: there are no studies, or the confidence lies outside (0, 1).
    """
    studies, estimate, z = _some(counts), counts.difference, _quantile(confidence)
    gap = counts.challenger_only - counts.champion_only

    def beyond(difference: float, side: float) -> float:
        return gap - studies * difference - side * math.sqrt(_score_variance(counts, difference))

    # Where the fitted variance at the estimate is 0 the estimate is itself a root: there the limits are closed forms.
    square = z * z
    if counts.discordant == 0:
        return Limits(-square / (studies + square), square / (studies + square))
    if counts.challenger_only == studies:
        return Limits((studies - square) / (studies + square), 1.0)
    if counts.champion_only == studies:
        return Limits(-1.0, -(studies - square) / (studies + square))
    lower = brentq(beyond, -1.0, estimate, args=(z,), xtol=1e-15, rtol=1e-15)
    upper = brentq(beyond, estimate, 1.0, args=(-z,), xtol=1e-15, rtol=1e-15)
    return Limits(float(lower), float(upper))


def newcombe_paired(counts: PairedCounts, confidence: float = DISPLAY_CONFIDENCE) -> Limits:
    """Method 10 of Newcombe (1998, Stat Med 17:2635) for challenger minus champion: a closed-form check on Tango.

    Two Wilson intervals squared and added with the correlation phi; a positive ad - bc is first reduced by n/2,
    to no less than 0.

    >>> limits = newcombe_paired(PairedCounts(1, 1, 7, 12))
    >>> round(limits.lower, 9), round(limits.upper, 9)
    (-0.506920227, -0.025559124)

    Raises:
        ValueError: there are no studies, or the confidence lies outside (0, 1).
    """
    studies = _some(counts)
    _quantile(confidence)
    challenger, champion = counts.both + counts.challenger_only, counts.both + counts.champion_only
    first, second = wilson(challenger, studies, confidence), wilson(champion, studies, confidence)
    cross = counts.both * counts.neither - counts.challenger_only * counts.champion_only
    adjusted = max(cross - studies / 2, 0.0) if cross > 0 else float(cross)
    margins = challenger * (studies - challenger) * champion * (studies - champion)
    phi = adjusted / math.sqrt(margins) if margins else 0.0
    below, above = challenger / studies - first.lower, first.upper - challenger / studies
    other_below, other_above = champion / studies - second.lower, second.upper - champion / studies
    return Limits(
        counts.difference - _length(below, other_above, phi), counts.difference + _length(above, other_below, phi)
    )


def non_inferiority(counts: PairedCounts, margin: float, confidence: float = DISPLAY_CONFIDENCE) -> NonInferiority:
    """Whether the challenger is worse by less than `margin` (Tango 1998, Stat Med 17:891).

    H0: challenger - champion <= -margin. `statistic` is the score statistic at -margin and `p_value` its upper tail;
    the verdict is that the lower Tango limit lies above -margin, the same as p < (1 - confidence)/2: one-sided
    2.5 % at the default. The margin is the plan's and has no default.

    >>> found = non_inferiority(PairedCounts(43, 0, 1, 0), margin=0.1)
    >>> round(found.statistic, 6), round(found.p_value, 6), found.non_inferior
    (1.708564, 0.043766, False)

    Raises:
        ValueError: the margin or the confidence lies outside (0, 1), or there are no studies.
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin must lie between 0 and 1, and say how much worse is tolerated, not {margin}")
    studies, limits = _some(counts), tango(counts, confidence)
    gap = counts.challenger_only - counts.champion_only + studies * margin
    statistic = gap / math.sqrt(_score_variance(counts, -margin))
    return NonInferiority(margin, counts.difference, limits, statistic, float(ndtr(-statistic)), limits.lower > -margin)


def compare_accuracy(
    present: PairedCounts, absent: PairedCounts, confidence: float = DISPLAY_CONFIDENCE
) -> PairedAccuracy:
    """Sensitivity and specificity of both models on the same studies, each with its difference and tests.

    Args:
        present: positive calls on studies with the target condition.
        absent: positive calls on studies without it: specificity counts who did *not* call.
        confidence: of the intervals.

    >>> found = compare_accuracy(PairedCounts(319, 22, 78, 32), PairedCounts(31, 22, 53, 155))
    >>> round(found.sensitivity.difference, 6), round(found.specificity.difference, 6)
    (-0.124169, 0.118774)
    """
    return PairedAccuracy(_difference(present, confidence), _difference(absent.negatives(), confidence))


def _difference(counts: PairedCounts, confidence: float) -> PairedDifference | None:
    if counts.studies == 0:
        return None
    return PairedDifference(
        counts.studies,
        (counts.both + counts.champion_only) / counts.studies,
        (counts.both + counts.challenger_only) / counts.studies,
        counts.difference,
        tango(counts, confidence),
        newcombe_paired(counts, confidence),
        mcnemar_mid_p(counts),
        mcnemar_exact(counts),
    )


def _tail(counts: PairedCounts) -> float:
    return float(bdtr(min(counts.challenger_only, counts.champion_only), counts.discordant, 0.5))


def _score_variance(counts: PairedCounts, difference: float) -> float:
    """Variance of b - c fitted under `difference`: n (2 q + d (1 - d)), q the larger root of Tango's quadratic."""
    more, fewer = counts.challenger_only, counts.champion_only
    if difference < 0:  # mirrored, so that no root is a difference of near-equal numbers
        more, fewer, difference = fewer, more, -difference
    studies = counts.studies
    linear = (2 * studies - more + fewer) * difference - more - fewer
    constant = -fewer * difference * (1 - difference)
    root = math.sqrt(linear * linear - 8 * studies * constant)
    rare = (root - linear) / (4 * studies) if linear <= 0 else -2 * constant / (root + linear)
    return studies * (2 * rare + difference * (1 - difference))


def _length(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    return float(ndtri((1 + confidence) / 2))


def _some(counts: PairedCounts) -> int:
    if counts.studies == 0:
        raise ValueError("counts must hold at least one study")
    return counts.studies
