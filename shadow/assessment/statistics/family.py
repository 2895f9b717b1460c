"""A declared, weighted family of monitors: which cell is bad, with one error rate over all of them.

Each member is watched by two e-processes: the weekly detector against the floor (has it fallen?) and the comparison
with the rest (is it worse than the others?). A member's share of the family's alpha is split evenly between the two;
a member without a rest (all studies) keeps it whole for the detector. Alarms latch at the first crossing: by Ville's
inequality and the union bound, P(any false alarm within the horizon) is at most alpha (design: weighted Bonferroni).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr

from shadow.assessment.statistics.detectors import alarm_threshold, log_cell_below_rest, log_shiryaev_roberts

Floats = NDArray[np.float64]
Weeks = NDArray[np.int64]

NEVER = -1


@dataclass(frozen=True, slots=True)
class FamilyRule:
    """What the protocol promises about the whole family.

    Attributes:
        floor: a member whose every chance of detection is at least this is healthy.
        alpha: P(any false alarm of the family within the horizon) is at most this.
        horizon_weeks: the weeks that the promise covers.
        watch_weeks: mean weeks until a healthy member is wrongly put on watch; at least this.
    """

    floor: float
    alpha: float
    horizon_weeks: int
    watch_weeks: int


@dataclass(frozen=True, slots=True)
class FamilyEvidence:
    """What the monitors say; arrays of shape (members,) or (members, weeks).

    Attributes:
        log_detector, log_comparison: natural logarithm of each e-process after each week.
        log_detector_limit, log_comparison_limit: what raises the alarm; infinite where there is no such monitor.
        detector_alarm_week, comparison_alarm_week: index of the first week at or over the limit, or NEVER.
        watch: whether the detector is at or over the watch limit in the newest week. It does not latch.
    """

    log_detector: Floats
    log_comparison: Floats
    log_detector_limit: Floats
    log_comparison_limit: Floats
    detector_alarm_week: Weeks
    comparison_alarm_week: Weeks
    watch: NDArray[np.bool_]

    @property
    def alarm_week(self) -> Weeks:
        """Index of the week of the first alarm of either monitor, or NEVER; shape (members,)."""
        both = np.stack([self.detector_alarm_week, self.comparison_alarm_week])
        far = np.iinfo(np.int64).max
        first = np.where(both == NEVER, far, both).min(axis=0)
        return np.where(first == far, NEVER, first)


def monitor_family(
    rule: FamilyRule,
    weights: ArrayLike,
    detected: ArrayLike,
    of: ArrayLike,
    rest_detected: ArrayLike,
    rest_of: ArrayLike,
) -> FamilyEvidence:
    """Run both monitors of every member over closed weekly cohorts.

    `weights` are shares of alpha, shape (members,), that add up to at most 1. `detected` and `of` are the member's
    patient episodes a week, shape (members, weeks), in index-time order; `rest_detected` and `rest_of` the same over
    all other studies, zero throughout where a member has no rest.

    >>> rule = FamilyRule(floor=0.85, alpha=0.05, horizon_weeks=52, watch_weeks=260)
    >>> bad, good = [3] * 30, [6] * 30
    >>> found = monitor_family(rule, [0.5, 0.5], [bad, good], [[6] * 30] * 2, [good, bad], [[6] * 30] * 2)
    >>> found.alarm_week.tolist()
    [3, -1]

    Raises:
        ValueError: shapes do not fit, a weight is not positive, or the weights exceed 1.
    """
    share = np.atleast_1d(np.asarray(weights, float))
    hits, total = np.atleast_2d(np.asarray(detected, float)), np.atleast_2d(np.asarray(of, float))
    rest_hits, rest_total = np.atleast_2d(np.asarray(rest_detected, float)), np.atleast_2d(np.asarray(rest_of, float))
    if hits.shape != rest_hits.shape or hits.shape[0] != share.size:
        raise ValueError(f"{share.size} weights for counts of shape {hits.shape} and {rest_hits.shape}")
    if not (share > 0).all() or share.sum() > 1 + 1e-9:
        raise ValueError(f"weights: expected positive shares that add up to at most 1, found a sum of {share.sum():g}")
    has_rest = rest_total.sum(axis=1) > 0
    detector_share = np.where(has_rest, share / 2, share)
    log_detector = log_shiryaev_roberts(hits, total, rule.floor)
    log_comparison = log_cell_below_rest(hits, total, rest_hits, rest_total)
    detector_limit = np.array(
        [math.log(alarm_threshold(rule.horizon_weeks, rule.alpha, one)) for one in detector_share]
    )
    comparison_limit = np.where(has_rest, -np.log(rule.alpha * share / 2), np.inf)
    newest = log_detector[:, -1] if log_detector.shape[1] else np.full(share.size, -np.inf)
    return FamilyEvidence(
        log_detector,
        log_comparison,
        detector_limit,
        comparison_limit,
        _first_crossing(log_detector, detector_limit),
        _first_crossing(log_comparison, comparison_limit),
        newest >= math.log(rule.watch_weeks),
    )


def positives_for_alarm(rule: FamilyRule, weight: float, sensitivity: float) -> int | None:
    """Roughly how many positives a member needs until its detector alarms, were its sensitivity this.

    log(A) / KL(sensitivity || floor), where A is the detector's limit. None at or above the floor: it should never
    alarm.

    >>> rule = FamilyRule(floor=0.88, alpha=0.05, horizon_weeks=52, watch_weeks=260)
    >>> positives_for_alarm(rule, 0.1, 0.8)
    384

    Raises:
        ValueError: the weight is not in (0, 1], or the sensitivity no proportion.
    """
    if not 0 <= sensitivity <= 1:
        raise ValueError(f"sensitivity is {sensitivity}; expected a proportion")
    if sensitivity >= rule.floor:
        return None
    divergence = float(rel_entr(sensitivity, rule.floor) + rel_entr(1 - sensitivity, 1 - rule.floor))
    return math.ceil(math.log(alarm_threshold(rule.horizon_weeks, rule.alpha, weight / 2)) / divergence)


def _first_crossing(path: Floats, limit: Floats) -> Weeks:
    crossed = path >= limit[:, None]
    if not path.shape[1]:
        return np.full(path.shape[0], NEVER)
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1), NEVER).astype(np.int64)
