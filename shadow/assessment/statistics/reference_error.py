"""The reference standard errs too: verification bias, adjudication samples, pending reports, prevalence.

There is no function here that "corrects" a sensitivity by Rogan-Gladen: where reader and model miss the same subtle
cases the correction makes it worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from shadow.assessment.statistics.diagnostic import Estimate
from shadow.assessment.statistics.proportions import DISPLAY_CONFIDENCE, Limits, blaker, clopper_pearson, wilson

BLAKER_STEP = 1e-4
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VerifiedTable:
    """Studies with a verified reference, by the index test's answer, and those without one.

    Raises:
        ValueError: a count is negative.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    unverified_positive: int
    unverified_negative: int

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a count of at least 0")


@dataclass(frozen=True, slots=True)
class AdjudicatedStratum:
    """One stratum of the adjudication plan, for example model positive and report negative at night.

    Attributes:
        index_test_positive: the model's answer in the stratum.
        studies: in the stratum. sampled: adjudicated. present: of the sampled, those with the target condition.

    Raises:
        ValueError: the counts do not fit, or a stratum with studies has no sample.
    """

    index_test_positive: bool
    studies: int
    sampled: int
    present: int

    def __post_init__(self) -> None:
        if not 0 <= self.present <= self.sampled <= self.studies:
            raise ValueError(
                f"{self.present} of {self.sampled} of {self.studies}: expected present <= sampled <= studies"
            )
        if self.studies and not self.sampled:
            raise ValueError(f"a stratum of {self.studies} studies has no sample; expected at least one")


@dataclass(frozen=True, slots=True)
class AdjudicatedAccuracy:
    """Sensitivity and specificity of the model against adjudication, weighted back to all studies.

    Attributes:
        sensitivity, specificity: Hajek ratios; None without a denominator.
        sensitivity_error, specificity_error: stratified linearised errors with finite population correction.
        sensitivity_limits, specificity_limits: Jeffreys posterior of each stratum propagated by Monte Carlo: the
            default interval. The linearised one collapses where a heavy stratum happens to hold no positive.
    """

    sensitivity: float | None
    sensitivity_error: float | None
    sensitivity_limits: Limits
    specificity: float | None
    specificity_error: float | None
    specificity_limits: Limits


def apparent_sensitivity(sensitivity: float, reports_found: float, reports_missed: float) -> float:
    """What unadjudicated reports would show: Se r1 / (Se r1 + (1 - Se) r0), by Bayes' rule.

    `reports_found`: chance that a report names the condition where the model found it; `reports_missed`: where the
    model missed it. Where readers miss what the model misses, the apparent sensitivity is too high.

    >>> round(apparent_sensitivity(0.80, 0.97, 0.60), 3)
    0.866

    Raises:
        ValueError: an argument is no proportion, or no positive would be reported.
    """
    _check_shares(sensitivity=sensitivity, reports_found=reports_found, reports_missed=reports_missed)
    named = sensitivity * reports_found + (1 - sensitivity) * reports_missed
    if named == 0:
        raise ValueError("no positive would be reported: expected a chance above 0")
    return sensitivity * reports_found / named


def prevalence(
    positive: int,
    of: int,
    sensitivity: float,
    specificity: float,
    confidence: float = DISPLAY_CONFIDENCE,
    interval: str = "wilson",
) -> Estimate:
    """True prevalence from an imperfect test: (p + Sp - 1) / (Se + Sp - 1), clipped to [0, 1].

    Rogan & Gladen 1978 (Am J Epidemiol 107:71); the interval is that of p transformed (Reiczigel, Foldi & Ozsvari
    2010, Epidemiol Infect 138:1674): `wilson`, `clopper-pearson` or `blaker`, the last on the grid of 1e-4 of the
    published software.

    >>> round(prevalence(4, 80, 0.9, 0.99).value, 6)
    0.044944

    Raises:
        ValueError: the counts or shares do not fit, the interval is unknown, or Se + Sp does not exceed 1.
    """
    _check_shares(sensitivity=sensitivity, specificity=specificity)
    if sensitivity + specificity <= 1:
        raise ValueError("sensitivity + specificity: expected more than 1; the test says nothing otherwise")
    if interval == "wilson":
        limits = wilson(positive, of, confidence)
    elif interval == "clopper-pearson":
        limits = clopper_pearson(positive, of, confidence)
    elif interval == "blaker":
        limits = blaker(positive, of, confidence, BLAKER_STEP)
    else:
        raise ValueError(f"interval is '{interval}'; expected wilson, clopper-pearson or blaker")

    def corrected(share: float) -> float:
        return min(1.0, max(0.0, (share + specificity - 1) / (sensitivity + specificity - 1)))

    return Estimate(corrected(positive / of), corrected(limits.lower), corrected(limits.upper))


def prevalence_with_uncertain_test(
    positive: tuple[int, int],
    sensitivity: tuple[int, int],
    specificity: tuple[int, int],
    confidence: float = DISPLAY_CONFIDENCE,
) -> Estimate:
    """Prevalence where sensitivity and specificity are themselves estimated.

    Lang & Reiczigel 2014 (Prev Vet Med 113:13). Each argument is (count, of). One case of each kind is added to the
    test's samples, and z^2 to the survey's; the estimate is clipped to [0, 1].

    >>> found = prevalence_with_uncertain_test((60, 400), (90, 100), (190, 200))
    >>> found.lower < found.value < found.upper
    True

    Raises:
        ValueError: a pair is no proportion, or the test says nothing.
    """
    for count, of in (positive, sensitivity, specificity):
        if of < 1 or not 0 <= count <= of:
            raise ValueError(f"{count} of {of} is no proportion; expected 0 <= count <= of")
    z = float(ndtri((1 + confidence) / 2))
    survey = positive[1] + z * z
    share = (positive[0] + z * z / 2) / survey
    found, held = (sensitivity[0] + 1) / (sensitivity[1] + 2), (specificity[0] + 1) / (specificity[1] + 2)
    youden = found + held - 1
    if youden <= 0:
        raise ValueError("sensitivity + specificity: expected more than 1; the test says nothing otherwise")
    centre = (share + held - 1) / youden
    terms = (
        share * (1 - share) / survey
        + held * (1 - held) * (1 - centre) ** 2 / (specificity[1] + 2)
        + found * (1 - found) * centre**2 / (sensitivity[1] + 2)
    )
    shift = (
        2
        * z
        * z
        * (
            centre * found * (1 - found) / (sensitivity[1] + 2)
            - (1 - centre) * held * (1 - held) / (specificity[1] + 2)
        )
    )
    reach = z * math.sqrt(terms) / youden
    raw = (positive[0] / positive[1] + specificity[0] / specificity[1] - 1) / (
        sensitivity[0] / sensitivity[1] + specificity[0] / specificity[1] - 1
    )

    def clipped(value: float) -> float:
        return min(1.0, max(0.0, value))

    return Estimate(clipped(raw), clipped(centre + shift - reach), clipped(centre + shift + reach))


def begg_greenes(table: VerifiedTable, confidence: float = DISPLAY_CONFIDENCE) -> tuple[Estimate, Estimate]:
    """Sensitivity and specificity corrected for partial verification (Begg & Greenes 1983, Biometrics 39:207).

    Valid where verification depends on the test's answer only. Logit intervals by the delta method; with few false
    negatives unstable (Cronin & Vickers 2008, BMC Med Res Methodol 8:75).

    >>> found, held = begg_greenes(VerifiedTable(231, 32, 27, 54, 166, 140))
    >>> round(found.value, 6), round(held.value, 6)
    (0.836467, 0.738398)

    Raises:
        ValueError: nothing was verified among the positives or among the negatives.
    """
    verified = table.true_positives + table.false_positives, table.false_negatives + table.true_negatives
    if not all(verified):
        raise ValueError("expected verified studies among the test's positives and among its negatives")
    n_pos, n_neg = verified[0] + table.unverified_positive, verified[1] + table.unverified_negative
    ppv, missed = table.true_positives / verified[0], table.false_negatives / verified[1]
    share = n_pos / (n_pos + n_neg)

    def one(hit: float, other: float, weight: float, counts: tuple[int, int]) -> Estimate:
        """Hit weight / (hit weight + other (1 - weight)): logit is a sum of independent logs."""
        if hit == 0 or other == 0:
            return Estimate(None if hit == other == 0 else float(hit > 0), None, None)
        value = hit * weight / (hit * weight + other * (1 - weight))
        variance = (1 - hit) / (hit * counts[0]) + (1 - other) / (other * counts[1])
        variance += 1 / ((n_pos + n_neg) * weight * (1 - weight))
        reach = float(ndtri((1 + confidence) / 2)) * math.sqrt(variance)
        return Estimate(value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach)))

    return (
        one(ppv, missed, share, verified),
        one(1 - missed, 1 - ppv, 1 - share, (verified[1], verified[0])),
    )


def adjudicated_accuracy(
    strata: Sequence[AdjudicatedStratum],
    generator: np.random.Generator,
    confidence: float = DISPLAY_CONFIDENCE,
    draws: int = 20_000,
) -> AdjudicatedAccuracy:
    """Accuracy from a stratified adjudication sample, weighted by studies / sampled.

    Ratio p = sum N_h y_h / sum N_h x_h with the stratified variance sum N_h^2 (1 - n_h / N_h) s_h^2 / n_h of its
    residuals (Cochran 1977). For the limits the unsampled positives of each stratum are drawn beta-binomially from
    the Jeffreys posterior of the sampled ones.

    >>> strata = [AdjudicatedStratum(True, 180, 60, 57), AdjudicatedStratum(True, 120, 60, 9),
    ...           AdjudicatedStratum(False, 20, 20, 15), AdjudicatedStratum(False, 1680, 160, 2)]
    >>> found = adjudicated_accuracy(strata, np.random.default_rng(1))
    >>> round(found.sensitivity, 6), round(found.sensitivity_error, 6)
    (0.84, 0.052723)

    Raises:
        ValueError: there is no stratum.
    """
    if not strata:
        raise ValueError("strata: expected at least one")
    sensitivity, specificity = _ratio(strata, positive=True), _ratio(strata, positive=False)
    chances = np.array([generator.beta(one.present + 0.5, one.sampled - one.present + 0.5, draws) for one in strata])
    rest = np.array([one.studies - one.sampled for one in strata])[:, None]
    present = generator.binomial(rest, chances) + np.array([one.present for one in strata])[:, None]
    absent = np.array([one.studies for one in strata])[:, None] - present
    called = np.array([one.index_test_positive for one in strata])
    return AdjudicatedAccuracy(
        *sensitivity,
        _quantiles(present[called].sum(axis=0), present.sum(axis=0), confidence),
        *specificity,
        _quantiles(absent[~called].sum(axis=0), absent.sum(axis=0), confidence),
    )


def pending_bounds(found: int, missed: int, pending_positive: int, pending_negative: int) -> Limits:
    """Sharp bounds of sensitivity over every possible outcome of pending reports (Manski 2003).

    TP / (TP + FN + pending-) to (TP + pending+) / (TP + pending+ + FN): all pending model-negatives are positive and
    all pending model-positives negative, or the reverse.

    >>> pending_bounds(80, 20, 5, 10)
    Limits(lower=0.7272727272727273, upper=0.8095238095238095)

    Raises:
        ValueError: a count is negative, or nothing is found or missed.
    """
    if min(found, missed, pending_positive, pending_negative) < 0 or found + missed == 0:
        raise ValueError("expected counts of at least 0, and at least one labelled positive")
    return Limits(
        found / (found + missed + pending_negative), (found + pending_positive) / (found + pending_positive + missed)
    )


def missing_bounds(found: int, present: int, missing_present: float) -> Limits:
    """Bounds of a cell's sensitivity, were so many positive studies never routed: all missed, or all found.

    `missing_present` may be an estimate: missing studies times prevalence.

    >>> missing_bounds(18, 20, 5)
    Limits(lower=0.72, upper=0.92)

    Raises:
        ValueError: the counts are impossible.
    """
    if not 0 <= found <= present or missing_present < 0 or present + missing_present == 0:
        raise ValueError(f"{found} of {present} and {missing_present} missing: expected possible counts")
    total = present + missing_present
    return Limits(found / total, (found + missing_present) / total)


def _ratio(strata: Sequence[AdjudicatedStratum], positive: bool) -> tuple[float | None, float | None]:
    """Share of the model's right calls among studies with (or without) the condition, and its error."""
    of = top = 0.0
    for one in strata:
        counted = one.present if positive else one.sampled - one.present
        weight = one.studies / one.sampled if one.sampled else 0.0
        of += weight * counted
        top += weight * counted * (one.index_test_positive == positive)
    if of == 0:
        return None, None
    share, variance = top / of, 0.0
    for one in strata:
        if one.sampled < 2:
            continue
        counted = one.present if positive else one.sampled - one.present
        residual = (1.0 if one.index_test_positive == positive else 0.0) - share
        spread = residual**2 * counted * (1 - counted / one.sampled) / (one.sampled - 1)
        variance += one.studies**2 * (1 - one.sampled / one.studies) * spread / one.sampled
    return share, math.sqrt(variance) / of


def _quantiles(top: Floats, of: Floats, confidence: float) -> Limits:
    share = np.where(of > 0, top / np.maximum(of, 1), 0.5)
    low, high = np.quantile(share, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Limits(float(low), float(high))


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}; expected a proportion")
