"""Messages in quarantine are read again from a real journal once the cause is mended, as of their first arrival."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

from test_report_reception import KEYED, NOON, PROTOCOL, SITES, Bench, bench, message  # noqa: F401 (a fixture)

from shadow.protocol.site import ReportTable
from shadow.reference_standard.quarantine import quarantined, replay, replay_files
from shadow.reference_standard.reception import Reception, reception_of
from shadow.reference_standard.report_files import drain_files, take_files
from shadow.store.events import Kind
from shadow.store.journal import JournalReader

ELSEWHERE = message("C7", "R7", facility="ELSEWHERE")


def mended(bench: Bench) -> Reception:  # noqa: F811
    """As if Riverside's site file now listed the facility."""
    riverside = replace(SITES[0], sending_facilities=(*SITES[0].sending_facilities, "ELSEWHERE"))
    return reception_of(PROTOCOL, (riverside, SITES[1]), KEYED, bench.blobs)


def test_a_mended_message_becomes_what_it_would_have_been(bench: Bench) -> None:  # noqa: F811
    bench.arrive(message("C1", "R1"), ELSEWHERE, b"junk")
    bench.drain()
    waiting = quarantined(bench.ledger)
    assert [one.reason for one in waiting] == ["unknown_sending_facility", "not_hl7"]
    digests = [one.sha256 for one in waiting]
    reader = JournalReader(bench.journal)
    found = list(replay(reader, bench.ledger, mended(bench), digests, "ann"))
    assert [(one.events, one.reason) for one in found] == [(3, ""), (0, "not_hl7")]
    version = bench.bodies(Kind.REPORT_VERSION)[-1]
    assert version["received_at"] == f"{NOON + timedelta(seconds=1):%Y-%m-%dT%H:%M:%S.%f}Z"
    assert [one.reason for one in quarantined(bench.ledger)] == ["not_hl7"]


def test_a_replay_repeated_changes_nothing(bench: Bench) -> None:  # noqa: F811
    bench.arrive(ELSEWHERE)
    bench.drain()
    (waiting,) = quarantined(bench.ledger)
    reader = JournalReader(bench.journal)
    list(replay(reader, bench.ledger, mended(bench), [waiting.sha256], "ann"))
    head = bench.ledger.head()
    assert [one.events for one in replay(reader, bench.ledger, mended(bench), [waiting.sha256], "ann")] == [0]
    assert bench.ledger.head() == head


def test_what_is_mended_not_stays_where_it_is_and_what_is_lost_is_said(bench: Bench) -> None:  # noqa: F811
    bench.arrive(ELSEWHERE)
    bench.drain()
    (waiting,) = quarantined(bench.ledger)
    head = bench.ledger.head()
    unmended = reception_of(PROTOCOL, SITES, KEYED, bench.blobs)
    found = list(replay(JournalReader(bench.journal), bench.ledger, unmended, [waiting.sha256, "f" * 64], "ann"))
    assert [one.reason for one in found] == ["unknown_sending_facility"], "of what is elsewhere nothing is said"
    assert bench.ledger.head() == head


def test_a_message_sent_again_with_a_new_time_is_one_version(bench: Bench) -> None:  # noqa: F811
    """Same sender, same control ID, same content: only MSH-7 and the line ends are others."""
    again = message("C1", "R1").replace(b"|||20260824113000-0400||ORU", b"|||20260824114500-0400||ORU")
    other = message("C1", "R1", text="IMPRESSION: No haemorrhage.")
    batch = b"BHS|^~\\&\r" + message("C1", "R1") + b"BTS|1\rFTS|1\r"
    bench.arrive(message("C1", "R1"), again, again.replace(b"\r", b"\r\n"), batch, other)
    found = bench.drain()
    assert (found.versions, found.duplicates) == (2, 3), "a control ID used again for other content is a new message"


def test_a_table_is_read_again_once_the_site_file_says_how(bench: Bench) -> None:  # noqa: F811
    folder = bench.folder / "reports"
    dropped = folder / "incoming" / "riverside" / "a.csv"
    dropped.parent.mkdir(parents=True)
    dropped.write_text("accession,report,state\nR5,No intracranial haemorrhage.,FINAL\n,lost,FINAL\n")
    os.utime(dropped, (0, 0))
    unmended = reception_of(PROTOCOL, (replace(SITES[0], report_table=None),), KEYED, bench.blobs)
    take_files(folder, None, unmended.sites, lambda: NOON)
    drain_files(folder / "journal", None, bench.ledger, unmended)
    (waiting,) = quarantined(bench.ledger)
    assert waiting.reason == "no_report_table"
    columns = ReportTable("accession", "report", "state", ("FINAL",))
    mended = reception_of(PROTOCOL, (replace(SITES[0], report_table=columns),), KEYED, bench.blobs)
    found = list(replay_files(JournalReader(folder / "journal"), bench.ledger, mended, [waiting.sha256], "ann"))
    assert [(one.sha256, one.reason) for one in found] == [(waiting.sha256, "")]
    assert len(bench.bodies(Kind.REPORT_VERSION)) == 1
    assert [one.reason for one in quarantined(bench.ledger)] == ["no_accession_number"]
