"""Accuracy from counts: the fourfold table, intention to diagnose, predictive values at a target prevalence."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import expit, logit, ndtri

from shadow.assessment.statistics.proportions import DISPLAY_CONFIDENCE, wilson


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval. None: it is not defined by these counts, and never 0."""

    value: float | None
    lower: float | None
    upper: float | None


UNDEFINED = Estimate(None, None, None)


@dataclass(frozen=True, slots=True)
class FourfoldTable:
    """Studies by the index test's answer and the reference standard.

    Raises:
        ValueError: a count is negative.
    """

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int

    def __post_init__(self) -> None:
        for name in ("true_positives", "false_negatives", "false_positives", "true_negatives"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a count of at least 0")

    @property
    def present(self) -> int:
        """Studies with the target condition."""
        return self.true_positives + self.false_negatives

    @property
    def absent(self) -> int:
        """Studies without it."""
        return self.false_positives + self.true_negatives


@dataclass(frozen=True, slots=True)
class Accuracy:
    """All of a fourfold table, each figure with its interval at one look.

    Attributes:
        sensitivity, specificity, positive_predictive_value, negative_predictive_value, accuracy: Wilson intervals;
            the predictive values at the table's own prevalence, which is right only for a consecutive sample.
        positive_likelihood_ratio, negative_likelihood_ratio, diagnostic_odds_ratio: log intervals.
        youden: sensitivity + specificity - 1, Wald interval.
    """

    sensitivity: Estimate
    specificity: Estimate
    positive_predictive_value: Estimate
    negative_predictive_value: Estimate
    accuracy: Estimate
    positive_likelihood_ratio: Estimate
    negative_likelihood_ratio: Estimate
    diagnostic_odds_ratio: Estimate
    youden: Estimate


@dataclass(frozen=True, slots=True)
class IntentionToDiagnose:
    """A 3 x 2 table read by intention to diagnose (Schuetz et al. 2012, BMJ 345:e6717).

    Attributes:
        sensitivity_per_protocol, specificity_per_protocol: over studies with an answer only.
        sensitivity: failures are misses.
        specificity_failed_as_false_positive: failures are false alerts, the worst case.
        specificity_failed_as_no_alert: a failure raises no alert, what the ward would have seen.
        evaluable_fraction: share of studies with an answer.
    """

    sensitivity_per_protocol: Estimate
    sensitivity: Estimate
    specificity_per_protocol: Estimate
    specificity_failed_as_false_positive: Estimate
    specificity_failed_as_no_alert: Estimate
    evaluable_fraction: Estimate


def proportion_estimate(count: int, of: int, confidence: float = DISPLAY_CONFIDENCE) -> Estimate:
    """A proportion with its Wilson interval; undefined without a denominator.

    >>> proportion_estimate(0, 0)
    Estimate(value=None, lower=None, upper=None)
    """
    if of == 0:
        return UNDEFINED
    limits = wilson(count, of, confidence)
    return Estimate(count / of, limits.lower, limits.upper)


def accuracy_of(table: FourfoldTable, confidence: float = DISPLAY_CONFIDENCE) -> Accuracy:
    """Every figure of a fourfold table.

    >>> found = accuracy_of(FourfoldTable(670, 74, 202, 640))
    >>> round(found.positive_likelihood_ratio.value, 6), round(found.positive_likelihood_ratio.lower, 6)
    (3.753726, 3.320688)
    """
    tp, fn, fp, tn = table.true_positives, table.false_negatives, table.false_positives, table.true_negatives

    def share(count: int, of: int) -> Estimate:
        return proportion_estimate(count, of, confidence)

    return Accuracy(
        sensitivity=share(tp, table.present),
        specificity=share(tn, table.absent),
        positive_predictive_value=share(tp, tp + fp),
        negative_predictive_value=share(tn, tn + fn),
        accuracy=share(tp + tn, table.present + table.absent),
        positive_likelihood_ratio=ratio_of_proportions(tp, table.present, fp, table.absent, confidence),
        negative_likelihood_ratio=ratio_of_proportions(fn, table.present, tn, table.absent, confidence),
        diagnostic_odds_ratio=_odds_ratio(table, confidence),
        youden=_youden(table, confidence),
    )


def ratio_of_proportions(
    count: int, of: int, other_count: int, other_of: int, confidence: float = DISPLAY_CONFIDENCE
) -> Estimate:
    """Ratio of two independent proportions with its log interval.

    Simel, Samsa & Matchar 1991, J Clin Epidemiol 44:763: Var log = 1/x - 1/n + 1/x' - 1/n'. Nothing is added to an
    empty cell: with x' = 0 the ratio is infinite and only its lower limit is given, from the Wilson limits of both;
    with x = 0 it is 0 and only its upper limit is.

    >>> found = ratio_of_proportions(90, 100, 0, 50)
    >>> found.value, round(found.lower, 2), found.upper
    (inf, 11.57, None)

    Raises:
        ValueError: a count lies outside 0..of.
    """
    if not 0 <= count <= of or not 0 <= other_count <= other_of:
        raise ValueError(f"{count} of {of} and {other_count} of {other_of}: expected two proportions")
    if of == 0 or other_of == 0 or (count == 0 and other_count == 0):
        return UNDEFINED
    z = float(ndtri((1 + confidence) / 2))
    if other_count == 0:
        return Estimate(math.inf, wilson(count, of, confidence).lower / wilson(0, other_of, confidence).upper, None)
    ratio = count / of / (other_count / other_of)
    if count == 0:
        return Estimate(0.0, None, wilson(0, of, confidence).upper / wilson(other_count, other_of, confidence).lower)
    error = math.sqrt(1 / count - 1 / of + 1 / other_count - 1 / other_of)
    return Estimate(ratio, ratio * math.exp(-z * error), ratio * math.exp(z * error))


def predictive_values_at(
    table: FourfoldTable, prevalence: float, confidence: float = DISPLAY_CONFIDENCE
) -> tuple[Estimate, Estimate]:
    """PPV and NPV at a target prevalence, logit intervals (Mercaldo, Lau & Zhou 2007, Stat Med 26:2170).

    Var logit PPV = (1 - Se) / (Se n1) + Sp / ((1 - Sp) n0); Var logit NPV = Se / ((1 - Se) n1) + (1 - Sp) / (Sp n0).
    Where a proportion is 0 or 1 the variance is not defined and no interval is given.

    >>> positive, negative = predictive_values_at(FourfoldTable(240, 178, 87, 288), 0.03)
    >>> round(positive.value, 6), round(positive.lower, 6), round(positive.upper, 6)
    (0.071099, 0.058871, 0.085637)

    Raises:
        ValueError: the prevalence is not strictly between 0 and 1.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence is {prevalence}; expected a number strictly between 0 and 1")
    if table.present == 0 or table.absent == 0:
        return UNDEFINED, UNDEFINED
    se, sp = table.true_positives / table.present, table.true_negatives / table.absent
    positive = _bayes(se * prevalence, (1 - sp) * (1 - prevalence))
    negative = _bayes(sp * (1 - prevalence), (1 - se) * prevalence)
    if not (0 < se < 1 and 0 < sp < 1):
        return Estimate(positive, None, None), Estimate(negative, None, None)
    assert positive is not None and negative is not None
    of, other = table.present, table.absent
    of_positive = (1 - se) / (se * of) + sp / ((1 - sp) * other)
    of_negative = se / ((1 - se) * of) + (1 - sp) / (sp * other)
    return _on_logit(positive, of_positive, confidence), _on_logit(negative, of_negative, confidence)


def intention_to_diagnose(
    table: FourfoldTable, failed_present: int, failed_absent: int, confidence: float = DISPLAY_CONFIDENCE
) -> IntentionToDiagnose:
    """Failures, timeouts and missing answers in the denominator, by both conventions for specificity.

    >>> found = intention_to_diagnose(FourfoldTable(88, 7, 60, 820), 5, 20)
    >>> found.sensitivity.value, round(found.specificity_failed_as_false_positive.value, 6)
    (0.88, 0.911111)

    Raises:
        ValueError: a count is negative.
    """
    if failed_present < 0 or failed_absent < 0:
        raise ValueError("failed_present and failed_absent: expected counts of at least 0")
    answered = table.present + table.absent

    def share(count: int, of: int) -> Estimate:
        return proportion_estimate(count, of, confidence)

    return IntentionToDiagnose(
        sensitivity_per_protocol=share(table.true_positives, table.present),
        sensitivity=share(table.true_positives, table.present + failed_present),
        specificity_per_protocol=share(table.true_negatives, table.absent),
        specificity_failed_as_false_positive=share(table.true_negatives, table.absent + failed_absent),
        specificity_failed_as_no_alert=share(table.true_negatives + failed_absent, table.absent + failed_absent),
        evaluable_fraction=share(answered, answered + failed_present + failed_absent),
    )


def _odds_ratio(table: FourfoldTable, confidence: float) -> Estimate:
    """Tp tn / (fp fn) with Woolf's interval; with an empty cell infinite, 0 or undefined, without an interval."""
    right, wrong = table.true_positives * table.true_negatives, table.false_positives * table.false_negatives
    if wrong == 0:
        return Estimate(math.inf, None, None) if right else UNDEFINED
    if right == 0:
        return Estimate(0.0, None, None)
    cells = (table.true_positives, table.false_negatives, table.false_positives, table.true_negatives)
    reach = float(ndtri((1 + confidence) / 2)) * math.sqrt(sum(1 / cell for cell in cells))
    return Estimate(right / wrong, right / wrong * math.exp(-reach), right / wrong * math.exp(reach))


def _youden(table: FourfoldTable, confidence: float) -> Estimate:
    if table.present == 0 or table.absent == 0:
        return UNDEFINED
    se, sp = table.true_positives / table.present, table.true_negatives / table.absent
    error = math.sqrt(se * (1 - se) / table.present + sp * (1 - sp) / table.absent)
    reach = float(ndtri((1 + confidence) / 2)) * error
    return Estimate(se + sp - 1, max(-1.0, se + sp - 1 - reach), min(1.0, se + sp - 1 + reach))


def _bayes(right: float, wrong: float) -> float | None:
    return right / (right + wrong) if right + wrong > 0 else None


def _on_logit(value: float, variance: float, confidence: float) -> Estimate:
    reach = float(ndtri((1 + confidence) / 2)) * math.sqrt(variance)
    return Estimate(value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach)))
