"""Evidence from real events: the same cases in every figure, challengers by the champion's rules, vendors too."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from test_cohorts import MONDAY, case
from test_linkage import PROTOCOL, linked, report, study

from shadow.assessment.analysed import AnalysedCases, analysed_cases
from shadow.assessment.champion import champion_figures
from shadow.assessment.cohorts import weekly_cohorts
from shadow.assessment.comparison import ChallengerAnswers, compare, read_challengers
from shadow.assessment.delayed_reports import delayed_reports, reference_what_ifs
from shadow.protocol.trial import ModelUnderTrial, Role, TrialProtocol
from shadow.protocol.vendor import ResultCoding, VendorProduct
from shadow.store.events import Event, PredictionLocked, VendorResult

CODING = ResultCoding("result", ("POS",), ("NEG",), accession="accession")
VENDOR = ModelUnderTrial("acme-ich", Role.CHALLENGER, vendor=VendorProduct("Acme ICH", "3.2", csv=CODING))
RIVAL = ModelUnderTrial("rival", Role.CHALLENGER, contract="rival/model.toml", sha256="c" * 64)
WITH_BOTH = replace(PROTOCOL, models=(PROTOCOL.champion, VENDOR, RIVAL))
UNTIL = MONDAY + timedelta(days=120)


def vendor_result(
    number: str, positive: bool | None, *, key: str = "accession", score: float | None = None, source: str = "0"
) -> VendorResult:
    return VendorResult(
        model=VENDOR.identifier,
        model_sha256=VENDOR.digest,
        channel="csv",
        site="riverside",
        study_key=number if key == "study" else None,
        accession_key=None if key == "study" else f"A-{number}",
        index_test_positive=positive,
        score=score,
        failure_reason="product_failed" if positive is None else None,
        received_at=MONDAY,
        source_sha256=source * 64,
    )


def before_report(events: list[Event], *more: Event) -> list[Event]:
    """The events of a case with others between its prediction and its report."""
    return [*events[:2], *more, *events[2:]]


def analysed(
    folder: Path, events: list[Event], protocol: TrialProtocol = WITH_BOTH
) -> tuple[AnalysedCases, tuple[ChallengerAnswers, ...]]:
    with linked(folder, *events, protocol=protocol) as connection:
        cohorts = weekly_cohorts(connection, protocol, UNTIL)
        return analysed_cases(connection, protocol, UNTIL, cohorts.closed), read_challengers(connection, protocol)


def test_a_vendors_first_result_counts_and_only_where_it_came_before_the_report(tmp_path: Path) -> None:
    events = [
        *before_report(case("1", 0, "present", 0.1), vendor_result("1", True), vendor_result("1", False, source="1")),
        *case("2", 1, "present", 0.9),
        vendor_result("2", True),  # after the report: late
        *before_report(case("3", 2, "absent", 0.1), vendor_result("3", True, key="study", score=0.7)),
        *before_report(case("4", 3, "present", 0.9), vendor_result("4", None)),
    ]
    cases, (vendor, rival) = analysed(tmp_path, events)
    assert [str(one) for one in cases.study] == ["1", "2", "3", "4"]
    assert vendor.evaluable.tolist() == [True, False, True, False]
    assert vendor.found.tolist() == [True, False, True, False]
    assert vendor.score[2] == 0.7 and np.isnan(vendor.score[[0, 1, 3]]).all()
    assert not rival.evaluable.any()
    found = compare(cases, vendor, (), 0.05)
    sensitivity = found.sensitivity
    assert (sensitivity.both, sensitivity.champion_only, sensitivity.challenger_only, sensitivity.neither) == (
        0,
        2,
        1,
        0,
    )
    assert (found.answered, found.eligible) == (2, 4)
    assert (found.specificity.champion_only, found.specificity.of) == (1, 1)


def test_another_version_of_the_product_is_another_model(tmp_path: Path) -> None:
    newer = replace(VENDOR, vendor=VendorProduct("Acme ICH", "3.3", csv=CODING))
    protocol = replace(PROTOCOL, models=(PROTOCOL.champion, newer))
    events = before_report(case("1", 0, "present", 0.1), vendor_result("1", True))
    _, (vendor,) = analysed(tmp_path, events, protocol)
    assert not vendor.evaluable.any()


def test_a_challenger_that_runs_here_is_compared_on_the_same_studies(tmp_path: Path) -> None:
    events: list[Event] = []
    for number in range(12):
        right = number % 3 > 0
        answer = PredictionLocked(
            str(number), 1, "rival", "c" * 64, "2.25.1", 16, "0" * 64, 0.9, 0.5, True, (), (1.0, 2.0)
        )
        events += before_report(case(str(number), number, "present", 0.9 if right else 0.1), answer)
    cases, (_, rival) = analysed(tmp_path, events)
    found = compare(cases, rival, (), None)
    assert (found.sensitivity.both, found.sensitivity.challenger_only) == (8, 4)
    assert found.sensitivity.difference == pytest.approx(4 / 12)
    assert found.sensitivity.non_inferior is None and found.product == "rival"
    assert found.sensitivity.p_value == pytest.approx(0.0625)  # mid-p of 4 of 4: 2 * 0.5**4 / 2


def test_the_champions_input_summary_reaches_the_columns(tmp_path: Path) -> None:
    events = case("1", 0, "present", 0.9)
    events[1] = replace(events[1], input_summary=(16.0, 0.5))  # type: ignore[type-var]
    cases, _ = analysed(tmp_path, [*events, *case("2", 1, "absent", 0.1)])
    assert cases.summary[0].tolist() == [16.0, 0.5] and np.isnan(cases.summary[1]).all()


def test_patients_and_episodes_are_counted_apart_from_studies(tmp_path: Path) -> None:
    events = [
        *case("1", 0, "present", 0.1, "ann"),
        *case("2", 3, "present", 0.9, "ann"),
        *case("3", 30, "present", 0.1, "ann"),
        *case("4", 1, "present", 0.9, "bob"),
        *case("5", 1, "absent", 0.1, "cy"),
    ]
    cases, _ = analysed(tmp_path, events)
    figures = {one.identifier: one for one in champion_figures(cases, WITH_BOTH.analysis)}
    assert (figures["sensitivity"].count, figures["sensitivity"].of) == (2, 4)
    assert (figures["sensitivity_per_patient"].count, figures["sensitivity_per_patient"].of) == (2, 2)
    assert (figures["sensitivity_per_episode"].count, figures["sensitivity_per_episode"].of) == (2, 3)
    assert (figures["specificity"].count, figures["specificity"].of) == (1, 1)


def test_what_is_still_pending_is_weighed_and_bounded(tmp_path: Path) -> None:
    """Misses are reported late: without weights the labelled so far flatter the model."""
    events: list[Event] = []
    for number in range(60):
        found = number % 2 == 0
        events += case(str(number), number, "present", 0.9 if found else 0.1)
        if not found and number >= 20:
            del events[-2:]
    cases, _ = analysed(tmp_path, events)
    delay = np.where(cases.pending, np.nan, np.where(cases.found, 1.0, 60.0))
    delayed = delayed_reports(replace(cases, delay_days=np.minimum(delay, cases.age_days)), (), WITH_BOTH)
    assert delayed.unweighted is not None and delayed.weighted is not None
    assert delayed.unweighted == pytest.approx(30 / 40)
    assert delayed.weighted < delayed.unweighted


def test_the_true_sensitivity_inverts_the_apparent_one() -> None:
    from shadow.assessment.statistics.reference_error import apparent_sensitivity

    (found,) = reference_what_ifs(90, 100, (0.6,), (0.8, 0.95))
    assert apparent_sensitivity(found.sensitivity, 1.0, 0.6) == pytest.approx(0.9)
    assert found.lower < found.sensitivity < found.upper


def test_a_study_without_an_accession_is_not_given_anothers_result(tmp_path: Path) -> None:
    alone = case("1", 0, "present", 0.1)
    alone[0] = replace(study("1"), acquired_at=MONDAY, accession_key=None)
    _, (vendor, _) = analysed(tmp_path, [*alone[:2], vendor_result("2", True)])
    assert not vendor.evaluable.any()


def test_an_addendum_that_mentions_the_model_takes_its_study_out_of_the_blinded_figure(tmp_path: Path) -> None:
    addendum = replace(report("1", "C", 2), mentions_model=True, reported_at=MONDAY + timedelta(days=1))
    events = [*case("1", 0, "present", 0.9), addendum, *case("2", 1, "present", 0.9), *case("3", 2, "absent", 0.1)]
    cases, _ = analysed(tmp_path, events)
    assert cases.mentions_model.tolist() == [True, False, False]
    figures = {one.identifier: one for one in champion_figures(cases, PROTOCOL.analysis)}
    assert (figures["sensitivity"].of, figures["sensitivity_unmentioned"].of) == (2, 1)
