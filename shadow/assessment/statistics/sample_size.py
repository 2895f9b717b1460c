"""How many cases a trial needs, before it begins: for precision, for a criterion, for an alarm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, ndtri

from shadow.assessment.statistics.detectors import alarm_threshold, log_cell_below_rest, log_shiryaev_roberts
from shadow.assessment.statistics.family import FamilyRule
from shadow.assessment.statistics.sequential import ACCEPTANCE_PRIOR, log_acceptance_e_value

Floats = NDArray[np.float64]
LARGEST = 20_000


@dataclass(frozen=True, slots=True)
class ExactSize:
    """Cases for an exact criterion. Its power rises in a saw-tooth, so the first size that has it may lose it again.

    Attributes:
        first: the smallest number of cases with the power.
        stable: the smallest from which the power is never lost again.
    """

    first: int
    stable: int


@dataclass(frozen=True, slots=True)
class StoppingSize:
    """Cases until acceptance under daily looks: median and 90th percentile; None where fewer trials get there.

    Attributes:
        median, ninetieth: cases. accepted: share of the simulated trials accepted within `largest`.
    """

    median: int | None
    ninetieth: int | None
    accepted: float


@dataclass(frozen=True, slots=True)
class AlarmChance:
    """What the monitors of one group do within the horizon, simulated.

    Attributes:
        alarmed: share of trials in which the group alarmed.
        watched: share in which it was on watch in any week.
        median_week: median week of the alarm, counted from 1; None where fewer than half of the trials alarmed.
    """

    alarmed: float
    watched: float
    median_week: int | None


def positives_for_precision(sensitivity: float, half_width: float, confidence: float = 0.95) -> int:
    """Positives for a Wilson interval of at most this half-width at this sensitivity.

    >>> positives_for_precision(0.92, 0.05)
    118

    Raises:
        ValueError: sensitivity, half-width or confidence lies outside (0, 1).
    """
    _check_shares(sensitivity=sensitivity, half_width=half_width, confidence=confidence)
    z = float(ndtri((1 + confidence) / 2))
    of = np.arange(1.0, 100.0 + 2 * z * z / half_width**2)  # the Wald size is at most z^2 / (4 half-width^2)
    variance = sensitivity * (1 - sensitivity) / of + z * z / (4 * of * of)
    return int(of[np.argmax(z * np.sqrt(variance) / (1 + z * z / of) <= half_width)])


def total_for_precision(sensitivity: float, half_width: float, prevalence: float, confidence: float = 0.95) -> float:
    """All cases, positive or not, by Buderer 1996 (Acad Emerg Med 3:895): z^2 Se (1-Se) / (half-width^2 prevalence).

    Unrounded, and from the Wald interval: for comparison with the literature. For specificity give it and
    1 - prevalence.

    >>> round(total_for_precision(0.92, 0.05, 0.10), 3)
    1130.925

    Raises:
        ValueError: an argument lies outside (0, 1).
    """
    _check_shares(sensitivity=sensitivity, half_width=half_width, prevalence=prevalence, confidence=confidence)
    z = float(ndtri((1 + confidence) / 2))
    return z * z * sensitivity * (1 - sensitivity) / (half_width**2 * prevalence)


def positives_for_exact_limit(sensitivity: float, floor: float, power: float, alpha: float = 0.025) -> ExactSize:
    """Positives so that the exact one-sided lower limit reaches the floor with this power, at one planned look.

    >>> positives_for_exact_limit(0.92, 0.85, 0.9)
    ExactSize(first=225, stable=240)

    Raises:
        ValueError: an argument lies outside (0, 1), sensitivity does not exceed the floor, or more than
            20,000 positives would be needed.
    """
    _check_shares(sensitivity=sensitivity, floor=floor, power=power, alpha=alpha)
    if sensitivity <= floor:
        raise ValueError(f"sensitivity {sensitivity} does not exceed the floor {floor}; no number of cases is enough")
    of = np.arange(1, LARGEST + 1)
    fewest = _fewest_detected(of, floor, alpha)
    # bdtrc(k, n, p) is P(X > k); with k = -1 it is not defined, and fewest is at least 1.
    reached = np.where(fewest <= of, bdtrc(np.minimum(fewest, of) - 1.0, of, sensitivity), 0.0) >= power
    if not reached[-1]:
        raise ValueError(f"more than {LARGEST} positives are needed for {sensitivity} against {floor}")
    first = int(of[np.argmax(reached)])
    lost = np.flatnonzero(~reached)
    return ExactSize(first, int(of[lost[-1]]) + 1 if lost.size else 1)


def positives_under_daily_looks(
    sensitivity: float,
    floor: float,
    generator: np.random.Generator,
    alpha: float = 0.025,
    trials: int = 500,
    largest: int = 2000,
    look_every: int = 5,
    prior: tuple[float, float] = ACCEPTANCE_PRIOR,
) -> StoppingSize:
    """Positives until the acceptance e-process reaches 1/alpha, looked at after every `look_every` cases; simulated.

    >>> size = positives_under_daily_looks(0.92, 0.80, np.random.default_rng(1))
    >>> 60 <= size.median <= 90 and size.accepted > 0.99
    True

    Raises:
        ValueError: an argument lies outside (0, 1).
    """
    _check_shares(sensitivity=sensitivity, floor=floor, alpha=alpha)
    of = np.arange(1, largest + 1)[look_every - 1 :: look_every]
    hits = np.cumsum(generator.random((trials, largest)) < sensitivity, axis=1)[:, look_every - 1 :: look_every]
    crossed = log_acceptance_e_value(hits, of - hits, floor, prior) >= -math.log(alpha)
    first = np.where(crossed.any(axis=1), of[crossed.argmax(axis=1)], np.inf)

    def quantile(share: float) -> int | None:
        value = float(np.quantile(first, share, method="inverted_cdf"))
        return None if math.isinf(value) else int(value)

    return StoppingSize(quantile(0.5), quantile(0.9), float(np.isfinite(first).mean()))


def alarm_chance(
    rule: FamilyRule,
    weight: float,
    weekly: tuple[float, float],
    sensitivity: tuple[float, float],
    generator: np.random.Generator,
    trials: int = 400,
) -> AlarmChance:
    """How often and how soon a group alarms; `weekly` positives and `sensitivity` of the group and of the rest.

    Positives arrive by Poisson. A rest of 0 a week is a group without a rest: all studies.

    >>> rule = FamilyRule(floor=0.85, alpha=0.05, horizon_weeks=52, watch_weeks=260)
    >>> found = alarm_chance(rule, 0.1, (12, 48), (0.5, 0.92), np.random.default_rng(1))
    >>> found.alarmed, found.median_week < 6
    (1.0, True)

    Raises:
        ValueError: a rate is negative, or a share lies outside [0, 1].
    """
    if min(weekly) < 0 or not 0 <= min(sensitivity) <= max(sensitivity) <= 1:
        raise ValueError(f"weekly {weekly} and sensitivity {sensitivity}: expected rates of at least 0, and shares")
    shape = (trials, rule.horizon_weeks)
    of, rest_of = (generator.poisson(rate, shape) for rate in weekly)
    hits, rest_hits = generator.binomial(of, sensitivity[0]), generator.binomial(rest_of, sensitivity[1])
    has_rest = weekly[1] > 0
    share = weight / 2 if has_rest else weight
    detector = log_shiryaev_roberts(hits, of, rule.floor)
    crossed = detector >= math.log(alarm_threshold(rule.horizon_weeks, rule.alpha, share))
    if has_rest:
        crossed |= log_cell_below_rest(hits, of, rest_hits, rest_of) >= -math.log(rule.alpha * share)
    week = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1.0, np.inf)
    median = float(np.quantile(week, 0.5, method="inverted_cdf"))
    watched = (detector >= math.log(rule.watch_weeks)).any(axis=1)
    return AlarmChance(
        float(np.isfinite(week).mean()), float(watched.mean()), None if math.isinf(median) else int(median)
    )


def _fewest_detected(of: NDArray[np.int64], floor: float, alpha: float) -> NDArray[np.int64]:
    """For each number of cases the smallest count whose exact lower limit reaches the floor; of + 1 where none does.

    That is the smallest x with P(X >= x | floor) <= alpha; searched upwards from one standard deviation.
    """
    start = np.ceil(of * floor + np.sqrt(of * floor * (1 - floor))).astype(np.int64)
    count = np.maximum(np.minimum(start, of + 1), 1)
    open_ones = np.ones(of.size, dtype=np.bool_)
    while open_ones.any():
        tail = np.where(count <= of, bdtrc(count - 1.0, of, floor), 0.0)
        open_ones = tail > alpha
        count += open_ones
    return np.asarray(count, dtype=np.int64)


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ValueError(f"{name} is {share}; expected a number strictly between 0 and 1")
