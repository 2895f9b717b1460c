"""Gathers all evidence of one assessment from the same columns."""

from __future__ import annotations

from collections.abc import Sequence

from shadow.assessment.analysed import AnalysedCases
from shadow.assessment.between_groups import between_groups
from shadow.assessment.champion import champion_figures
from shadow.assessment.cohorts import Cohorts
from shadow.assessment.comparison import ChallengerAnswers, compare
from shadow.assessment.cusum import risk_adjusted_paths
from shadow.assessment.delayed_reports import delayed_reports, reference_what_ifs
from shadow.assessment.evidence import Adjudicated, Evidence, UnreadResult
from shadow.assessment.input_drift import input_drift
from shadow.assessment.score_calibration import score_calibration, threshold_what_if
from shadow.assessment.snapshot import Completeness, Group
from shadow.assessment.worklist import replay
from shadow.protocol.site import Site
from shadow.protocol.trial import TrialProtocol


def gather_evidence(
    cases: AnalysedCases,
    challengers: Sequence[ChallengerAnswers],
    cohorts: Cohorts,
    groups: Sequence[Group],
    sites: Sequence[Site],
    protocol: TrialProtocol,
    *,
    unread: Sequence[UnreadResult],
    threshold: float,
    wait: float,
    completeness: Completeness | None = None,
    read_blind: Adjudicated | None = None,
) -> Evidence:
    """Everything beside counts by group. `wait`: minutes until a study counts as complete."""
    analysis = protocol.analysis
    cells = [one for one in groups if one.dimension == "cell"]
    overall = groups[0].sensitivity
    limits = (overall.lower or 0.0, overall.upper or 1.0)
    calibration = score_calibration(cases)
    return Evidence(
        figures=champion_figures(cases, analysis),
        delayed=delayed_reports(cases, cells, protocol, completeness),
        what_ifs=reference_what_ifs(overall.count, overall.of, analysis.reference_what_ifs, limits),
        calibration=calibration,
        thresholds=threshold_what_if(cases, threshold),
        comparisons=tuple(compare(cases, one, sites, analysis.non_inferiority_margin) for one in challengers),
        unread_results=tuple(unread),
        between=between_groups(cases, cohorts, groups, protocol.minimum_positives_shown, protocol.monitoring.alpha),
        drift=input_drift(
            cases,
            groups,
            analysis.drift_reference_weeks,
            threshold,
            len(cohorts.weeks),
            calibration is not None and calibration.fits,
        ),
        worklist=replay(cases, wait),
        cusums=risk_adjusted_paths(cases, groups, analysis.cusum),
        adjudicated=read_blind,
    )
