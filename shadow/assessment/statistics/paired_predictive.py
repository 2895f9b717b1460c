"""Predictive values of champion and challenger on the same studies: their ratio and a score test of equality."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import chdtrc, ndtr, ndtri

from shadow.assessment.statistics.paired import ChiSquare, PairedCounts
from shadow.assessment.statistics.proportions import DISPLAY_CONFIDENCE, Limits


@dataclass(frozen=True, slots=True)
class RelativeValue:
    """A predictive value of the challenger divided by the champion's, with the Wald test of its logarithm."""

    ratio: float
    limits: Limits
    log_standard_error: float
    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class PredictiveValues:
    """One predictive value of both models; `difference` is challenger minus champion.

    `relative` and `score` are None where nothing can be tested: the models made the same calls, or both values are 0
    or both are 1. `relative` is None too where one value is 0, which has no logarithm.
    """

    champion: float
    challenger: float
    difference: float
    relative: RelativeValue | None
    score: ChiSquare | None


@dataclass(frozen=True, slots=True)
class PairedPredictiveValues:
    """Both predictive values. None: one of the models made no such call, so it has no such value."""

    positive: PredictiveValues | None
    negative: PredictiveValues | None


def compare_predictive_values(
    present: PairedCounts, absent: PairedCounts, confidence: float = DISPLAY_CONFIDENCE
) -> PairedPredictiveValues:
    """Positive and negative predictive values of two models on the same studies, at the trial's prevalence.

    Relative predictive value: Moskowitz & Pepe 2006 (Clin Trials 3:272), challenger/champion with a log interval
    from the multinomial delta method. Equality: the weighted generalized score statistic of Kosinski 2013
    (Stat Med 32:964), chi-square on one degree of freedom,
    (PPV1 - PPV2)^2 / ([p (1 - p) - 2 C] (1/m1 + 1/m2)) with p the pooled value over the m1 + m2 calls and
    C = (s (1 - p)^2 + r p^2)/(m1 + m2), s and r the studies with and without the condition that both called.
    Valid only for a consecutive sample: enriched or case-control studies have no predictive values.

    Args:
        present: positive calls on studies with the target condition.
        absent: positive calls on studies without it.
        confidence: of the interval of the ratio.

    >>> found = compare_predictive_values(PairedCounts(319, 22, 78, 32), PairedCounts(31, 22, 53, 155))
    >>> round(found.positive.relative.ratio, 8), round(found.positive.score.statistic, 8)
    (1.04860694, 5.46588745)

    Raises:
        ValueError: the confidence lies outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    return PairedPredictiveValues(
        _compare(present, absent, confidence),
        # An NPV is the predictive value of a negative call for the absence of the condition.
        _compare(absent.negatives(), present.negatives(), confidence),
    )


def _compare(true: PairedCounts, false: PairedCounts, confidence: float) -> PredictiveValues | None:
    """The share of `true` among each model's calls."""
    champion_calls = true.both + true.champion_only + false.both + false.champion_only
    challenger_calls = true.both + true.challenger_only + false.both + false.challenger_only
    if champion_calls == 0 or challenger_calls == 0:
        return None
    champion = (true.both + true.champion_only) / champion_calls
    challenger = (true.both + true.challenger_only) / challenger_calls
    relative, score = None, None
    if true.discordant + false.discordant > 0:
        if champion > 0 and challenger > 0:
            relative = _relative(true, false, (champion, challenger), (champion_calls, challenger_calls), confidence)
        score = _score(true, false, challenger - champion, (champion_calls, challenger_calls))
    return PredictiveValues(champion, challenger, challenger - champion, relative, score)


def _relative(
    true: PairedCounts, false: PairedCounts, values: tuple[float, float], calls: tuple[int, int], confidence: float
) -> RelativeValue | None:
    """Delta method: the squared influence of each study on log(challenger) - log(champion), summed over studies."""
    champion, challenger = values
    hit, alarm = (
        [(1 - value) / (value * made) for value, made in zip(values, calls, strict=True)],
        [-1 / made for made in calls],
    )
    variance = (
        true.challenger_only * hit[1] ** 2
        + true.champion_only * hit[0] ** 2
        + true.both * (hit[1] - hit[0]) ** 2
        + false.challenger_only * alarm[1] ** 2
        + false.champion_only * alarm[0] ** 2
        + false.both * (alarm[1] - alarm[0]) ** 2
    )
    if variance == 0:
        return None
    error, logarithm = math.sqrt(variance), math.log(challenger / champion)
    reach = float(ndtri((1 + confidence) / 2)) * error
    limits = Limits(math.exp(logarithm - reach), math.exp(logarithm + reach))
    statistic = logarithm / error
    return RelativeValue(challenger / champion, limits, error, statistic, float(2 * ndtr(-abs(statistic))))


def _score(true: PairedCounts, false: PairedCounts, difference: float, calls: tuple[int, int]) -> ChiSquare | None:
    made = sum(calls)
    pooled = (2 * true.both + true.discordant) / made
    if pooled in (0.0, 1.0):
        return None
    shared = (true.both * (1 - pooled) ** 2 + false.both * pooled**2) / made
    variance = (pooled * (1 - pooled) - 2 * shared) * (1 / calls[0] + 1 / calls[1])
    statistic = difference**2 / variance
    return ChiSquare(statistic, float(chdtrc(1, statistic)))
