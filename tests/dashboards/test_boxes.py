"""The study flow: boxes that add up, and lists that never show a study whose report is not final."""

from __future__ import annotations

import pytest
from example_snapshot import example_cases, example_snapshot

from dashboards import boxes
from dashboards.components.study_flow import LONGEST_REASONS, WIDTH, layout
from shadow.assessment.snapshot import Flow, Reason, ReferenceState
from shadow.assessment.snapshot_file import Published

FLOW = example_snapshot(example_cases()).flow


def test_each_row_of_boxes_holds_every_eligible_study_once() -> None:
    for row in (boxes.BY_INDEX, boxes.BY_REFERENCE):
        assert sum(box.count(FLOW) for box in row) == FLOW.eligible


def test_found_missed_and_no_result_make_up_the_studies_reported_present() -> None:
    present, absent = boxes.BY_REFERENCE[:2]
    assert sum(box.count(FLOW) for box in boxes.OF_PRESENT) == present.count(FLOW) == 171
    assert sum(box.count(FLOW) for box in boxes.OF_ABSENT) == absent.count(FLOW) == 1170


@pytest.mark.parametrize("box", boxes.LISTABLE, ids=lambda box: box.key)
def test_a_box_lists_its_studies_with_a_final_report_and_no_other(box: boxes.Box, published: Published) -> None:
    cases = boxes.read_cases(published.cases, box)
    expected = {
        one.study_key
        for one in example_cases()
        if one.index_state in box.index_states
        and one.reference_state in box.reference_states
        and one.reference_state != "pending"
    }
    assert {one.study_key for one in cases} == expected
    assert len(cases) == box.listed_count(FLOW)
    assert all(one.reference_state is not ReferenceState.PENDING for one in cases)


def test_studies_waiting_for_a_report_can_be_counted_but_not_listed() -> None:
    assert boxes.box_named("pending") is None
    assert boxes.box_named("anything") is None
    awaiting = boxes.box_named("awaiting")
    assert awaiting is not None
    assert (awaiting.count(FLOW), awaiting.listed_count(FLOW)) == (15, 0)


def test_nothing_in_the_drawing_can_be_selected_by_who_may_not_list_cases() -> None:
    assert all(one.key == "" for one in layout(FLOW, "bleeds", selectable=False).rectangles)
    keys = {one.key for one in layout(FLOW, "bleeds", selectable=True).rectangles} - {""}
    assert keys == {box.key for box in boxes.LISTABLE}


def test_no_two_boxes_of_the_drawing_overlap_and_none_leaves_it() -> None:
    drawing = layout(FLOW, "bleeds", selectable=True)
    for place, one in enumerate(drawing.rectangles):
        assert one.x >= 0
        assert one.x + one.width <= WIDTH + 0.001
        assert one.y + one.height <= drawing.height
        for other in drawing.rectangles[place + 1 :]:
            apart_across = one.x + one.width <= other.x or other.x + other.width <= one.x
            apart_down = one.y + one.height <= other.y or other.y + other.height <= one.y
            assert apart_across or apart_down, (one.title, other.title)


def test_many_reasons_are_summed_and_none_is_lost() -> None:
    reasons = tuple(Reason(f"reason_{number}", number) for number in range(1, 8))
    flow = Flow(28, reasons, 0, (), (), (), 0, 0, 0, 0, (), ())
    excluded = next(one for one in layout(flow, "bleeds", selectable=False).rectangles if one.title == "Excluded")
    assert len(excluded.lines) == LONGEST_REASONS
    assert sum(int(line.split()[0]) for line in excluded.lines) == 28
