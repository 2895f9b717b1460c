"""Journal to ledger on a real journal, ledger and blob store: every message ends in one counted state, once."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shadow.domain.errors import ConfigurationError
from shadow.domain.identifiers import Pseudonymiser
from shadow.domain.project import project_folder
from shadow.protocol.site import read_site
from shadow.protocol.trial import TrialProtocol, read_trial
from shadow.reference_standard.label_rule import load_rule
from shadow.reference_standard.reception import QUARANTINED
from shadow.reference_standard.report_journal import CURSOR, DrainedReports, drain_reports, receive_reports
from shadow.store.blobs import Blobs
from shadow.store.events import Audited, Kind, LabelRead, ReportVersion
from shadow.store.journal import START, Arrival, JournalReader, JournalWriter, Record
from shadow.store.ledger import Ledger, Row

CONFIGS = project_folder("configs")
SITES = (read_site(CONFIGS / "sites" / "riverside.toml"), read_site(CONFIGS / "sites" / "hillside.toml"))
PROTOCOL = read_trial(CONFIGS / "trials" / "demo-head-ct.toml")
KEYED = Pseudonymiser(b"k" * 32)
RULE = load_rule(PROTOCOL.reference.label_rule)
NOON = datetime(2026, 8, 24, 16, tzinfo=UTC)
PLANTED = ("ZEBEDEE", "MRN778899", "R00001234", "19610203")


def message(
    control: str = "C1",
    accession: str = "R00001234",
    text: str = "IMPRESSION: Small subdural haematoma. Dictated by ZEBEDEE.",
    facility: str = "RIVERSIDE",
    status: str = "F",
) -> bytes:
    order = [""] * 26
    order[0], order[1], order[7], order[18] = "OBR", "1", "20260824103000-0400", accession
    order[22], order[25] = "20260824113000-0400", status
    return "\r".join(
        [
            f"MSH|^~\\&|RIS|{facility}|||20260824113000-0400||ORU^R01^ORU_R01|{control}|P|2.5.1||||||UNICODE UTF-8",
            "PID|1||MRN778899^^^R^MR||ZEBEDEE^ADA||19610203|F",
            "|".join(order),
            f"OBX|1|TX|T||{text}||||||{status}",
            "",
        ]
    ).encode()


@dataclass(frozen=True, slots=True)
class Bench:
    folder: Path
    ledger: Ledger
    blobs: Blobs

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def arrive(self, *payloads: bytes, at: datetime = NOON) -> None:
        with JournalWriter(self.journal) as writer:
            writer.append_many([Arrival(one, at + timedelta(seconds=number)) for number, one in enumerate(payloads)])

    def drain(self, limit: int = 1000, protocol: TrialProtocol = PROTOCOL) -> DrainedReports:
        return drain_reports(
            journal=self.journal,
            ledger=self.ledger,
            blobs=self.blobs,
            sites=SITES,
            pseudonymiser=KEYED,
            protocol=protocol,
            limit=limit,
        )

    def patient_keys(self, *patient_ids: str) -> dict[str, str]:
        return {one: KEYED.patient_key(SITES[0].accession_issuer, one) for one in patient_ids}

    def rows(self, kind: Kind) -> list[Row]:
        return [row for row in self.ledger.since(0) if row.kind == kind]

    def bodies(self, kind: Kind) -> list[dict[str, object]]:
        return [json.loads(row.body or "") for row in self.rows(kind)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", PROTOCOL.identifier) as ledger:
        ledger.migrate()
        yield Bench(tmp_path, ledger, Blobs(tmp_path / "blobs", b"b" * 32))


def test_a_final_report_becomes_a_version_and_its_label(bench: Bench) -> None:
    bench.arrive(message())
    assert bench.drain() == DrainedReports(messages=1, versions=1, labels=1, quarantined=0, duplicates=0)
    (version,), (label,) = bench.bodies(Kind.REPORT_VERSION), bench.bodies(Kind.LABEL)
    assert version["accession_key"] == KEYED.accession_key("RIVERSIDE", "R1234")
    assert version["patient_key"] == KEYED.patient_key("RIVERSIDE", "MRN778899")
    assert (version["site"], version["result_status"], version["final"]) == ("riverside", "F", True)
    assert version["received_at"] == "2026-08-24T16:00:00.000000Z"
    assert version["reported_at"] == "2026-08-24T15:30:00.000000Z"
    assert (label["state"], label["rule"]) == ("present", "intracranial-haemorrhage/3")
    assert label["report_key"] == version["report_key"]


def test_a_labels_spans_point_into_the_text_that_is_kept(bench: Bench) -> None:
    bench.arrive(message())
    bench.drain()
    (version,), (label,) = bench.bodies(Kind.REPORT_VERSION), bench.bodies(Kind.LABEL)
    text = bench.blobs.get(str(version["text_sha256"])).decode()
    spans = label["spans"]
    assert isinstance(spans, list)
    assert [text[one["start"] : one["end"]] for one in spans] == ["subdural haematoma"]


def test_the_same_accession_number_in_two_spellings_is_one_accession(bench: Bench) -> None:
    bench.arrive(message("C1", " r1234 ", status="P"), message("C2", "R00001234"))
    bench.drain()
    assert len({row.subject for row in bench.rows(Kind.REPORT_VERSION)}) == 1
    assert [body["final"] for body in bench.bodies(Kind.REPORT_VERSION)] == [False, True]


def test_the_same_number_at_two_sites_is_two_accessions(bench: Bench) -> None:
    bench.arrive(message("C1", "1234"), message("C2", "1234", facility="HILLSIDE"))
    bench.drain()
    assert len({row.subject for row in bench.rows(Kind.REPORT_VERSION)}) == 2


def test_a_message_sent_again_is_one_version_with_its_first_arrival(bench: Bench) -> None:
    bench.arrive(message(), message())
    assert bench.drain().duplicates == 1
    bench.arrive(message(), at=NOON + timedelta(days=1))
    assert bench.drain() == DrainedReports(messages=1, versions=0, labels=0, quarantined=0, duplicates=1)
    (version,) = bench.bodies(Kind.REPORT_VERSION)
    assert version["received_at"] == "2026-08-24T16:00:00.000000Z"


def test_reading_the_whole_journal_again_changes_nothing(bench: Bench) -> None:
    bench.arrive(message(), b"junk", message("C2", "R9"), message("C3", "", text="x"))
    first = bench.drain()
    head = bench.ledger.head()
    (bench.journal / CURSOR).unlink()
    again = bench.drain()
    assert bench.ledger.head() == head
    assert (again.messages, again.versions, again.labels, again.quarantined) == (4, 0, 0, 0)
    assert again.duplicates == first.versions + first.quarantined == 4


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"junk", "not_hl7"),
        (b"", "not_hl7"),
        (message(facility="ELSEWHERE"), "unknown_sending_facility"),
        (message(accession=""), "no_accession_number"),
        (message(text=""), "no_text"),
        (message().replace(b"ORU^R01^ORU_R01", b"MDM^T02"), "not_oru"),
        (message().replace(b"|P|2.5.1", b"|T|2.5.1"), "not_production"),
    ],
)
def test_a_message_that_cannot_be_a_report_is_quarantined_with_its_reason(
    bench: Bench, payload: bytes, reason: str
) -> None:
    bench.arrive(payload, message("C2", "R2"))
    assert bench.drain() == DrainedReports(messages=2, versions=1, labels=1, quarantined=1, duplicates=0)
    (entry,) = bench.bodies(Kind.AUDIT)
    assert (entry["action"], entry["detail"], entry["actor"]) == (QUARANTINED, reason, "reports")


def test_damaged_bytes_of_the_journal_are_quarantined(bench: Bench) -> None:
    bench.arrive(message("C1", "R1"), message("C2", "R2"))
    (segment,) = bench.journal.glob("*.journal")
    segment.write_bytes(segment.read_bytes().replace(b"|C1|", b"|C7|"))
    assert bench.drain() == DrainedReports(messages=2, versions=1, labels=1, quarantined=1, duplicates=0)
    assert bench.bodies(Kind.AUDIT)[0]["detail"] == "journal_damaged"


def test_a_batch_gives_a_state_to_each_of_its_messages(bench: Bench) -> None:
    bench.arrive(b"FHS|^~\\&\rBHS|^~\\&\r" + message("C1", "R1") + message("C2", "") + message("C3", "R3") + b"BTS|3\r")
    assert bench.drain() == DrainedReports(messages=1, versions=2, labels=2, quarantined=1, duplicates=0)


def test_replaced_characters_are_put_on_record(bench: Bench) -> None:
    bench.arrive(message(text="IMPRESSION: H\u00e4matom. No haemorrhage.").replace("ä".encode(), b"\xe4"))
    assert bench.drain().versions == 1
    assert [entry["action"] for entry in bench.bodies(Kind.AUDIT)] == ["characters_replaced"]


def test_no_more_than_the_limit_is_drained_and_the_rest_waits(bench: Bench) -> None:
    bench.arrive(*(message(f"C{number}", f"R{number}") for number in range(1, 151)))
    assert [bench.drain(limit=100).messages for _ in range(3)] == [100, 50, 0]
    assert bench.ledger.count(Kind.REPORT_VERSION) == 150
    assert bench.ledger.verify().problem is None


def test_every_message_is_in_exactly_one_state(bench: Bench) -> None:
    payloads = [message(f"C{number}", f"R{number}" if number % 5 else "") for number in range(1, 101)]
    bench.arrive(*payloads, *payloads[:10], b"junk")
    drained = bench.drain()
    assert drained.versions + drained.quarantined + drained.duplicates == drained.messages == 111


def test_nothing_that_names_a_patient_reaches_ledger_log_or_error(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    planted = message(text="IMPRESSION: No ZEBEDEE haemorrhage. ZEBEDEE bleed cannot be excluded. MRN778899 R00001234")
    bench.arrive(
        planted,
        message(accession="", text="ZEBEDEE"),
        planted.replace(b"RIVERSIDE", b"ZEBEDEE"),
        planted.replace(b"MSH|", b"MSH"),
        b"ZEBEDEE",
    )
    assert bench.drain().quarantined == 4
    ledger = "\n".join(str(row) for row in bench.ledger.since(0))
    files = b"".join(path.read_bytes() for path in (bench.folder / "blobs").rglob("*") if path.is_file())
    for word in PLANTED:
        assert word not in ledger
        assert word not in caplog.text
        assert word.encode() not in files


def test_receiving_the_same_records_twice_gives_the_same_events(bench: Bench) -> None:
    bench.arrive(message(), message(), b"junk")
    records = JournalReader(bench.journal).read(START, 10)

    def events(some: list[Record]) -> list[object]:
        return list(
            receive_reports(
                some,
                sites=SITES,
                pseudonymiser=KEYED,
                blobs=bench.blobs,
                rule=RULE,
                target_condition=PROTOCOL.target_condition,
            )
        )

    assert events(records) == events(records)
    assert [type(event) for event in events(records)] == [ReportVersion, LabelRead, Audited]


def test_a_rule_for_another_condition_is_refused(bench: Bench) -> None:
    bench.arrive(message())
    with pytest.raises(ConfigurationError, match="label_rule"):
        bench.drain(protocol=replace(PROTOCOL, target_condition="pneumothorax"))
    assert bench.ledger.count(Kind.REPORT_VERSION) == 0


def test_a_coded_finding_decides_and_the_texts_reading_is_kept(bench: Bench) -> None:
    bench.arrive(message(text="IMPRESSION: Normal.") + b"OBX|2|CWE|F^FINDING^L||1386000^^SCT||||||F\r")
    bench.drain()
    (label,) = bench.bodies(Kind.LABEL)
    assert (label["state"], label["source"]) == ("present", "code")
    assert (label["text_state"], label["code_state"]) == ("not_mentioned", "present")


def test_a_version_that_mentions_the_model_is_flagged_and_its_neighbour_is_not(bench: Bench) -> None:
    bench.arrive(message("C1", "R1"), message("C2", "R1", text="ADDENDUM: Flagged by AI. Small subdural haematoma."))
    bench.drain()
    assert [body["mentions_model"] for body in bench.bodies(Kind.REPORT_VERSION)] == [False, True]


def test_each_final_version_is_read_by_the_rules_of_other_conditions_too(bench: Bench) -> None:
    reference = replace(PROTOCOL.reference, additional_label_rules=("fracture/2", "subdural-haemorrhage/2"))
    text = "IMPRESSION: Small subdural haematoma. No fracture."
    bench.arrive(message("C1", status="P", text=text), message("C2", text=text))
    drained = bench.drain(protocol=replace(PROTOCOL, reference=reference))
    assert (drained.versions, drained.labels) == (2, 4)
    labels = [(body["rule"], body["target_condition"], body["state"]) for body in bench.bodies(Kind.LABEL)]
    primary = (PROTOCOL.reference.label_rule, PROTOCOL.target_condition, "present")
    assert labels == [
        primary,
        primary,
        ("fracture/2", "fracture", "absent"),
        ("subdural-haemorrhage/2", "subdural_haemorrhage", "present"),
    ]


def test_an_unknown_additional_rule_is_refused(bench: Bench) -> None:
    reference = replace(PROTOCOL.reference, additional_label_rules=("heart/1",))
    with pytest.raises(ConfigurationError, match="choose one of"):
        bench.drain(protocol=replace(PROTOCOL, reference=reference))


@pytest.mark.parametrize("rules", [("fracture/2", "fracture/2"), (PROTOCOL.reference.label_rule,)])
def test_a_rule_named_twice_is_refused(rules: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="additional_label_rules"):
        replace(PROTOCOL.reference, additional_label_rules=rules)
