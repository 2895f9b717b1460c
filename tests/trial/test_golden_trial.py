"""One whole silent trial, from C-STORE to the snapshot, with every process killed once in the middle.

The oracle is independent: the hospital's truth file, the images made again from its seed, the ONNX file run by
this test with its own resampling, and plain Python over the ledger's rows.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pytest

from shadow.assessment.snapshot import IndexState, ReferenceState
from shadow.assessment.snapshot_file import Published, read_current
from shadow.domain.identifiers import Pseudonymiser, normalise_accession_number
from shadow.rehearsal.archive import unrouted_studies
from shadow.rehearsal.images import study_instances
from shadow.rehearsal.plan import HospitalPlan, PlannedStudy, plan_hospital
from shadow.rehearsal.truth import TruthFile
from shadow.rehearsal.vendor import result_bytes

pytestmark = [pytest.mark.trial, pytest.mark.server]

STUDIES, SEED, SECONDS, FLOOR, WEEKS = 130, 11, 45, 100, 12
START = datetime(2026, 8, 24, 4, tzinfo=UTC)
PROJECT = Path(__file__).parents[2]
MODEL = PROJECT / "configs" / "models" / "demo-head-ct-haemorrhage"
VICTIMS = (
    "shadow mirror",
    "shadow reports",
    "shadow vendor-results",
    "streamlit run",
    "airflow api-server",
    "airflow triggerer",
    "airflow dag-processor",
    "airflow scheduler",
    "postgres -D",
)


@dataclass(frozen=True)
class Ran:
    home: Path
    plan: HospitalPlan
    truth: dict[str, list[dict[str, object]]]
    rows: list[tuple[int, str, str, dict[str, object]]]
    published: Published
    killed: list[str]
    output: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    home = tmp_path_factory.mktemp("trial") / "home"
    command = [sys.executable, "-m", "shadow", "demo", "--exit", "--home", str(home), "--seed", str(SEED),
               "--studies", str(STUDIES), "--seconds", str(SECONDS), "--report-floor", str(FLOOR)]  # fmt: skip
    log = home.parent / "output.log"
    with log.open("wb") as output:
        demo = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=PROJECT, start_new_session=True)
    try:
        killed = _kill_each_once(demo, home)
        code = demo.wait(600)
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.wait(60)
    text = log.read_text(encoding="utf-8")
    assert code == 0, text[-3000:]
    published = read_current(home / "snapshots")
    assert published is not None
    yield Ran(home, plan_hospital(SEED, STUDIES, WEEKS, START), _truth(home), _rows(home), published, killed, text)


def _truth(home: Path) -> dict[str, list[dict[str, object]]]:
    lines: dict[str, list[dict[str, object]]] = {}
    for line in (home / "truth.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        lines.setdefault(entry["kind"], []).append(entry)
    return lines


def _rows(home: Path) -> list[tuple[int, str, str, dict[str, object]]]:
    connection = sqlite3.connect(home / "ledger.db")
    rows = connection.execute("select seq, kind, subject, body from event order by seq").fetchall()
    connection.close()
    return [(seq, kind, subject, json.loads(body)) for seq, kind, subject, body in rows]


def _kill_each_once(demo: subprocess.Popen[bytes], home: Path) -> list[str]:
    """Wait until studies come in, then kill -9 one process after the other, a few seconds apart."""
    deadline = time.monotonic() + 240
    while _studies_received(home) < 10:
        assert demo.poll() is None and time.monotonic() < deadline, "no study came in"
        time.sleep(0.5)
    killed = []
    for victim in VICTIMS:
        for process in psutil.Process(demo.pid).children():
            words = " ".join(process.cmdline()).replace(" -m ", " ").replace("api_server", "api-server")
            if victim in words:
                process.kill()
                killed.append(victim)
                break
        time.sleep(3)
    return killed


def _studies_received(home: Path) -> int:
    try:
        connection = sqlite3.connect(f"file:{home / 'ledger.db'}?mode=ro", uri=True)
        (count,) = connection.execute("select count(*) from event where kind = 'study'").fetchone()
        connection.close()
    except sqlite3.OperationalError:
        return 0
    return int(count)


def _keys(ran: Ran) -> Pseudonymiser:
    return Pseudonymiser((ran.home / "secrets" / "site.key").read_bytes())


def _accession_key(ran: Ran, site: str, accession_number: str) -> str:
    rule = "trim-upper-strip-zeros/1" if site == "riverside" else "trim-upper/1"
    return _keys(ran).accession_key(site.upper(), normalise_accession_number(rule, accession_number))


def _of_kind(ran: Ran, kind: str) -> list[dict[str, object]]:
    return [body for _, one, _, body in ran.rows if one == kind]


def test_every_process_was_killed_and_the_trial_ended_all_the_same(ran: Ran) -> None:
    assert ran.killed == list(VICTIMS)
    assert "the chain is whole" in ran.output
    assert ran.published.snapshot.broken_promises == ()


def test_every_study_sent_is_received_once_with_all_its_images(ran: Ran) -> None:
    closed = {str(body["study_key"]): body for body in _of_kind(ran, "study") if body["revision"] == 1}
    expected = {_keys(ran).study_key(study.study_instance_uid): study for study in ran.plan.studies}
    assert closed.keys() == expected.keys()
    assert len(ran.truth["study_acknowledged"]) == STUDIES
    for key, study in expected.items():
        body = closed[key]
        assert body["instance_count"] == _images(study), study.number
        assert body["site"] == study.site.identifier
    assert not [body for body in _of_kind(ran, "study") if body["revision"] != 1]


def _images(study: PlannedStudy) -> int:
    """One localizer and the slices; chest and angiography send three."""
    if study.defect == "localizer_only":
        return 1
    if study.ineligible in ("chest", "angiography"):
        return 4
    return 1 + round(80 / study.physics.slice_thickness_mm) - 2 * (study.defect == "missing_slices")


def test_shift_and_scanner_are_those_of_the_hospital(ran: Ran) -> None:
    truth = {_keys(ran).study_key(str(one["study_instance_uid"])): one for one in ran.truth["study"]}
    stations = {"RVCT1": "riverside-ct-1", "RVCT2": "riverside-ct-2", "RVCT3": "riverside-ct-3",
                "HSCT1": "hillside-ct-1", "HSCT2": "hillside-ct-2"}  # fmt: skip
    for body in _of_kind(ran, "study"):
        sent = truth[str(body["study_key"])]
        assert body["scanner"] == stations[str(sent["station"])]
        assert body["shift"] == sent["shift"]
        assert datetime.fromisoformat(str(body["acquired_at"])) == datetime.fromisoformat(str(sent["arrival"]))


def test_every_study_is_in_the_state_that_its_truth_foretells(ran: Ran) -> None:
    excluded = {str(body["study_key"]) for body in _of_kind(ran, "exclusion")}
    failed = {str(body["study_key"]): str(body["reason"]) for body in _of_kind(ran, "prediction_failure")}
    answered = {str(body["study_key"]) for body in _of_kind(ran, "prediction")}
    for study in ran.plan.studies:
        key = _keys(ran).study_key(study.study_instance_uid)
        assert (key in excluded) == (study.ineligible is not None), study.number
        if study.ineligible is None:
            assert (key in failed) == (study.defect is not None), (study.number, study.defect)
            assert (key in answered) == (study.defect is None), study.number
        else:
            assert key not in failed and key not in answered
    assert len(excluded) + len(failed) + len(answered) == STUDIES


def _weights(pixels: int, pixel_mm: float) -> np.ndarray:
    """Share of each input pixel in each of 128 output pixels of 1.8 mm, counted in fine steps."""
    fine = 200
    position = (np.arange(pixels * fine) + 0.5) / fine * pixel_mm - pixels * pixel_mm / 2
    target = np.floor((position + 128 * 1.8 / 2) / 1.8).astype(int)
    weights = np.zeros((128, pixels))
    valid = (target >= 0) & (target < 128)
    np.add.at(weights, (target[valid], np.repeat(np.arange(pixels), fine)[valid]), pixel_mm / fine / 1.8)
    return weights


def _score(session: onnxruntime.InferenceSession, study: PlannedStudy) -> float:
    images = [ds for ds in study_instances(study) if "AXIAL" in ds.ImageType]
    images.sort(key=lambda ds: ds.ImagePositionPatient[2])
    volume = np.stack([np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns) for ds in images]) - 1024.0
    weights = _weights(160, 1.44)
    grid = np.einsum("ij,njk,lk->nil", weights, volume + 1024.0, weights) - 1024.0
    return float(session.run(["prob"], {"hu": grid[:, None].astype(np.float32)})[0].max())


def test_predictions_come_from_the_pixels_that_were_sent(ran: Ran) -> None:
    session = onnxruntime.InferenceSession(str(MODEL / "model.onnx"), providers=["CPUExecutionProvider"])
    locked = {str(body["study_key"]): body for body in _of_kind(ran, "prediction")}
    compared = 0
    for study in ran.plan.studies[::8]:
        body = locked.get(_keys(ran).study_key(study.study_instance_uid))
        if body is not None:
            assert float(str(body["score"])) == pytest.approx(_score(session, study), abs=0.01)
            compared += 1
    assert compared > 10
    assert len({body["input_sha256"] for body in locked.values()}) == len(locked)


def test_every_report_is_linked_or_listed_with_its_reason(ran: Ran) -> None:
    versions = _of_kind(ran, "report_version")
    actions = ("message_quarantined", "message_not_used")
    quarantined = [body for body in _of_kind(ran, "audit") if body["action"] in actions]
    sent = [one for one in ran.truth["message"] if not one["repeat"]]
    assert len(sent) == len(versions) + len(quarantined)
    assert len(quarantined) == sum(one["message_kind"] == "junk" for one in sent)
    flow = ran.published.snapshot.flow
    assert flow.report_versions == len(versions)
    studies = {str(body["accession_key"]) for body in _of_kind(ran, "study")}
    reported = {str(body["accession_key"]) for body in versions}
    assert flow.reports_linked == len(reported & studies)
    assert flow.reports_unmatched == len(reported - studies)
    orphans = {_accession_key(ran, str(one["site"]), str(one["accession_number"]))
               for one in sent if one["message_kind"] == "orphan"}  # fmt: skip
    assert reported - studies == orphans


def _states_by_hand(ran: Ran) -> Counter[tuple[str, str]]:
    """The 2x2 and its margins from the ledger's rows, written anew in plain Python."""
    first_report: dict[str, int] = {}
    first_final: dict[str, str] = {}
    label: dict[str, str] = {}
    index: dict[str, tuple[int, str]] = {}
    excluded = {str(body["study_key"]) for body in _of_kind(ran, "exclusion")}
    accession = {str(body["study_key"]): str(body["accession_key"]) for body in _of_kind(ran, "study")}
    for seq, kind, _, body in ran.rows:
        if kind == "report_version":
            first_report.setdefault(str(body["accession_key"]), seq)
            if body["result_status"] in ("F", "C"):
                first_final.setdefault(str(body["accession_key"]), str(body["report_key"]))
        elif kind == "label":
            label[str(body["report_key"])] = str(body["state"])
        elif kind == "prediction":
            index[str(body["study_key"])] = (seq, "positive" if body["index_test_positive"] else "negative")
        elif kind == "prediction_failure":
            index[str(body["study_key"])] = (seq, "failed")
    counts: Counter[tuple[str, str]] = Counter()
    for study, key in accession.items():
        if study in excluded:
            continue
        seq, state = index[study]
        if state != "failed" and first_report.get(key, seq) < seq:
            state = "late"
        reference = label[first_final[key]] if key in first_final else "pending"
        counts[state, "absent" if reference == "not_mentioned" else reference] += 1
    return counts


def test_the_archives_were_asked_by_the_scheduler_and_what_never_came_is_known(ran: Ran) -> None:
    """The reconciliation ran under Airflow; it lists every head CT of an adult, and misses those never forwarded."""
    listed = {str(body["study_key"]): body for body in _of_kind(ran, "archive_study")}
    keys = _keys(ran)
    sent = {keys.study_key(one.study_instance_uid) for one in ran.plan.studies if one.ineligible is None}
    lost = {keys.study_key(one.study_instance_uid): one for one in unrouted_studies(ran.plan)}
    assert lost, "choose a seed whose hospital loses a study"
    settled = {key for key, body in listed.items() if body["received"]}
    assert settled <= sent and len(sent - settled) <= 3, "the last hours have not settled yet"
    missing = {key for key, body in listed.items() if not body["received"]}
    assert missing <= lost.keys() and missing
    for key in missing:
        assert listed[key]["scanner"] == "hillside-ct-2" and listed[key]["instances_received"] == 0
    arrived = ran.published.snapshot.completeness
    assert arrived is not None
    assert (arrived.rows[0].received.of, arrived.rows[0].never) == (len(listed), len(missing))


def test_the_snapshot_counts_what_plain_python_counts_in_the_ledger(ran: Ran) -> None:
    counted = _states_by_hand(ran)
    flow = ran.published.snapshot.flow
    for index_state in IndexState:
        for reference_state in ReferenceState:
            expected = counted[index_state.value, reference_state.value]
            assert flow.count(index_state, reference_state) == expected, (index_state, reference_state)
    assert flow.broken_sums() == ()
    overall = ran.published.snapshot.overall
    present = sum(count for (_, reference), count in counted.items() if reference == "present")
    assert (overall.sensitivity.count, overall.sensitivity.of) == (counted["positive", "present"], present)


def test_no_prediction_was_late_although_every_process_was_killed(ran: Ran) -> None:
    assert ran.published.snapshot.flow.count(IndexState.LATE) == 0
    assert ran.published.snapshot.flow.count(IndexState.AWAITING) == 0


def test_the_reference_standard_is_what_the_radiologist_meant(ran: Ran) -> None:
    meant = {"present": "present", "absent": "absent", "uncertain": "indeterminate"}
    final = {str(body["report_key"]): str(body["accession_key"]) for body in _of_kind(ran, "report_version")
             if body["final"]}  # fmt: skip
    read: dict[str, str] = {}
    for body in _of_kind(ran, "label"):
        if str(body["report_key"]) in final:
            read.setdefault(str(body["accession_key"]), str(body["state"]))
    compared = 0
    for one in ran.truth["study"]:
        key = _accession_key(ran, str(one["site"]), str(one["accession_number"]))
        if one["final_report_sent"] and one["ineligible"] in (None, "child"):
            state = "absent" if read[key] == "not_mentioned" else read[key]
            assert state == meant[str(one["verdict"])], one
            compared += 1
    assert compared > 90


def test_no_identifier_lies_in_clear_outside_the_spool(ran: Ran, tmp_path: Path) -> None:
    """Names, numbers and report words are looked for in every file: logs, Airflow's database, ledger, lake, journal.

    The spool keeps DICOM as it came, and the hospital's truth is not ours.
    """
    planted = {str(one["patient_id"]).encode() for one in ran.truth["study"]}
    planted |= {str(one["patient_name"]).encode() for one in ran.truth["study"]}
    planted |= {one.study_instance_uid.encode() + b"." for one in ran.plan.studies[:40]}
    planted |= {b"Ostrowski^Leonid", b"Hartigan^Moira", b"Babineaux", b"IMPRESSION:"}
    patterns = tmp_path / "patterns"
    patterns.write_bytes(b"\n".join(sorted(planted)))
    search = ["grep", "--recursive", "--text", "--fixed-strings", "--file", str(patterns)]
    outside = ["--exclude-dir=spool", "--exclude=truth.jsonl"]
    everywhere = subprocess.run([*search, "-l", str(ran.home)], capture_output=True, text=True, check=False)
    assert "/spool/" in everywhere.stdout
    assert list(ran.home.glob("journal/*.journal")) and list(ran.home.glob("postgres/**/base"))
    assert list(ran.home.glob("airflow/logs/**/*.log")) or list(ran.home.glob("logs/*.log"))
    found = subprocess.run([*search, "-l", *outside, str(ran.home)], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 1)


def test_a_changed_byte_anywhere_in_the_ledger_is_found(ran: Ran, tmp_path: Path) -> None:
    copy = tmp_path / "home"
    copy.mkdir()
    for name in ("configuration", "secrets"):
        shutil.copytree(ran.home / name, copy / name)
    source, target = sqlite3.connect(ran.home / "ledger.db"), sqlite3.connect(copy / "ledger.db")
    source.backup(target)
    source.close()
    verify = [sys.executable, "-m", "shadow", "ledger", "verify", "--home", str(copy)]
    whole = subprocess.run(verify, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert whole.returncode == 0, whole.stderr
    target.execute("drop trigger event_no_update")
    target.execute("update event set body = replace(body, '\"revision\":1', '\"revision\":2') where seq = 9")
    target.execute("update event set subject = subject || 'x' where seq = 12")
    target.commit()
    target.close()
    broken = subprocess.run(verify, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert broken.returncode == 1
    assert "BROKEN" in broken.stdout


def test_nothing_runs_on_after_the_end(ran: Ran) -> None:
    left = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(ran.home) in " ".join(process.info["cmdline"] or []) and process.pid != os.getpid()
    ]
    assert left == []


def test_the_truth_file_is_not_read_by_the_harness() -> None:
    readers = [
        path
        for path in (PROJECT / "shadow").rglob("*.py")
        if TruthFile.__name__ in path.read_text(encoding="utf-8") and "rehearsal" not in path.parts
    ]
    assert readers == []


def test_every_result_of_the_vendors_product_is_locked_once_and_says_what_was_sent(ran: Ran) -> None:
    expected = {}
    for study in ran.plan.studies:
        sent = result_bytes(study) if study.ineligible is None else None
        if sent is not None:
            said = next(one for one in sent.decode().split("\r") if "|ICH^ICH^L|" in one).split("|")[5]
            expected[_accession_key(ran, study.site.identifier, study.accession_number)] = {
                "POS": True, "NEG": False, "ERROR": None,
            }[said]  # fmt: skip
    rows = _of_kind(ran, "vendor_result")
    assert len(rows) == len(expected) > 100
    assert {str(one["accession_key"]): one["index_test_positive"] for one in rows} == expected
    (comparison,) = ran.published.snapshot.evidence.comparisons
    assert comparison.challenger == "simulated-ich" and ran.published.snapshot.evidence.unread_results == ()
