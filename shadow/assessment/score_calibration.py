"""Can the score be read as a probability, and what would another threshold have done?"""

from __future__ import annotations

import numpy as np

from shadow.assessment.analysed import AnalysedCases, Floats
from shadow.assessment.evidence import (
    CurvePoint,
    Figure,
    RecalibrationWhatIf,
    ScoreBin,
    ScoreCalibration,
    ThresholdPoint,
    ThresholdWhatIf,
)
from shadow.assessment.statistics.calibration import (
    EVENTS_FOR_A_VERDICT,
    Calibration,
    calibration_of,
    recalibrate_as_if,
    reliability_curve,
    smooth_errors,
)
from shadow.assessment.statistics.proportions import wilson

SEED = 1975
MOST_FOR_A_BAND = 5000
MOST_POINTS = 120
BINS = 10
THRESHOLDS = 60
TRUST = "Intercept, slope and error"


def score_calibration(cases: AnalysedCases) -> ScoreCalibration | None:
    """Calibration of the champion's score; None where it is no probability, or one kind of outcome is missing."""
    used = (cases.present | cases.absent) & ~np.isnan(cases.score)
    score, present = cases.score[used], cases.present[used]
    if not 0 < present.sum() < present.size or score.min() < 0 or score.max() > 1:
        return None
    try:
        found = calibration_of(score, present)
    except ValueError:  # the score separates the outcomes: no slope is defined
        return None
    generator = np.random.default_rng(SEED)
    drawn = np.arange(score.size)
    if score.size > MOST_FOR_A_BAND:
        drawn = np.sort(generator.choice(score.size, MOST_FOR_A_BAND, replace=False))
    few, outcomes = score[drawn], present[drawn].astype(np.float64)
    smooth = smooth_errors(few, outcomes)
    extra = (
        ("ici", "Mean gap between score and smoothed outcome (ICI)", smooth.ici),
        ("e90", "The gap that 90 of 100 studies do not exceed (E90)", smooth.e90),
    )
    return ScoreCalibration(
        cases=found.cases,
        events=found.events,
        verdict=_verdict(found),
        fits=found.verdict_allowed and found.joint_p >= 0.05,
        exploratory=found.curve_exploratory,
        figures=(*_figures(found), *(_figure(*one, found.cases, "lowess, never robustified") for one in extra)),
        curve=_curve(few, outcomes, generator),
        bins=_bins(score, present.astype(np.float64)),
        what_ifs=_what_ifs(few, outcomes, generator),
        sampled=int(drawn.size) if drawn.size < score.size else 0,
    )


def threshold_what_if(cases: AnalysedCases, threshold: float) -> ThresholdWhatIf | None:
    """Found and flagged at the protocol's threshold and at others, failures as they are.

    None where nothing is scored and labelled.
    """
    scored = cases.answered & cases.evaluable & ~np.isnan(cases.score)
    positives, negatives = cases.score[scored & cases.present], cases.score[scored & cases.absent]
    if not positives.size or not negatives.size:
        return None
    both = np.concatenate([positives, negatives])
    cuts = np.unique([*np.quantile(both, np.linspace(0, 1, THRESHOLDS), method="lower"), threshold])
    days = float(cases.index_day.max() - cases.index_day.min()) or 1.0
    return ThresholdWhatIf(
        present=int(cases.present.sum()),
        absent=int(cases.absent.sum()),
        days=days,
        points=tuple(
            ThresholdPoint(float(cut), int((positives >= cut).sum()), int((negatives >= cut).sum())) for cut in cuts
        ),
    )


def _verdict(found: Calibration) -> str:
    if not found.verdict_allowed:
        return f"No verdict: {found.events} events, at least {EVENTS_FOR_A_VERDICT} are needed."
    if found.joint_p >= 0.05:
        return "No sign of miscalibration: intercept 0 and slope 1 fit."
    direction = "too high" if found.observed_over_expected < 1 else "too low"
    return f"Not calibrated: scores are {direction} on the whole (joint test p {_p(found.joint_p)})."


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _figures(found: Calibration) -> tuple[Figure, ...]:
    z = 1.959963984540054
    likelihood, n = "maximum likelihood, Wald", found.cases
    return (
        _figure("brier", "Brier score", found.brier, n, ""),
        _figure("in_the_large", "Calibration in the large (0 is right)", found.in_the_large, n, likelihood,
                z * found.in_the_large_error),
        _figure("slope", "Slope (1 is right)", found.slope, n, likelihood, z * found.slope_error),
        _figure("observed_over_expected", "Observed over expected", found.observed_over_expected, n, ""),
        _figure("spiegelhalter", "Spiegelhalter's test, p", found.spiegelhalter_p, n, ""),
        _figure("joint", "Intercept 0 and slope 1, p", found.joint_p, n, "likelihood ratio, 2 degrees of freedom"),
        _figure("miscalibration", "Brier: miscalibration (MCB)", found.miscalibration, n, "CORP"),
        _figure("discrimination", "Brier: discrimination (DSC)", found.discrimination, n, "CORP"),
        _figure("uncertainty", "Brier: uncertainty (UNC)", found.uncertainty, n, "CORP"),
    )  # fmt: skip


def _figure(identifier: str, name: str, value: float, of: int, method: str, reach: float | None = None) -> Figure:
    lower, upper = (None, None) if reach is None else (value - reach, value + reach)
    return Figure(identifier, name, TRUST, value, lower, upper, False, None, of, method)


def _curve(score: Floats, present: Floats, generator: np.random.Generator) -> tuple[CurvePoint, ...]:
    """The curve's corners, thinned; between them it is flat."""
    found = reliability_curve(score, present, generator)
    steps = np.flatnonzero(np.diff(found.recalibrated)) + 1
    ends = np.concatenate([[0], steps - 1, steps, np.linspace(0, score.size - 1, 30).astype(int), [score.size - 1]])
    corners = np.unique(ends)
    if corners.size > MOST_POINTS:
        corners = corners[np.linspace(0, corners.size - 1, MOST_POINTS).astype(int)]
    return tuple(
        CurvePoint(float(found.score[n]), float(found.recalibrated[n]), float(found.lower[n]), float(found.upper[n]))
        for n in corners
    )


def _bins(score: Floats, present: Floats) -> tuple[ScoreBin, ...]:
    bins = []
    for rows in np.array_split(np.argsort(score, kind="stable"), min(BINS, score.size)):
        count, of = int(present[rows].sum()), int(rows.size)
        limits = wilson(count, of)
        bins.append(ScoreBin(float(score[rows].mean()), count, of, limits.lower, limits.upper))
    return tuple(bins)


def _what_ifs(score: Floats, present: Floats, generator: np.random.Generator) -> tuple[RecalibrationWhatIf, ...]:
    found = []
    for method in ("platt", "isotonic"):
        try:
            one = recalibrate_as_if(score, present, generator, method)
        except ValueError:  # too few cases for ten folds, or a fold without one outcome
            continue
        found.append(RecalibrationWhatIf(method, one.brier_before, one.brier_after))
    return tuple(found)
