"""Funnel limits around a target, over-dispersion, and the smallest cell that can pass.

A funnel plot shows every cell's sensitivity against its number of positives, with the limits that chance alone
keeps to. It replaces the league table: cells are not ranked (Spiegelhalter 2005, Stat Med 24:1185). The target is
the plan's floor or reference, not the mean of the cells shown.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, chdtrc, ndtri

from shadow.assessment.statistics.proportions import Limits

Counts = Sequence[int] | npt.NDArray[np.int_]


@dataclass(frozen=True, slots=True)
class FunnelLimits:
    """The limits of a funnel plot at one cell size: 95 % (warning) and 99.8 % (alarm)."""

    warning: Limits
    alarm: Limits


@dataclass(frozen=True, slots=True)
class OverDispersion:
    """How much more the cells scatter than chance: the factor on the variance, and p that it is chance."""

    factor: float
    p_value: float


def funnel_limit(target: float, of: int, probability: float) -> float:
    """The exact binomial limit below which a cell falls with this probability (Spiegelhalter 2005, appendix A.1.1).

    (r - a) / of, where r is the smallest count with P(R <= r) >= probability and the interpolation
    a = (P(R <= r) - probability) / P(R = r) makes it continuous in the probability. Held within 0..1: a limit that
    falls below 0 is one that no count can breach.

    Args:
        target: the proportion that the cell is held against.
        of: its reference-positive episodes.
        probability: such as .001, .025, .975 or .999.

    >>> round(funnel_limit(0.92, 50, 0.025), 9)
    0.826152143

    Raises:
        ValueError: target or probability not strictly between 0 and 1, or `of` below 1.
    """
    _check_target(target)
    if not 0 < probability < 1:
        raise ValueError(f"probability {probability} must lie between 0 and 1")
    if of < 1:
        raise ValueError(f"of {of} must be at least 1")
    cumulative = bdtr(np.arange(of + 1), of, target)
    count = int(np.searchsorted(cumulative, probability))
    below = float(cumulative[count - 1]) if count > 0 else 0.0
    reached = float(cumulative[count])
    return min(1.0, max(0.0, (count - (reached - probability) / (reached - below)) / of))


def funnel_limits(target: float, of: int, over_dispersion: float = 1.0) -> FunnelLimits:
    """The 95 % and 99.8 % limits at one cell size; exact, or widened where the cells are over-dispersed.

    With a factor above 1 the limits are normal, target +- z sqrt(factor target (1 - target) / of), held within 0..1
    (Spiegelhalter 2005, section 3.2): there is no exact form. A factor of 1 or below means the exact limits.

    Args:
        target: the proportion that the cell is held against.
        of: its reference-positive episodes.
        over_dispersion: the factor of `over_dispersion`; use it only with many cells, and say so on the plot: it
            takes real differences between cells for noise.

    >>> found = funnel_limits(0.92, 100)
    >>> round(found.alarm.lower, 4), round(found.warning.lower, 4)
    (0.8205, 0.8578)

    Raises:
        ValueError: as `funnel_limit`, or an over-dispersion factor that is negative or no number.
    """
    if not 0 <= over_dispersion < math.inf:
        raise ValueError(f"over_dispersion {over_dispersion} must be a finite number, not negative")
    if over_dispersion <= 1:
        warning = Limits(funnel_limit(target, of, 0.025), funnel_limit(target, of, 0.975))
        return FunnelLimits(warning, Limits(funnel_limit(target, of, 0.001), funnel_limit(target, of, 0.999)))
    _check_target(target)
    if of < 1:
        raise ValueError(f"of {of} must be at least 1")
    error = math.sqrt(over_dispersion * target * (1 - target) / of)
    lower_95, upper_95, lower_998, upper_998 = (
        min(1.0, max(0.0, target + float(ndtri(probability)) * error)) for probability in (0.025, 0.975, 0.001, 0.999)
    )
    return FunnelLimits(Limits(lower_95, upper_95), Limits(lower_998, upper_998))


def over_dispersion(detected: Counts, of: Counts, target: float, winsorised: float = 0.1) -> OverDispersion:
    """The over-dispersion factor: the mean of the winsorised z^2 of the cells (Spiegelhalter 2005, section 3.2).

    z = (share - target) / sqrt(target (1 - target) / of); the lowest and the highest z are drawn in to the
    `winsorised` and 1 - `winsorised` quantiles (linear interpolation, type 7), so that a few bad cells do not widen
    the funnel until they fit in. Without winsorising, cells x factor is chi-square on that many cells; with it, this
    p-value is conservative.

    Args:
        detected: per cell, reference-positive episodes that were detected.
        of: per cell, all of them; cells without any are left out.
        target: the proportion that the cells are held against.
        winsorised: the share drawn in at each end, 0 (none) to below 1/2.

    >>> round(over_dispersion([40, 45, 50, 38], [50, 50, 55, 50], 0.85, winsorised=0.0).factor, 6)
    1.660873

    Raises:
        ValueError: counts negative or beyond their cell, lengths that differ, no cell with positives, a target
            not strictly between 0 and 1, or a winsorised share outside 0..1/2.
    """
    _check_target(target)
    if not 0 <= winsorised < 0.5:
        raise ValueError(f"winsorised {winsorised} must lie from 0 to below 0.5")
    hits, sizes = np.asarray(detected, dtype=np.float64), np.asarray(of, dtype=np.float64)
    if hits.ndim != 1 or hits.shape != sizes.shape or not bool(np.all((hits >= 0) & (hits <= sizes))):
        raise ValueError("detected must be counts from 0 to `of`, one for each cell")
    if not sizes.any():
        raise ValueError("of holds no cell with positives")
    hits, sizes = hits[sizes > 0], sizes[sizes > 0]
    scores = (hits / sizes - target) / np.sqrt(target * (1 - target) / sizes)
    drawn_in = np.clip(scores, *np.quantile(scores, (winsorised, 1 - winsorised)))
    total = float(np.sum(drawn_in**2))
    return OverDispersion(total / sizes.size, float(chdtrc(sizes.size, total)))


def smallest_passing_cell(floor: float, misses: int = 0, confidence: float = 0.975) -> int:
    """The fewest positives with which a cell with so many misses can pass: no smaller cell shows PASS.

    The smallest n whose one-sided Clopper-Pearson lower bound reaches the floor, that is with
    P(at most `misses` missed | n, floor) <= 1 - confidence; for no miss floor^n <= 1 - confidence.

    >>> [smallest_passing_cell(floor) for floor in (0.80, 0.85, 0.88, 0.90, 0.95)]
    [17, 23, 29, 36, 72]

    Raises:
        ValueError: floor or confidence not strictly between 0 and 1, or misses negative.
    """
    if not 0 < floor < 1 or not 0 < confidence < 1:
        raise ValueError(f"floor {floor} and confidence {confidence} must lie between 0 and 1")
    if misses < 0:
        raise ValueError(f"misses {misses} must not be negative")

    def passes(positives: int) -> bool:
        return bool(bdtr(misses, positives, 1 - floor) <= 1 - confidence)

    enough = misses + 1
    while not passes(enough):
        enough *= 2
    return misses + 1 + bisect_left(range(misses + 1, enough), True, key=passes)


def _check_target(target: float) -> None:
    if not 0 < target < 1:
        raise ValueError(f"target {target} must lie between 0 and 1")
