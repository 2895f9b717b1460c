"""Champion and challengers on the same studies, vendor's products among them on the same terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from shadow.assessment.analysed import AnalysedCases, Booleans, Floats
from shadow.assessment.evidence import (
    Comparison,
    PairedArea,
    PairedFigure,
    PairedGroup,
    RelativePredictiveValue,
    UnreadResult,
)
from shadow.assessment.statistics.paired import PairedCounts, mcnemar_mid_p, non_inferiority, paired_counts, tango
from shadow.assessment.statistics.paired_predictive import PredictiveValues, compare_predictive_values
from shadow.assessment.statistics.paired_sequential import challenger_evidence
from shadow.assessment.statistics.roc import compare_areas
from shadow.assessment.subgroups import label_of
from shadow.domain.project import sql
from shadow.protocol.site import Site
from shadow.protocol.trial import ModelUnderTrial, TrialProtocol


@dataclass(frozen=True, slots=True)
class ChallengerAnswers:
    """What one challenger said, an entry a study as in `AnalysedCases`; shapes (studies,).

    Attributes:
        evaluable: has a result in time. found: a positive one. score: NaN without one.
    """

    model: ModelUnderTrial
    evaluable: Booleans
    found: Booleans
    score: Floats


def read_challengers(connection: duckdb.DuckDBPyConnection, protocol: TrialProtocol) -> tuple[ChallengerAnswers, ...]:
    """The answers of every challenger, in the protocol's order. `linkage.link` has run on `connection`."""
    window = {"window_start": protocol.index_window_start, "window_end": protocol.index_window_end}
    answers = []
    for model in protocol.challengers:
        columns = connection.execute(
            sql("queries/assessment/challenger_case.sql"),
            {"model": model.identifier, "model_sha256": model.digest, **window},
        ).fetchnumpy()
        evaluable = np.asarray(columns["evaluable"], dtype=bool)
        called = np.asarray(columns["called"], dtype=bool)
        score = np.ma.filled(np.ma.asarray(columns["score"], dtype=np.float64), np.nan)
        answers.append(ChallengerAnswers(model, evaluable, evaluable & called, score))
    return tuple(answers)


def read_unread(connection: duckdb.DuckDBPyConnection) -> tuple[UnreadResult, ...]:
    """Results of vendors' products that could not be read, by reason."""
    rows = connection.execute(sql("queries/assessment/vendor_quarantine.sql")).fetchall()
    return tuple(UnreadResult(reason, count) for reason, count in rows)


def compare(
    cases: AnalysedCases, challenger: ChallengerAnswers, sites: Sequence[Site], margin: float | None
) -> Comparison:
    """One challenger against the champion, over closed weeks and one study a patient; `margin` from the protocol."""
    model, evaluable, found, score = challenger.model, challenger.evaluable, challenger.found, challenger.score
    counted = cases.closed & cases.first
    present, absent = counted & cases.present, counted & cases.absent
    sensitivity = paired_counts(cases.found[present], found[present])
    # A challenger's failure raises no alert, and neither does the champion's.
    specificity = paired_counts(~cases.found[absent], ~found[absent])
    return Comparison(
        challenger=model.identifier,
        product=f"{model.vendor.product} {model.vendor.version}" if model.vendor else model.identifier,
        vendor=model.vendor is not None,
        answered=int((cases.closed & evaluable).sum()),
        eligible=int(cases.closed.sum()),
        margin=margin,
        sensitivity=_paired(sensitivity, margin, _order(cases.found[present], found[present])),
        specificity=_paired(specificity, margin, _order(~cases.found[absent], ~found[absent])),
        groups=_groups(cases, found, present, sites),
        predictive=_predictive(sensitivity, specificity),
        area=_area(cases, score, counted),
    )


def _order(champion_right: Booleans, challenger_right: Booleans) -> list[bool]:
    """The discordant pairs in index order: whether the challenger was the one that was right."""
    differ = champion_right != challenger_right
    return [bool(one) for one in challenger_right[differ]]


def _paired(counts: PairedCounts, margin: float | None, discordant: list[bool]) -> PairedFigure:
    parts = (counts.both, counts.champion_only, counts.challenger_only, counts.neither)
    if not counts.studies:
        return PairedFigure(*parts, None, None, None, None, None, None)
    limits = tango(counts)
    verdict = None if margin is None else non_inferiority(counts, margin).non_inferior
    return PairedFigure(
        *parts,
        difference=counts.difference,
        lower=limits.lower,
        upper=limits.upper,
        p_value=mcnemar_mid_p(counts),
        non_inferior=verdict,
        anytime_p=_anytime(discordant),
    )


def _anytime(discordant: list[bool]) -> float:
    """Two-sided: the smaller of both directions, doubled."""
    better = challenger_evidence(discordant).p_value
    worse = challenger_evidence([not one for one in discordant]).p_value
    return min(1.0, 2 * min(better, worse))


def _groups(cases: AnalysedCases, found: Booleans, present: Booleans, sites: Sequence[Site]) -> tuple[PairedGroup, ...]:
    shifts = [("shift", "", "", shift) for shift in sorted(set(cases.shift[present]))]
    scanners = sorted(set(zip(cases.site[present], cases.scanner[present], strict=True)))
    groups = []
    for place in (*shifts, *(("scanner", site, scanner, "") for site, scanner in scanners)):
        rows = present & (cases.shift == place[3]) if place[0] == "shift" else present & (cases.scanner == place[2])
        one = paired_counts(cases.found[rows], found[rows])
        groups.append(
            PairedGroup(label_of(place, sites), one.both, one.champion_only, one.challenger_only, one.neither)
        )
    return tuple(groups)


def _predictive(sensitivity: PairedCounts, specificity: PairedCounts) -> tuple[RelativePredictiveValue, ...]:
    """`specificity` counts who kept silent; predictive values want who called a study without the condition."""
    found = compare_predictive_values(sensitivity, specificity.negatives())
    pairs = (("Of the flagged, with the condition", found.positive), ("Of the not flagged, without it", found.negative))
    return tuple(_relative(name, one) for name, one in pairs if one is not None)


def _relative(name: str, one: PredictiveValues) -> RelativePredictiveValue:
    relative = one.relative
    return RelativePredictiveValue(
        name,
        one.champion,
        one.challenger,
        relative.ratio if relative else None,
        relative.limits.lower if relative else None,
        relative.limits.upper if relative else None,
        one.score.p_value if one.score else None,
    )


def _area(cases: AnalysedCases, score: Floats, counted: Booleans) -> PairedArea | None:
    used = counted & (cases.present | cases.absent) & ~np.isnan(cases.score) & ~np.isnan(score)
    truth = cases.present[used]
    if truth.sum() < 2 or (~truth).sum() < 2:
        return None
    found = compare_areas(truth, cases.score[used], score[used], cases.patient[used].astype(str))
    return PairedArea(
        champion=found.first.area,
        challenger=found.second.area,
        difference=found.difference,
        lower=found.limits.lower,
        upper=found.limits.upper,
        p_value=found.p_value,
        positives=int(truth.sum()),
        negatives=int((~truth).sum()),
    )
