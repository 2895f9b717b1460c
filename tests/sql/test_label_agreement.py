"""Who agrees with the label rule on the first final reports, on rows written out here."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from test_linkage import PROTOCOL, label, linked, locked, registered, report, study

from shadow.assessment.label_agreement import ReaderPair, reader_pairs
from shadow.supervision.label_readers import print_mentions

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


def test_studies_whose_reports_mention_the_model_are_listed_by_their_keys(tmp_path: Path) -> None:
    out = io.StringIO()
    told = [study("S1"), locked("S1", 0.9), replace(report("S1", "F"), mentions_model=True), label("S1", "present")]
    silent = [study("S2"), locked("S2", 0.9), report("S2", "F"), label("S2", "present")]
    with linked(tmp_path, registered(), *told, *silent) as connection:
        print_mentions(connection, Console(file=out, width=120))
    assert "S1" in out.getvalue() and "S2" not in out.getvalue()
