"""Each part of the evidence on cases written out by hand, with the answer known beforehand."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from shadow.assessment.analysed import AnalysedCases
from shadow.assessment.champion import champion_figures
from shadow.assessment.comparison import ChallengerAnswers, compare
from shadow.assessment.cusum import limit_for, risk_adjusted_paths
from shadow.assessment.input_drift import input_drift
from shadow.assessment.score_calibration import score_calibration, threshold_what_if
from shadow.assessment.snapshot import Group, MaturedCounts, Proportion, Verdict
from shadow.assessment.worklist import replay
from shadow.protocol.analysis import Analysis, ExpectedSensitivity, RiskAdjustedCusum
from shadow.protocol.trial import ModelUnderTrial, Role, read_trial

PROTOCOL = read_trial(Path(__file__).parents[2] / "configs" / "trials" / "demo-head-ct.toml")
NONE = Proportion(0, 0, None, None, None)
ALL = Group("all", "", "", "", "All studies", 0, 0, 0, 0, 0, NONE, NONE, NONE, NONE, MaturedCounts(0, 0, 0, 0), False,
            Verdict.NOT_YET_KNOWN)  # fmt: skip
RIVAL = ModelUnderTrial("rival", Role.CHALLENGER, "rival.toml", "0" * 64)


def cases(size: int, **given: object) -> AnalysedCases:
    """So many labelled negatives of one scanner that were cleared in time, a study a day; `given` replaces columns."""
    yes, no, nothing = np.ones(size, dtype=bool), np.zeros(size, dtype=bool), np.full(size, np.nan)

    def text(value: str) -> np.ndarray:
        return np.array([value] * size, dtype=object)

    day = np.arange(size, dtype=float)
    columns: dict[str, object] = {
        "study": np.array([f"S{n}" for n in range(size)], dtype=object),
        "patient": np.array([f"P{n}" for n in range(size)], dtype=object),
        "site": text("riverside"), "scanner": text("riverside-ct-1"), "shift": text("Day"),
        "found": no, "evaluable": yes, "answered": yes, "present": no, "absent": yes, "pending": no,
        "indeterminate": no, "not_mentioned": no, "latest_present": no, "latest_absent": yes,
        "score": nothing, "summary": np.empty((size, 0)), "age_years": np.full(size, 60.0),
        "thickness_mm": np.full(size, 5.0), "kvp": np.full(size, 120.0), "kernel": text("H30"),
        "week": (day // 7).astype(np.int64), "closed": yes, "index_day": day, "age_days": 400 - day,
        "delay_days": np.ones(size), "turnaround_days": np.ones(size), "reported_after": np.full(size, 60.0),
        "locked_after": np.full(size, 0.1), "first": yes, "mentions_model": no,
    }  # fmt: skip
    assert set(columns) == {one.name for one in fields(AnalysedCases)}
    return AnalysedCases(**(columns | given))  # type: ignore[arg-type]


def flags(text: str) -> np.ndarray:
    return np.array([one == "1" for one in text])


def test_predictive_values_are_those_of_each_models_own_calls() -> None:
    present, champion, rival = flags("1111000000"), flags("1110110000"), flags("1101100000")
    given = cases(10, present=present, absent=~present, found=champion)
    found = compare(given, ChallengerAnswers(RIVAL, np.ones(10, bool), rival, np.full(10, np.nan)), (), None)
    positive, negative = found.predictive
    assert (positive.champion, positive.challenger) == (3 / 5, 3 / 4)
    assert (negative.champion, negative.challenger) == (4 / 5, 5 / 6)
    assert (found.specificity.both, found.specificity.champion_only, found.specificity.challenger_only) == (4, 0, 1)


def test_only_closed_weeks_and_first_studies_are_compared() -> None:
    given = cases(4, present=flags("1111"), absent=flags("0000"), closed=flags("1110"), first=flags("1101"))
    found = compare(given, ChallengerAnswers(RIVAL, flags("1111"), flags("1111"), np.full(4, np.nan)), (), 0.05)
    assert (found.sensitivity.of, found.eligible) == (2, 3)


def test_one_sites_flags_do_not_reorder_anothers_worklist() -> None:
    """At Riverside nothing is flagged; at Hillside the last of three is, and goes first."""
    minute = np.array([0.0, 0.1, 0.2, 0.0, 0.1, 0.2])
    site = np.array(["riverside"] * 3 + ["hillside"] * 3, dtype=object)
    given = cases(
        6, site=site, index_day=minute / 1440, reported_after=np.array([60.0, 90, 120, 60, 90, 120]) - minute,
        found=flags("000001"), present=flags("001001"), absent=flags("110110"),
    )  # fmt: skip
    found = replay(given, 1.0)
    whole = {one.present: one for one in found.changes if one.shift == "all"}
    assert whole[True].mean * 2 == pytest.approx(60, abs=0.01)  # one of the two with the condition gains an hour
    assert whole[False].mean * 4 == pytest.approx(-60, abs=0.01)
    assert found.flag_minutes == pytest.approx(1.1)


def test_a_flag_that_comes_after_the_report_saves_nothing() -> None:
    given = cases(3, index_day=np.zeros(3), found=flags("001"), present=flags("001"), absent=flags("110"),
                  reported_after=np.array([10.0, 20, 30]))  # fmt: skip
    assert all(one.mean == 0 for one in replay(given, 45.0).changes)
    assert any(one.mean > 0 for one in replay(given, 0.0).changes)


def test_a_shift_of_scores_and_a_rise_of_failures_are_seen_and_the_reference_is_the_first_weeks() -> None:
    size = 210
    generator = np.random.default_rng(5)
    later = np.arange(size) >= 4 * 7 * 3
    week = (np.arange(size) // 21).astype(np.int64)
    score = np.where(later, generator.beta(4, 2, size), generator.beta(2, 4, size))
    answered = ~(later & (np.arange(size) % 4 == 0))
    given = cases(size, week=week, score=score, answered=answered, summary=score[:, None] * [1.0, 0.5])
    rows = {(one.kind, one.what): one for one in input_drift(given, [ALL], 4, 0.5, 10, False).rows}
    failures, middle = rows["quality", "no result (failed or missing)"], rows["score", "score, median"]
    assert (failures.reference_cases, failures.current_cases) == (84, 126)
    assert failures.outside and failures.watch and failures.reference == 0.0
    assert middle.outside and middle.watch and middle.reference is not None and middle.current is not None
    assert middle.reference < middle.current
    for what in ("kernel test", "classifier"):
        row = rows["input", f"summary of the images, {what}"]
        assert row.outside and row.watch
    assert rows["score", "score, by fifths of the reference"].watch
    assert not rows["quality", "a header value is missing"].outside


def test_nothing_is_compared_before_the_reference_weeks_are_over() -> None:
    assert input_drift(cases(40), [ALL], 10, 0.5, 6, False).rows == ()


def test_what_takes_the_score_for_a_probability_needs_a_calibrated_one() -> None:
    generator = np.random.default_rng(8)
    score = generator.random(300)
    present = generator.random(300) < score
    given = cases(300, score=score, present=present, absent=~present, found=score >= 0.5,
                  week=(np.arange(300) // 30).astype(np.int64))  # fmt: skip
    plain = {one.name for one in input_drift(given, [ALL], 4, 0.5, 10, False).unlabelled}
    trusted = {one.name for one in input_drift(given, [ALL], 4, 0.5, 10, True).unlabelled}
    assert len(plain) == 1 and len(trusted) == 3
    held = {one.name: one.watch for one in input_drift(given, [ALL], 4, 0.5, 10, True).unlabelled}
    assert set(held.values()) == {False}, "nothing changed"


def test_what_is_estimated_from_scores_is_watched_with_them() -> None:
    generator = np.random.default_rng(8)
    week = (np.arange(300) // 30).astype(np.int64)
    score = np.where(week < 4, generator.beta(2, 5, 300), generator.beta(5, 2, 300))
    present = generator.random(300) < score
    given = cases(300, score=score, present=present, absent=~present, found=score >= 0.5, week=week)
    drift = input_drift(given, [ALL], 4, 0.5, 10, True)
    assert {one.watch for one in drift.unlabelled} == {True}
    unmoved = replace(given, score=np.tile(score[:30], 10), found=np.tile(score[:30] >= 0.5, 10))
    quiet = input_drift(unmoved, [ALL], 4, 0.5, 10, True)
    assert not [one.what for one in quiet.rows if one.watch]


def test_a_calibrated_score_fits() -> None:
    generator = np.random.default_rng(8)
    score = generator.random(300)
    present = generator.random(300) < score
    given = cases(300, score=score, present=present, absent=~present, found=score >= 0.5)
    calibration = score_calibration(given)
    assert calibration is not None and calibration.fits and calibration.events == int(present.sum())


def test_calibration_is_not_asked_of_a_score_that_is_no_probability() -> None:
    present = flags("10" * 20)
    given = cases(40, score=np.linspace(-3, 3, 40), present=present, absent=~present)
    assert score_calibration(given) is None


def test_another_threshold_finds_and_flags_what_it_says_and_failures_stay_missed() -> None:
    present = flags("11110000")
    given = cases(
        8, score=np.array([0.9, 0.6, 0.3, np.nan, 0.8, 0.4, 0.2, 0.1]), present=present, absent=~present,
        evaluable=flags("11101111"), answered=flags("11101111"),
    )  # fmt: skip
    found = threshold_what_if(given, 0.5)
    assert found is not None and (found.present, found.absent) == (4, 4)
    point = next(one for one in found.points if one.threshold == 0.5)
    assert (point.found, point.flagged) == (2, 1)
    lowest = found.points[0]
    assert (lowest.found, lowest.flagged) == (3, 4)


def test_the_cusum_expects_what_the_protocol_says_of_each_age() -> None:
    rule = RiskAdjustedCusum(2.0, 200, (ExpectedSensitivity(18, 60, 0.9), ExpectedSensitivity(60, 120, 0.7)))
    present = np.ones(20, dtype=bool)
    given = cases(20, present=present, absent=~present, found=present, age_years=np.array([40.0] * 10 + [70.0] * 10))
    (path,) = risk_adjusted_paths(given, [ALL], rule)
    assert path.expected_missed == pytest.approx(10 * 0.1 + 10 * 0.3)
    assert (path.missed, path.value, path.signalled_case) == (0, 0.0, None)
    (bad,) = risk_adjusted_paths(replace(given, found=~present), [ALL], rule)
    assert bad.signalled_case is not None and bad.value > bad.limit
    assert path.run_length >= 200 > path.run_length_worse
    assert limit_for(0.2, 2.0, 200.0) == path.limit
    assert risk_adjusted_paths(given, [ALL], None) == ()


def test_what_the_protocol_decided_about_reports_is_also_shown_decided_otherwise() -> None:
    """Six studies: found, missed, doubtful and flagged, doubtful and not, silent and cleared, found by a correction."""
    given = cases(
        6,
        present=flags("110000"),
        absent=flags("000011"),
        found=flags("101001"),
        indeterminate=flags("001100"),
        not_mentioned=flags("000010"),
        latest_present=flags("110001"),
        latest_absent=flags("000010"),
    )
    found = {one.identifier: (one.count, one.of) for one in champion_figures(given, Analysis())}
    assert found["sensitivity"] == (1, 2) and found["specificity"] == (1, 2)
    assert found["sensitivity_latest"] == (2, 3) and found["specificity_latest"] == (1, 1)
    assert found["sensitivity_doubt_present"] == (2, 4)
    assert found["specificity_doubt_absent"] == (2, 4)
    assert found["specificity_said"] == (0, 1)
    silent_is_doubt = replace(given, absent=flags("000001"), indeterminate=flags("001110"))
    found = {one.identifier: (one.count, one.of) for one in champion_figures(silent_is_doubt, Analysis())}
    assert found["specificity_unsaid_absent"] == (1, 2)


def test_sensitivity_is_also_given_without_the_reports_that_mention_the_model() -> None:
    present, found, told = flags("11110000"), flags("11010000"), flags("10001000")
    given = cases(8, present=present, absent=~present, found=found, mentions_model=told)
    figures = {one.identifier: one for one in champion_figures(given, PROTOCOL.analysis)}
    assert (figures["reports_mention_model"].count, figures["reports_mention_model"].of) == (2, 8)
    assert (figures["sensitivity_unmentioned"].count, figures["sensitivity_unmentioned"].of) == (2, 3)
    silent = champion_figures(replace(given, mentions_model=flags("00000000")), PROTOCOL.analysis)
    assert not any(one.identifier == "sensitivity_unmentioned" for one in silent)
