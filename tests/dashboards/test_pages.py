"""The pages' logic, run by Streamlit itself without a browser."""

from __future__ import annotations

import dataclasses

import pytest
from example_snapshot import example_cases, example_snapshot, publish_example
from streamlit.testing.v1 import AppTest

from shadow.assessment.snapshot import ArchiveAsked
from shadow.assessment.snapshot_file import Published
from shadow.domain.home import Home
from shadow.store.accounts import Role


def overview() -> None:
    from dashboards.components.page_frame import opening
    from dashboards.views import overview

    published = opening(overview.QUESTION)
    if published is not None:
        overview.render(published.snapshot)


def subgroups() -> None:
    from dashboards.components.page_frame import opening
    from dashboards.views import subgroups

    published = opening(subgroups.QUESTION)
    if published is not None:
        subgroups.render(published)


def over_time() -> None:
    from dashboards.components.page_frame import opening
    from dashboards.views import over_time

    published = opening(over_time.QUESTION)
    if published is not None:
        over_time.render(published.snapshot)


def view(name: str) -> None:
    import importlib

    from dashboards.components.page_frame import opening

    module = importlib.import_module(f"dashboards.views.{name}")
    published = opening(module.QUESTION)
    if published is not None:
        module.render(published.snapshot)


def accounting(role: str) -> None:
    from dashboards.components.page_frame import opening
    from dashboards.views import accounting
    from shadow.store.accounts import Role

    published = opening(accounting.QUESTION)
    if published is not None:
        accounting.render(published, Role(role))


def ran(page: AppTest) -> AppTest:
    page.run(timeout=30)
    assert not page.exception
    return page


def words(page: AppTest) -> str:
    return "\n".join(one.value for one in (*page.markdown, *page.error, *page.info, *page.title))


@pytest.mark.parametrize("page", [overview, subgroups])
def test_before_any_snapshot_a_page_says_so_calmly(home: Home, page: object) -> None:
    tested = ran(AppTest.from_function(page))
    assert "Nothing is published yet" in words(tested)
    assert not tested.error


def test_a_snapshot_that_was_changed_is_not_shown(published: Published) -> None:
    file = published.cases.with_name("snapshot.json")
    file.write_bytes(file.read_bytes().replace(b'"planned_positives": 180', b'"planned_positives": 100'))
    tested = ran(AppTest.from_function(overview))
    assert "changed after it was published" in tested.error[0].value
    assert not tested.metric


def test_the_overview_answers_in_counts_of_the_snapshot(published: Published) -> None:
    tested = ran(AppTest.from_function(overview))
    said = words(tested)
    assert tested.title[0].value == "Is the AI ready to be switched on?"
    assert "Not yet: 1 of 3 pre-registered criteria is not met so far" in said
    assert "**16 of 31 bleeds**" in said
    assert [one.value for one in tested.metric] == ["1,446", "1,399", "90", "3.4 s"]


def test_the_overview_says_where_nobody_knows_what_never_came(home: Home) -> None:
    good = example_snapshot(example_cases())
    publish_example(home.snapshots, dataclasses.replace(good, completeness=None))
    assert "so nobody knows" in words(ran(AppTest.from_function(overview)))
    assert good.completeness is not None
    silent = dataclasses.replace(
        good.completeness, asked=(ArchiveAsked("hillside", None, 91), good.completeness.asked[1])
    )
    publish_example(home.snapshots, dataclasses.replace(good, completeness=silent))
    said = words(ran(AppTest.from_function(overview)))
    assert "The archive of Hillside has never answered" in said
    assert "91 days of sites have no answer" in said


def test_every_criterion_is_a_row_with_its_counts_and_its_status_in_words(published: Published) -> None:
    table = ran(AppTest.from_function(overview)).table[0].value
    assert list(table["Counts"]) == ["149 of 171", "1,035 of 1,170", "16 of 31"]
    assert ["Met" in one for one in table["Status"]] == [False, True, False]
    assert "Not yet known" in table["Status"].iloc[0] and "bleeds still needed" in table["Status"].iloc[0]
    assert "Not met" in table["Status"].iloc[2]
    assert table["Limits, closed weeks"].iloc[2].endswith("(n\u00a0=\u00a031)")


def test_a_broken_promise_stands_above_every_figure_and_takes_the_verdict_away(home: Home) -> None:
    snapshot = dataclasses.replace(example_snapshot(example_cases()), broken_promises=("study_in_no_state",))
    publish_example(home.snapshots, snapshot)
    tested = ran(AppTest.from_function(overview))
    assert "study in no state" in tested.error[0].value
    assert "Cannot be said" in words(tested)
    assert "pre-registered criteria" not in words(tested)


def test_sums_that_do_not_add_up_are_an_error_and_not_a_sentence(home: Home) -> None:
    good = example_snapshot(example_cases())
    publish_example(home.snapshots, dataclasses.replace(good, flow=dataclasses.replace(good.flow, received=1462)))
    tested = ran(AppTest.from_function(accounting, kwargs={"role": "reviewer"}))
    assert "1462 is not 1461" in tested.error[0].value
    assert "accounted for" not in words(tested)


def test_a_trial_without_a_study_prints_no_figure(home: Home) -> None:
    publish_example(home.snapshots, example_snapshot(()), ())
    for page in (overview, subgroups):
        tested = ran(AppTest.from_function(page))
        assert "nan" not in words(tested).lower()
        assert "0 of 0" not in words(tested)
    assert "No study has been received yet" in words(ran(AppTest.from_function(accounting, kwargs={"role": "viewer"})))


def test_choosing_specificity_changes_the_answer(published: Published) -> None:
    tested = ran(AppTest.from_function(subgroups))
    assert "The AI found" in words(tested)
    tested.segmented_control(key="measure").set_value("Specificity")
    assert "The AI cleared" in words(ran(tested))


def test_a_site_filter_leaves_the_other_site_out(published: Published) -> None:
    tested = ran(AppTest.from_function(subgroups))
    tested.multiselect(key="sites").set_value(["hillside"])
    said = words(ran(tested))
    assert "Lowest: **Hillside CT-1, Day**" in said
    assert "elsewhere 135 of 156" in said


def test_the_reader_is_told_of_many_cells_and_many_looks(published: Published) -> None:
    said = words(ran(AppTest.from_function(subgroups)))
    assert "9 of 15 cells" in said
    assert "looked at every day" in said


@pytest.mark.parametrize("role", list(Role))
def test_only_a_viewer_gets_no_list_of_cases(published: Published, role: Role) -> None:
    tested = ran(AppTest.from_function(accounting, kwargs={"role": role.value}))
    assert bool(tested.selectbox) == (role is not Role.VIEWER)
    assert not tested.dataframe


def test_the_table_beside_the_drawing_holds_the_same_counts(published: Published) -> None:
    tables = ran(AppTest.from_function(accounting, kwargs={"role": "viewer"})).table
    (table,) = (one.value for one in tables if "Stage" in one.value)
    counts = {(row.Stage, row.Box): row.Count for row in table.itertuples()}
    assert counts["Studies", "Received"] == "1,461"
    assert counts["Report: present", "Missed"] == "20"
    assert counts["Reports", "Messages quarantined"] == "3"


def test_accounting_says_which_studies_never_came_and_from_where(published: Published) -> None:
    tested = ran(AppTest.from_function(accounting, kwargs={"role": "viewer"}))
    (table,) = (one.value for one in tested.table if "Never came" in one.value)
    arrived = published.snapshot.completeness
    assert arrived is not None
    worst = next(one for one in arrived.rows if one.label == "Riverside CT-2, Night")
    row = table[table["Group"] == worst.label].iloc[0]
    assert row["Never came"] == str(worst.never)
    assert row["n"] == f"{worst.received.count} of {worst.listed}"
    assert row["Monitor"] == "▼ alarm"
    assert f"not all studies arrive from {arrived.alarms[0].label}" in words(tested)


def test_over_time_says_that_nothing_alarmed_and_what_an_alarm_would_take(published: Published) -> None:
    tested = ran(AppTest.from_function(over_time))
    said = words(tested)
    assert tested.title[0].value == "Is performance holding up?"
    alarms = published.snapshot.monitoring.alarms
    assert ("**No alarm.**" in said) is (not alarms)
    tested.selectbox(key="group").set_value("Riverside CT-2, Night")
    said = words(ran(tested))
    assert "**16 of 31 bleeds**" in said
    table = tested.table[0].value
    assert len(table) == 32 and "Riverside CT-2, Night" in set(table["Group"].iloc[:4])


def test_over_time_draws_nothing_of_a_group_with_few_cases(published: Published) -> None:
    tested = ran(AppTest.from_function(over_time))
    tested.selectbox(key="group").set_value("Hillside CT-2, Night")
    assert "too few to draw" in ran(tested).info[0].value


def test_over_time_before_the_first_case_promises_nothing(home: Home) -> None:
    publish_example(home.snapshots, example_snapshot(()), ())
    said = words(ran(AppTest.from_function(over_time)))
    assert "nothing is monitored yet" in said and "nan" not in said.lower()


def test_the_cause_that_stands_out_is_named_as_a_hypothesis(published: Published) -> None:
    tested = ran(AppTest.from_function(subgroups))
    said = words(tested)
    assert (
        "Misses gather in **slices of 10 mm** (the same studies: kernel STD+, 140 kVp): 16 of 60 bleeds missed" in said
    )
    assert "Of the 15 misses of Riverside CT-2, Night, 15 lie in it." in said
    assert "New data must confirm it" in said


def test_nothing_that_stands_out_is_said_to_be_nothing(home: Home) -> None:
    snapshot = example_snapshot(example_cases())
    quiet = dataclasses.replace(snapshot.exploration, slices=snapshot.exploration.slices[1:])
    publish_example(home.snapshots, dataclasses.replace(snapshot, exploration=quiet))
    said = words(ran(AppTest.from_function(subgroups)))
    assert "Nothing stands out after looking at 21 slices" in said and "Misses gather in" not in said


EVIDENCE_PAGES = ("all_figures", "calibration", "comparison", "drift", "worklist")


def cells(page: AppTest) -> str:
    return "\n".join(one.value.to_string() for one in page.table)


@pytest.mark.parametrize("name", EVIDENCE_PAGES)
def test_a_page_of_evidence_says_what_is_missing_before_there_is_any(home: Home, name: str) -> None:
    publish_example(home.snapshots, example_snapshot(()), ())
    said = words(ran(AppTest.from_function(view, args=(name,))))
    assert any(one in said for one in ("yet", "Nothing to", "No calibration", "No final report")), said


def test_all_figures_carry_their_n_and_how_they_were_found(published: Published) -> None:
    page = ran(AppTest.from_function(view, args=("all_figures",)))
    table = cells(page)
    for words_of_row in ("149 of 171", "Mercaldo", "Obuchowski", "standardised"):
        assert words_of_row in table
    assert "Early reports are the easy cases" in words(page)
    delayed = published.snapshot.evidence.delayed
    assert delayed.weighted is not None and f"{delayed.weighted:.0%}" in words(page)


def test_calibration_gives_a_verdict_and_says_that_a_threshold_is_a_what_if(published: Published) -> None:
    page = ran(AppTest.from_function(view, args=("calibration",)))
    said = words(page)
    assert "Not calibrated" in said and "What-if only" in said and "of 1,000 scans" in said
    before = next(one.value for one in page.markdown if "of 1,000 scans" in one.value)
    options = page.select_slider(key="threshold").options
    page.select_slider(key="threshold").set_value(published.snapshot.evidence.thresholds.points[0].threshold)
    after = next(one.value for one in ran(page).markdown if "of 1,000 scans" in one.value)
    assert len(options) > 10 and after != before


def test_the_comparison_counts_who_found_what(published: Published) -> None:
    page = ran(AppTest.from_function(view, args=("comparison",)))
    sensitivity = published.snapshot.evidence.comparisons[0].sensitivity
    assert f"both found {sensitivity.both}, only the challenger {sensitivity.challenger_only}" in words(page)
    assert "counted and kept: 3 unknown value" in words(page)
    assert "sensitivity is not shown to be non-inferior and its specificity is non-inferior" in words(page)
    assert f"{sensitivity.both + sensitivity.champion_only} of {sensitivity.of}" in cells(page)


def test_drift_is_never_shown_without_its_caveat(published: Published) -> None:
    page = ran(AppTest.from_function(view, args=("drift",)))
    assert published.snapshot.evidence.drift.caveat in words(page)
    assert "No sign of change" in words(page)
    assert all(one.caveat in words(page) for one in published.snapshot.evidence.drift.unlabelled)


def test_the_worklist_says_what_others_lose(published: Published) -> None:
    said = words(ran(AppTest.from_function(view, args=("worklist",))))
    assert "minutes earlier" in said and "minutes later" in said


def test_subgroups_say_whether_groups_differ(published: Published) -> None:
    page = ran(AppTest.from_function(subgroups))
    assert "Sensitivity differs between" in words(page)
    assert "Riverside CT-2, Night" in cells(page) and "listed" in cells(page)


def test_the_cusum_is_told_where_the_protocol_asks_for_it(published: Published) -> None:
    page = ran(AppTest.from_function(over_time))
    assert "without the family's guarantee" in words(page) and "at case 56" in cells(page)


def adjudication(role: str) -> None:
    from dashboards.components.page_frame import opening
    from dashboards.views import adjudication
    from shadow.store.accounts import Role

    published = opening(adjudication.QUESTION)
    if published is not None:
        adjudication.render(published.snapshot, Role(role))


def test_adjudication_says_what_reports_and_ai_miss_and_adds_up(published: Published) -> None:
    found = published.snapshot.evidence.adjudicated
    assert found is not None
    places = (found.under_embargo, found.unread, found.read_once, found.differ, found.settled)
    assert sum(places) == found.drawn == sum(one.drawn for one in found.kinds)
    tested = ran(AppTest.from_function(adjudication, kwargs={"role": "viewer"}))
    assert [one.value for one in tested.metric] == [f"{one:,}" for one in (found.drawn, *places)]
    assert "the reports name" in words(tested) and "resting on" in words(tested)
    assert "Share read" in tested.table[-1].value.columns


def test_who_still_reads_is_not_told_which_studies_were_drawn(published: Published) -> None:
    tested = ran(AppTest.from_function(adjudication, kwargs={"role": "reviewer"}))
    assert all("Share read" not in one.value.columns for one in tested.table)
    assert "does not see which studies were drawn" in words(tested)


def test_a_protocol_without_blinded_reading_says_what_that_means(home: Home) -> None:
    good = example_snapshot(example_cases())
    evidence = dataclasses.replace(good.evidence, adjudicated=None)
    publish_example(home.snapshots, dataclasses.replace(good, evidence=evidence))
    tested = ran(AppTest.from_function(adjudication, kwargs={"role": "viewer"}))
    assert "sensitivity is too high" in words(tested) and not tested.metric
