"""What the pages say: counts, singular and plural, and no figure where there is none."""

from __future__ import annotations

import dataclasses

import pytest
from example_snapshot import example_cases, example_snapshot

from dashboards import figures, sentences
from dashboards.standing import LOOKS, Measure, Standing, rule_for, standing_of
from shadow.assessment.accuracy import proportion
from shadow.assessment.snapshot import Snapshot, Verdict

FULL = example_snapshot(example_cases())
EMPTY = example_snapshot(())


def planned(snapshot: Snapshot, positives: int) -> Snapshot:
    return dataclasses.replace(snapshot, planned_positives=positives)


def with_verdicts(snapshot: Snapshot, *verdicts: Verdict) -> Snapshot:
    judged = zip(snapshot.criteria, verdicts, strict=True)
    criteria = tuple(dataclasses.replace(one, verdict=verdict) for one, verdict in judged)
    return dataclasses.replace(snapshot, criteria=criteria)


def test_the_example_is_the_trial_that_the_pages_are_drawn_for() -> None:
    cell = FULL.worst_cell()
    assert cell is not None
    assert (cell.label, cell.sensitivity.count, cell.sensitivity.of) == ("Riverside CT-2, Night", 16, 31)
    assert FULL.overall.sensitivity.of == 171
    assert FULL.flow.broken_sums() == ()


def test_the_worst_cell_is_named_in_counts_against_the_rest() -> None:
    assert sentences.worst_cell(FULL) == (
        "Lowest sensitivity: **Riverside CT-2, Night**. The AI found **16 of 31 bleeds** "
        "(52%; 95% CI 35% to 68%); elsewhere 133 of 140 (95%)."
    )


def test_a_criterion_not_met_is_no_whatever_else_is_met() -> None:
    answer = sentences.readiness(planned(FULL, 100))
    assert answer.verdict is Verdict.NOT_MET
    assert answer.headline == "Not yet: 1 of 3 pre-registered criteria is not met"
    assert answer.sentence == ""


def test_before_the_planned_number_there_is_no_yes() -> None:
    met = with_verdicts(FULL, Verdict.MET, Verdict.MET, Verdict.MET)
    early = sentences.readiness(planned(met, 172))
    assert early.verdict is Verdict.NOT_YET_KNOWN
    assert early.headline == "Too early to judge: 171 of 172 bleeds confirmed"
    assert "1 more is to come" in early.sentence
    on_time = sentences.readiness(planned(met, 171))
    assert on_time.verdict is Verdict.MET
    assert on_time.headline == "Ready to be put forward: all 3 criteria are met"


def test_one_unknown_criterion_is_not_a_yes() -> None:
    unknown = with_verdicts(FULL, Verdict.MET, Verdict.NOT_YET_KNOWN, Verdict.NOT_YET_KNOWN)
    answer = sentences.readiness(planned(unknown, 10))
    assert answer.verdict is Verdict.NOT_YET_KNOWN
    assert answer.headline == "Not yet: 2 of 3 pre-registered criteria are not yet known"


def test_no_criterion_is_no_verdict() -> None:
    answer = sentences.readiness(dataclasses.replace(planned(FULL, 1), criteria=()))
    assert answer.verdict is Verdict.NOT_YET_KNOWN


def test_an_empty_trial_prints_no_figure_at_all() -> None:
    said = [
        sentences.worst_cell(EMPTY),
        sentences.accounting(EMPTY),
        sentences.readiness(EMPTY).headline,
        sentences.lowest(EMPTY, EMPTY.of_dimension("cell"), Measure.SENSITIVITY),
        sentences.lowest(EMPTY, EMPTY.of_dimension("cell"), Measure.SPECIFICITY),
        sentences.multiplicity(EMPTY.of_dimension("cell"), Measure.SENSITIVITY, 10),
        sentences.found_words(EMPTY, EMPTY.overall.sensitivity),
        figures.estimate_with_interval(EMPTY.overall.sensitivity),
        figures.share(EMPTY.overall.sensitivity),
    ]
    assert not any("0 of 0" in one or "nan" in one.lower() or "None" in one for one in said)


def test_the_accounting_sentence_adds_up() -> None:
    assert sentences.accounting(FULL) == (
        "All 1,461 studies received are accounted for: **15** excluded and **1,446** eligible. Of these, "
        "**1,356** have a final report and **90** are still waiting for one."
    )


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0%"),
        (0.004, "under 1%"),
        (0.006, "1%"),
        (0.994, "99%"),
        (0.995, "over 99%"),
        (0.9999, "over 99%"),
        (1.0, "100%"),
    ],
)
def test_only_all_is_a_hundred_percent_and_only_none_is_zero(share: float, words: str) -> None:
    assert figures.percent(share) == words


def test_one_case_is_not_called_bleeds() -> None:
    assert "1 of 1 confirmed case" in sentences.found_words(FULL, proportion(1, 1))
    assert "1 of 2 bleeds" in sentences.found_words(FULL, proportion(1, 2))


def test_the_reader_is_told_how_many_cells_were_looked_at() -> None:
    words = sentences.multiplicity(FULL.of_dimension("cell"), Measure.SENSITIVITY, 10)
    assert words.startswith("9 of 15 cells")
    assert "about 37%" in words  # 1 - 0.95 ** 9


def test_a_cell_with_too_few_positives_has_no_verdict() -> None:
    few = next(one for one in FULL.of_dimension("cell") if one.label == "Hillside CT-2, Night")
    assert standing_of(FULL, few, Measure.SENSITIVITY) is Standing.TOO_FEW
    assert standing_of(FULL, few, Measure.SPECIFICITY) is Standing.NOT_JUDGED


def test_what_no_rule_covers_is_not_called_not_yet_known() -> None:
    scanner = FULL.of_dimension("scanner")[0]
    assert standing_of(FULL, scanner, Measure.SENSITIVITY) is Standing.NOT_JUDGED
    assert standing_of(FULL, FULL.overall, Measure.SPECIFICITY) is Standing.MET


def test_the_floor_comes_from_the_rule_of_the_groups_scope() -> None:
    rule = rule_for(FULL, Measure.SENSITIVITY, "cell")
    assert rule is not None
    assert rule.identifier == "sensitivity-every-cell"
    assert rule.floor == 0.80
    assert rule_for(FULL, Measure.SPECIFICITY, "cell") is None


def test_every_verdict_differs_in_word_and_shape_and_colour() -> None:
    judged = [LOOKS[one] for one in (Standing.MET, Standing.NOT_YET_KNOWN, Standing.NOT_MET)]
    assert (
        len({one.shape for one in judged})
        == len({one.fill for one in judged})
        == len({one.icon for one in judged})
        == 3
    )


def test_pending_reports_bound_the_figure_by_everything_they_could_say() -> None:
    # 149 of 171 found; of 90 pending studies 15 are flagged: 149 / (171 + 75) to (149 + 15) / (171 + 15).
    assert FULL.sensitivity_if_pending is not None
    assert FULL.sensitivity_if_pending.lowest == pytest.approx(149 / 246)
    assert FULL.sensitivity_if_pending.highest == pytest.approx(164 / 186)
    assert "90 studies wait for a final report" in sentences.pending(FULL)
    assert "between 61% and 88%" in sentences.pending(FULL)
