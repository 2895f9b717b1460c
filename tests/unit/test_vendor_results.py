"""Results of vendors' products from HL7, CSV and SR: read once, keyed, or counted with the reason."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from head_ct import PSEUDONYMISER, ROOT, head_study, new_home, protocol, riverside, spool_study
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, generate_uid

from shadow.domain.errors import ConfigurationError
from shadow.index_test.intake import drain_admissions
from shadow.index_test.vendor_results import VendorReception, drain_messages, drain_tables
from shadow.protocol.trial import ModelUnderTrial, Role, read_trial
from shadow.protocol.vendor import ResultCoding, VendorProduct
from shadow.rehearsal.plan import plan_hospital
from shadow.rehearsal.vendor import result_bytes
from shadow.store.events import Audited, Kind, VendorResult
from shadow.store.journal import JournalWriter
from shadow.store.ledger import Ledger
from shadow.store.queue import WorkQueue
from shadow.store.vault import Vault

NOW = datetime(2026, 9, 1, tzinfo=UTC)
PRODUCT = VendorProduct(
    "Acme ICH",
    "3.2",
    hl7=ResultCoding("ICH", ("POS",), ("NEG",), ("ERR",), score="ICH-P", sender="ACME"),
    sr=ResultCoding("G-D001", ("R-42037",), ("R-40775",), score="111013", sender="AcmeDetect"),
    csv=ResultCoding("result", ("positive",), ("negative",), ("failed",), score="p", accession="accession"),
)
MODEL = ModelUnderTrial("acme-ich", Role.CHALLENGER, vendor=PRODUCT)
RECEPTION = VendorReception((MODEL,), (riverside(),), PSEUDONYMISER)
ACCESSION_KEY = PSEUDONYMISER.accession_key("RIVERSIDE", "R1234")


def message(value: str = "POS", *, sender: str = "ACME", facility: str = "RIVERSIDE", accession: str = "R00001234",
            score: str = "0.91") -> bytes:  # fmt: skip
    return (
        f"MSH|^~\\&|{sender}|{facility}|SHADOW|TRIAL|20260901||ORU^R01|1|P|2.5.1\r"
        f"OBR|1|||AI^AI^L||||||||||||||{accession}\rOBX|1|ST|ICH^ICH^L||{value}||||||F\r"
        f"OBX|2|NM|ICH-P^p^L||{score}||||||F\r"
    ).encode()


def table(*rows: str) -> bytes:
    return ("accession,result,p\r\n" + "".join(f"{row}\r\n" for row in rows)).encode()


def structured_report(code: str = "R-42037", completion: str = "COMPLETE", sender: str = "AcmeDetect") -> bytes:
    def named(value: str) -> Items:
        name = Dataset()
        name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = value, "SRT", "x"
        return Items([name])

    finding, score, box, value = Dataset(), Dataset(), Dataset(), Dataset()
    finding.ValueType, finding.ConceptNameCodeSequence, finding.ConceptCodeSequence = (
        "CODE",
        named("G-D001"),
        named(code),
    )
    value.NumericValue = "0.77"
    score.ValueType, score.ConceptNameCodeSequence = "NUM", named("111013")
    score.MeasuredValueSequence = Items([value])
    box.ValueType, box.ConceptNameCodeSequence, box.ContentSequence = "CONTAINER", named("111"), Items([finding, score])
    document = Dataset()
    document.SOPClassUID, document.SOPInstanceUID = ComprehensiveSRStorage, generate_uid()
    document.SeriesInstanceUID, document.StudyInstanceUID = generate_uid(), f"{ROOT}.1"
    document.Modality, document.ManufacturerModelName, document.CompletionFlag = "SR", sender, completion
    document.ContentSequence = Items([box])
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    document.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "trial") as opened:
        opened.migrate()
        yield opened


def test_a_message_is_a_result_of_its_accession() -> None:
    (result,) = RECEPTION.of_message(message(), NOW)
    assert isinstance(result, VendorResult)
    assert (result.accession_key, result.study_key, result.site) == (ACCESSION_KEY, None, "riverside")
    assert (result.index_test_positive, result.score, result.failure_reason) == (True, 0.91, None)
    assert result.model_sha256 == MODEL.digest
    (failed,) = RECEPTION.of_message(message("ERR"), NOW)
    assert isinstance(failed, VendorResult)
    assert (failed.index_test_positive, failed.failure_reason) == (None, "product_failed")


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"PING", "not_hl7"),
        (message(facility="ELSEWHERE"), "unknown_sending_facility"),
        (message(sender="OTHER"), "no_product_of_this_sender"),
        (message("perhaps"), "unknown_value"),
        (message(""), "no_finding"),
        (message(score="high"), "score_is_no_number"),
        (message(score="nan"), "score_is_no_number"),
        (message(accession=""), "no_accession_number"),
    ],
)
def test_a_message_that_says_nothing_is_counted_with_its_reason(octets: bytes, reason: str) -> None:
    (entry,) = RECEPTION.of_message(octets, NOW)
    assert isinstance(entry, Audited)
    assert (entry.action, entry.detail) == ("vendor_result_quarantined", reason)
    assert "1234" not in entry.identifier + entry.detail


def test_a_table_gives_one_event_a_row_and_the_same_row_is_the_same_result() -> None:
    rows = ("R1234,positive,0.8", "R0001235,NEGATIVE,", "R9,unsure,0.5", ",negative,0.1", "R10,failed,")
    events = list(RECEPTION.of_table(table(*rows), MODEL, riverside(), NOW))
    results = [one for one in events if isinstance(one, VendorResult)]
    assert [(one.index_test_positive, one.score) for one in results] == [(True, 0.8), (False, None), (None, None)]
    assert [one.detail for one in events if isinstance(one, Audited)] == ["unknown_value", "no_accession_number"]
    again = list(RECEPTION.of_table(table("R1234,positive,0.8"), MODEL, riverside(), NOW))
    assert again[0].key == events[0].key


@pytest.mark.parametrize("row", ["R1234,positive,0.8", "R1234,unsure,0.8"])
def test_no_accession_number_can_be_found_again_by_trying_them_all(row: str) -> None:
    (event,) = RECEPTION.of_table(table(row), MODEL, riverside(), NOW)
    _, finding, score = row.split(",")
    tried = (
        hashlib.sha256(f"riverside\x1faccession=R{number}\x1fresult={finding}\x1fp={score}".encode()).hexdigest()
        for number in range(1200, 1300)
    )
    written = repr(event)
    assert not [one for one in tried if one[:32] in written]


def test_an_accession_number_written_otherwise_is_the_same_row_and_another_one_is_not() -> None:
    rows = table("R1234,positive,0.8", "r0001234,positive,0.8", "R1235,positive,0.8")
    first, second, other = RECEPTION.of_table(rows, MODEL, riverside(), NOW)
    assert first.key == second.key != other.key
    digests = [one.source_sha256 for one in (first, second, other) if isinstance(one, VendorResult)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a,b\r\n1,2\r\n", "column_missing"),
        (b"accession,result,p\r\n\xff,x,y\r\n", "not_csv_in_utf_8"),
        (b"", "column_missing"),
    ],
)
def test_a_table_that_is_none_is_counted(content: bytes, reason: str) -> None:
    (entry,) = RECEPTION.of_table(content, MODEL, riverside(), NOW)
    assert isinstance(entry, Audited) and entry.detail == reason


def test_a_complete_structured_report_is_a_result_of_its_study() -> None:
    (result,) = RECEPTION.of_structured_report(structured_report(), "S1", "riverside", NOW)
    assert isinstance(result, VendorResult)
    assert (result.study_key, result.accession_key, result.index_test_positive, result.score) == (
        "S1",
        None,
        True,
        0.77,
    )
    (negative,) = RECEPTION.of_structured_report(structured_report("R-40775"), "S1", "riverside", NOW)
    assert isinstance(negative, VendorResult) and negative.index_test_positive is False
    (partial,) = RECEPTION.of_structured_report(structured_report(completion="PARTIAL"), "S1", "riverside", NOW)
    assert isinstance(partial, Audited) and partial.detail == "not_complete"
    assert RECEPTION.of_structured_report(structured_report(sender="Another"), "S1", "riverside", NOW) == []
    assert RECEPTION.of_structured_report(b"no DICOM", "S1", "riverside", NOW) == []


def test_a_drain_reads_each_message_once_and_again_after_a_crash_changes_nothing(
    tmp_path: Path, ledger: Ledger
) -> None:
    with JournalWriter(tmp_path / "journal") as journal:
        for octets in (message(), message(), b"junk", message("NEG", accession="R5")):
            journal.append(octets, NOW)
    assert drain_messages(tmp_path / "journal", ledger, RECEPTION) == 4
    assert (ledger.count(Kind.VENDOR_RESULT), ledger.count(Kind.AUDIT)) == (2, 1)
    (tmp_path / "journal" / "vendor-results.cursor").unlink()
    assert drain_messages(tmp_path / "journal", ledger, RECEPTION) == 4
    assert (ledger.count(Kind.VENDOR_RESULT), ledger.count(Kind.AUDIT)) == (2, 1)


def test_a_settled_table_is_read_and_put_away(tmp_path: Path, ledger: Ledger) -> None:
    incoming = tmp_path / "incoming" / "acme-ich" / "riverside"
    assert drain_tables(tmp_path, ledger, RECEPTION, lambda: NOW) == 0
    (incoming / "night.csv").write_bytes(table("R1234,positive,0.8", "R5,negative,0.1"))
    (incoming / ".upload.csv").write_bytes(table("R6,positive,0.8"))
    assert drain_tables(tmp_path, ledger, RECEPTION, lambda: NOW) == 0, "it may still be written"
    for path in incoming.iterdir():
        os.utime(path, (time.time() - 60, time.time() - 60))
    assert drain_tables(tmp_path, ledger, RECEPTION, lambda: NOW) == 1
    assert ledger.count(Kind.VENDOR_RESULT) == 2
    assert [path.name for path in incoming.iterdir()] == [".upload.csv"]
    (kept,) = (tmp_path / "done" / "acme-ich" / "riverside").iterdir()
    assert kept.read_bytes().startswith(b"accession")


def test_the_first_of_two_answers_stands(ledger: Ledger) -> None:
    (first,) = RECEPTION.of_message(message(), NOW)
    ledger.append_new([first, replace(first, received_at=datetime(2026, 9, 2, tzinfo=UTC))])
    ledger.append_new([replace(first, received_at=datetime(2026, 9, 3, tzinfo=UTC))])
    assert ledger.count(Kind.VENDOR_RESULT) == 1


def test_the_simulated_product_speaks_what_the_demonstration_reads() -> None:
    trial = read_trial(Path(__file__).parents[2] / "configs" / "trials" / "demo-head-ct.toml")
    reception = VendorReception(trial.vendors, (riverside(),), PSEUDONYMISER)
    plan = plan_hospital(3, 60, 4, NOW)
    studies = [one for one in plan.studies if one.site.identifier == "riverside"]
    sent = [octets for one in studies if (octets := result_bytes(one)) is not None]
    assert all(isinstance(one, VendorResult) for octets in sent for one in reception.of_message(octets, NOW))
    assert len(sent) > 20


def test_a_vendors_product_cannot_be_champion_and_must_say_whose_results_are_its() -> None:
    with pytest.raises(ValueError, match="the champion is run here"):
        replace(MODEL, role=Role.CHAMPION)
    with pytest.raises(ValueError, match=r"hl7\.sender: is missing"):
        VendorProduct("Acme", "1", hl7=ResultCoding("ICH", ("P",), ("N",)))
    with pytest.raises(ValueError, match=r"csv\.accession: is missing"):
        VendorProduct("Acme", "1", csv=ResultCoding("ICH", ("P",), ("N",)))
    with pytest.raises(ValueError, match="stands in two"):
        ResultCoding("ICH", ("P",), ("p",))


def test_a_trial_file_names_a_product_strictly(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "configs" / "trials" / "demo-head-ct.toml").read_text(encoding="utf-8")
    broken = tmp_path / "trial.toml"
    broken.write_text(text.replace('version = "1.0"\n\n[models.vendor.hl7]', "[models.vendor.hl7]"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"models\[1\]\.vendor\.version"):
        read_trial(broken)
    assert protocol("first").challengers == ()


def test_a_structured_report_in_a_study_is_locked_at_admission_whatever_its_revision(
    tmp_path: Path, ledger: Ledger
) -> None:
    home = new_home(tmp_path / "home")
    trial = replace(protocol("first"), models=(*protocol("first").models, MODEL))
    queue, vault = WorkQueue(home.queues / "admission"), Vault(home.vault, bytes(32))
    for revision, files in ((1, head_study()), (2, [*head_study(), structured_report("R-40775")])):
        manifest = spool_study(home, files, revision=revision)
        queue.put(f"{manifest.study_key}.r{manifest.revision}")
        drain_admissions(
            home=home, ledger=ledger, vault=vault, sites=(riverside(),), protocol=trial, pseudonymiser=PSEUDONYMISER,
            linger_seconds=10.0, budget_seconds=10.0, stop=lambda: not queue.ready(),
        )  # fmt: skip
    vault.close()
    assert (ledger.count(Kind.STUDY), ledger.count(Kind.EXCLUSION), ledger.count(Kind.VENDOR_RESULT)) == (2, 0, 1)
    (row,) = [one for one in ledger.since(0) if one.kind == Kind.VENDOR_RESULT]
    assert row.subject == manifest.study_key
    assert '"index_test_positive":false' in (row.body or "").replace(" ", "")
