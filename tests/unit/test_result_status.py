"""Which reports are final: every code of HL7 table 0123 with every code of table 0085 that refines it."""

from __future__ import annotations

import pytest

from shadow.reference_standard.result_status import (
    ObservationResultStatus,
    ResultStatus,
    observation_result_status,
    result_status,
)

TABLE_0123 = "O I S A P C R F X Y Z M N".split()
TABLE_0085 = "A B C D F I N O P R S U V W X".split()


def status(code: str, *lines: str) -> ResultStatus:
    return result_status(code, [observation_result_status(line) for line in lines])


def test_only_final_and_corrected_reports_can_be_the_reference_standard() -> None:
    assert {code for code in TABLE_0123 if status(code).final} == {"F", "C"}
    assert not status("").final


@pytest.mark.parametrize("code", TABLE_0123)
@pytest.mark.parametrize("line", TABLE_0085)
def test_a_report_is_never_more_final_than_its_order_says(code: str, line: str) -> None:
    if status(code, line).final:
        assert code in ("F", "C")


@pytest.mark.parametrize("line", TABLE_0085)
def test_a_final_order_with_a_line_that_is_not_final_is_not_final(line: str) -> None:
    assert status("F", "F", line).final is (line in "A B C D F U V W X".split())
    assert status("F", line).final is (line in "A B C F U V".split())


@pytest.mark.parametrize(
    ("code", "lines", "expected"),
    [
        ("F", ("F", "F"), "F"),
        ("f ", ("f",), "F"),
        ("F", (), "F"),
        ("F", ("", "9"), "F"),
        ("F", ("F", "C"), "C"),
        ("C", ("F",), "C"),
        ("F", ("F", "P"), "P"),
        ("F", ("R",), "R"),
        ("P", ("F",), "P"),
        ("R", ("F",), "R"),
        ("A", ("F",), "A"),
        ("X", ("F",), "X"),
        ("F", ("D", "W"), "X"),
        ("F", ("W", "F"), "F"),
        ("", ("F",), "F"),
        ("", ("P", "F"), "P"),
        ("?", ("C",), "C"),
        ("", (), "unstated"),
        ("", ("",), "unstated"),
        ("unstated", ("",), "unstated"),
    ],
)
def test_the_order_and_its_lines_together_say_the_status(code: str, lines: tuple[str, ...], expected: str) -> None:
    assert status(code, *lines).value == expected


def test_every_code_of_both_tables_is_known() -> None:
    assert {one.value for one in ResultStatus} == {*TABLE_0123, "unstated"}
    assert {one.value for one in ObservationResultStatus} == {*TABLE_0085, "unstated"}
