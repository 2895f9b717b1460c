"""Who agrees with the label rule on the first final reports, on rows written out here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from test_linkage import PROTOCOL, label, linked, report

from shadow.assessment.label_agreement import ReaderPair, reader_pairs

CONDITION, RULE = PROTOCOL.target_condition, PROTOCOL.reference.label_rule


def test_the_second_labeller_and_codes_are_counted_against_what_the_rule_read_in_the_text(tmp_path: Path) -> None:
    events = []
    for number, (ruled, second) in enumerate(
        [("present", "present"), ("absent", "present"), ("not_mentioned", "absent")]
    ):
        key = str(number)
        other = replace(label(key, second), rule="second:reader")
        events += [report(key, "F"), label(key, ruled), other]
    coded = replace(label("7", "present"), source="code", text_state="absent", code_state="present")
    elsewhere = replace(label("7", "absent", 2), rule="second:reader")
    events += [report("7", "F"), coded, report("7", "C", 2), label("7", "absent", 2), elsewhere]
    with linked(tmp_path, *events) as connection:
        assert reader_pairs(connection) == (
            ReaderPair(CONDITION, RULE, "coded finding", 0, 0, 1, 0),
            ReaderPair(CONDITION, RULE, "second:reader", 1, 0, 1, 1),
        )
        assert [one.agreement is None for one in reader_pairs(connection)] == [True, False]
