"""What if the model may abstain? Risk against coverage, and thresholds that promise a miss rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shadow.assessment.statistics.diagnostic import FourfoldTable, IntentionToDiagnose, intention_to_diagnose
from shadow.assessment.statistics.proportions import clopper_pearson

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Selective risk of the k most confident cases, k = 1..n, and its summary.

    Attributes:
        coverage, risk: shape (cases,), from the most confident case on.
        area: AURC, the mean risk over coverages. excess_area: less that of a perfect ordering.
    """

    coverage: Floats
    risk: Floats
    area: float
    excess_area: float

    def risk_at(self, coverage: float) -> float:
        """Risk at the largest coverage of the curve that is at most this."""
        kept = max(1, math.floor(coverage * self.risk.size + 1e-9))
        return float(self.risk[kept - 1])


@dataclass(frozen=True, slots=True)
class MissThreshold:
    """Call positive at scores of at least `threshold`; `misses` of the `positives` it was set on lie below it.

    `threshold` is None where no threshold can keep the promise on so few positives: then every case is called.
    """

    threshold: float | None
    misses: int
    positives: int


def risk_coverage(confidence: ArrayLike, wrong: ArrayLike) -> RiskCoverage:
    """Risk-coverage curve, AURC and excess AURC (Geifman & El-Yaniv 2017 and 2018); shapes (cases,).

    E-AURC takes off the optimal area r + (1 - r) log(1 - r), r the error rate (Geifman, Uziel & El-Yaniv 2019, ICLR).

    >>> found = risk_coverage([0.9, 0.8, 0.7], [0, 1, 0])
    >>> round(found.area, 6), found.risk_at(0.7)
    (0.277778, 0.5)

    Raises:
        ValueError: lengths differ or there is no case.
    """
    sure, error = np.asarray(confidence, float), np.asarray(wrong, float)
    if sure.ndim != 1 or sure.shape != error.shape or sure.size == 0 or not np.isin(error, (0, 1)).all():
        raise ValueError("confidence and wrong: expected equal one-dimensional arrays, wrong of 0 and 1")
    number = np.arange(1, sure.size + 1)
    risk = np.cumsum(error[np.argsort(-sure, kind="stable")]) / number
    rate = float(error.mean())
    best = rate + (1 - rate) * math.log(1 - rate) if rate < 1 else 1.0
    return RiskCoverage(number / sure.size, risk, float(risk.mean()), float(risk.mean()) - best)


def risk_controlling_threshold(positive_scores: ArrayLike, miss_rate: float) -> MissThreshold:
    """Conformal risk control: the largest threshold with (misses + 1) / (n + 1) <= miss_rate (Angelopoulos 2024, ICLR).

    The expected miss rate over calibration sets is controlled, not that of this one: with 60 positives it exceeds 10 %
    in 45 of 100 sets (design). For a promise use `promised_threshold`.

    >>> risk_controlling_threshold([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 0.2)
    MissThreshold(threshold=0.2, misses=1, positives=9)

    Raises:
        ValueError: no positive, or the rate is not strictly between 0 and 1.
    """
    scores = _positives(positive_scores, miss_rate)
    allowed = math.floor(miss_rate * (scores.size + 1) + 1e-9) - 1
    return _at(scores, allowed)


def promised_threshold(positive_scores: ArrayLike, miss_rate: float, confidence: float = 0.95) -> MissThreshold:
    """The largest threshold whose miss rate is at most `miss_rate` with this confidence (Angelopoulos 2021).

    Thresholds are tried from the most cautious on, each by its exact one-sided limit, and the first failure ends it:
    fixed-sequence testing, no correction.

    >>> promised_threshold([0.1 * k for k in range(1, 41)], 0.1).misses
    0

    Raises:
        ValueError: as for `risk_controlling_threshold`.
    """
    scores = _positives(positive_scores, miss_rate)
    allowed = -1
    while (
        allowed + 1 < scores.size
        and clopper_pearson(allowed + 1, scores.size, 2 * confidence - 1).upper <= miss_rate + 1e-12
    ):
        allowed += 1
    return _at(scores, allowed)


def thresholds_by_group(positive_scores: Mapping[str, ArrayLike], miss_rate: float) -> dict[str, MissThreshold]:
    """Mondrian risk control: one threshold a group, for example a scanner; it needs `positives_needed` in each.

    >>> found = thresholds_by_group({"a": [0.9] * 9, "b": [0.5]}, 0.1)
    >>> found["a"].threshold, found["b"].threshold
    (0.9, None)

    Raises:
        ValueError: as for `risk_controlling_threshold`.
    """
    return {name: risk_controlling_threshold(scores, miss_rate) for name, scores in positive_scores.items()}


def positives_needed(miss_rate: float) -> int:
    """Fewest calibration positives of a group with which risk control can set any threshold: 1 / miss_rate - 1.

    >>> positives_needed(0.05)
    19

    Raises:
        ValueError: the rate is not strictly between 0 and 1.
    """
    if not 0 < miss_rate < 1:
        raise ValueError(f"miss_rate is {miss_rate}; expected a number strictly between 0 and 1")
    return math.ceil(1 / miss_rate - 1 - 1e-9)


def with_deferral(called: ArrayLike, deferred: ArrayLike, present: ArrayLike) -> IntentionToDiagnose:
    """Accuracy with deferred studies counted by intention to diagnose: a deferred positive is a miss.

    >>> with_deferral([1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0]).sensitivity.value
    0.5

    Raises:
        ValueError: the arrays differ in length.
    """
    call, left, truth = (np.asarray(one).astype(bool) for one in (called, deferred, present))
    if not call.shape == left.shape == truth.shape:
        raise ValueError("called, deferred and present: expected equal arrays")
    answered = ~left
    table = FourfoldTable(
        int((call & truth & answered).sum()),
        int((~call & truth & answered).sum()),
        int((call & ~truth & answered).sum()),
        int((~call & ~truth & answered).sum()),
    )
    return intention_to_diagnose(table, int((left & truth).sum()), int((left & ~truth).sum()))


def _at(scores: Floats, allowed: int) -> MissThreshold:
    if allowed < 0:
        return MissThreshold(None, 0, scores.size)
    threshold = float(scores[min(allowed, scores.size - 1)])
    return MissThreshold(threshold, int((scores < threshold).sum()), scores.size)


def _positives(positive_scores: ArrayLike, miss_rate: float) -> Floats:
    scores = np.sort(np.asarray(positive_scores, dtype=np.float64))
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError("positive_scores: expected at least one finite number")
    positives_needed(miss_rate)
    return scores
