"""Registering a trial: by digest, once, and nothing may change behind its back."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import shutil
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from head_ct import head_slice
from pydicom import config
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode
from typer.testing import CliRunner

from shadow.assessment.monitors import stream_of
from shadow.assessment.snapshot_file import OtherVersion, read_current, sha256_of
from shadow.cli import app, main
from shadow.domain.errors import ConfigurationError, LedgerConflict
from shadow.domain.home import Home
from shadow.index_test.file_head import file_head
from shadow.index_test.instance import read_instance
from shadow.store.events import AlarmRaised, Audited, FileDigest, Kind, TrialRegistered
from shadow.wiring.assessing import assess_trial
from shadow.wiring.tasks import HOME_VARIABLE, task_trial
from shadow.wiring.trial import open_trial, register_trial, verify_ledger

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def trial_file(tmp_path: Path) -> Path:
    shutil.copytree(CONFIGS, tmp_path / "configs")
    return tmp_path / "configs" / "trials" / "demo-head-ct.toml"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_trial_is_registered_once_with_the_digests_of_all_it_names(trial_file: Path, home: Home) -> None:
    first, again = register_trial(trial_file, home), register_trial(trial_file, home)
    assert (first.seq, first.created, again.seq, again.created) == (1, True, 1, False)
    with open_trial(home).open_ledger() as ledger:
        row = ledger.find(Kind.TRIAL_PROTOCOL, "1.0")
    assert row is not None and row.body is not None
    body = json.loads(row.body)
    assert [one["identifier"] for one in body["sites"]] == ["riverside", "hillside"]
    assert body["protocol_text"] == trial_file.read_text(encoding="utf-8")
    assert verify_ledger(home).problem is None


def test_a_registration_from_before_contracts_were_registered_is_opened(trial_file: Path, home: Home) -> None:
    register_trial(trial_file, home)
    trial = open_trial(home)
    with trial.open_ledger() as ledger:
        row = ledger.find(Kind.TRIAL_PROTOCOL, "1.0")
        assert row is not None and row.body is not None
        body = json.loads(row.body)
        digests = {name: tuple(FileDigest(**one) for one in body[name]) for name in ("sites", "models")}
        models = tuple(one for one in digests["models"] if not one.identifier.endswith("model.toml"))
        assert len(models) == len(digests["models"]) - 1
        text = body["protocol_text"].replace('version = "1.0"', 'version = "0.9"')
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        ledger.append([TrialRegistered(body["trial"], "0.9", sha256, text, digests["sites"], models)])
    (home.configuration / "trials" / "trial.toml").write_text(text, encoding="utf-8")
    assert open_trial(home).protocol.version == "0.9"


def test_other_content_under_the_same_version_is_refused(trial_file: Path, home: Home) -> None:
    register_trial(trial_file, home)
    text = trial_file.read_text(encoding="utf-8")
    trial_file.write_text(text.replace("floor = 0.80", "floor = 0.70"), encoding="utf-8")
    with pytest.raises(LedgerConflict):
        register_trial(trial_file, home)
    assert open_trial(home).protocol.criteria[0].floor == 0.80


def test_a_new_version_goes_into_the_ledger_that_the_folder_names(trial_file: Path, tmp_path: Path, home: Home) -> None:
    deployment = tmp_path / "deployment.toml"
    deployment.write_text(f'ledger_url = "sqlite:///{tmp_path / "elsewhere.db"}"')
    register_trial(trial_file, home, deployment)
    trial_file.write_text(trial_file.read_text(encoding="utf-8").replace('version = "1.0"', 'version = "1.1"'))
    assert register_trial(trial_file, home).seq == 2
    assert open_trial(home).protocol.version == "1.1"
    assert verify_ledger(home).events == 2


CONTRACT = "models/demo-head-ct-haemorrhage/model.toml"


@pytest.mark.parametrize("name", ["trials/trial.toml", "sites/hillside.toml", CONTRACT])
def test_a_file_changed_after_registration_stops_every_process(trial_file: Path, home: Home, name: str) -> None:
    register_trial(trial_file, home)
    file = home.configuration / name
    file.write_text(file.read_text(encoding="utf-8") + "\n# later thought\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="changed after registration"):
        open_trial(home)


def test_a_model_file_that_is_not_the_registered_one_is_refused(trial_file: Path, home: Home) -> None:
    text = trial_file.read_text(encoding="utf-8")
    digest = next(line for line in text.splitlines() if line.startswith("sha256"))
    trial_file.write_text(text.replace(digest, f'sha256 = "{"0" * 64}"'), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"sha256"):
        register_trial(trial_file, home)


def test_a_router_that_two_sites_claim_is_refused(trial_file: Path, home: Home) -> None:
    site = trial_file.parent.parent / "sites" / "hillside.toml"
    site.write_text(site.read_text().replace('["HILLSIDE_RTR"]', '["HILLSIDE_RTR", "RIVERSIDE_RTR"]'))
    with pytest.raises(ConfigurationError, match=r"hillside.toml: calling_ae_titles: 'RIVERSIDE_RTR' is riverside's"):
        register_trial(trial_file, home)
    assert not home.root.exists()


@pytest.mark.parametrize(
    "peer",
    ['[[archives]]\nsite = "riversid"\nae_title = "PACS"', '[[fhir_servers]]\nsite = "riversid"\nurl = "http://f"'],
)
def test_a_peer_of_a_site_that_the_trial_does_not_have_is_refused(
    trial_file: Path, tmp_path: Path, home: Home, peer: str
) -> None:
    deployment = tmp_path / "deployment.toml"
    deployment.write_text(peer)
    words = r"deployment.toml: (archives|fhir_servers)\[0\].site: the trial has no 'riversid'; it has riverside, hill"
    with pytest.raises(ConfigurationError, match=words):
        register_trial(trial_file, home, deployment)
    register_trial(trial_file, home)
    shutil.copy(deployment, home.configuration / "deployment.toml")
    with pytest.raises(ConfigurationError, match=words):
        open_trial(home)


def test_two_sites_may_share_a_report_system_where_they_read_it_alike(trial_file: Path, home: Home) -> None:
    site = trial_file.parent.parent / "sites" / "hillside.toml"
    shared = site.read_text().replace('sending_facilities = ["HILLSIDE"]', 'sending_facilities = ["RIVERSIDE"]')
    site.write_text(shared)
    words = "'RIVERSIDE' is riverside's too, with another accession_issuer, accession_rule, time_zone;"
    with pytest.raises(ConfigurationError, match=words):
        register_trial(trial_file, home)
    shared = shared.replace('accession_issuer = "HILLSIDE"', 'accession_issuer = "RIVERSIDE"')
    shared = shared.replace("America/Chicago", "America/New_York").replace("trim-upper/1", "trim-upper-strip-zeros/1")
    site.write_text(shared)
    assert register_trial(trial_file, home).created


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("intracranial-haemorrhage/3", "intracranial-haemorrhage/33", "reference.label_rule: choose one of"),
        ("intracranial-haemorrhage/3", "fracture/2", "reference.label_rule: reads 'fracture', not the target"),
        ('target_condition = "intracranial_h', 'target_condition = "h', "reference.label_rule: reads"),
    ],
)
def test_a_label_rule_that_cannot_read_the_target_condition_is_refused(
    trial_file: Path, home: Home, old: str, new: str, words: str
) -> None:
    text = trial_file.read_text(encoding="utf-8")
    assert old in text
    trial_file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=f"demo-head-ct.toml: {words}"):
        register_trial(trial_file, home)
    assert not home.root.exists()


def test_a_threshold_moved_before_registration_again_is_other_content(trial_file: Path, home: Home) -> None:
    register_trial(trial_file, home)
    contract = trial_file.parent.parent / CONTRACT
    contract.write_text(contract.read_text(encoding="utf-8").replace("threshold = 0.6589", "threshold = 0.4"))
    with pytest.raises(LedgerConflict):
        register_trial(trial_file, home)


def test_a_model_of_another_condition_is_refused(trial_file: Path, home: Home) -> None:
    contract = trial_file.parent.parent / "models" / "demo-head-ct-haemorrhage" / "model.toml"
    text = contract.read_text(encoding="utf-8").replace(
        'condition = "intracranial_haemorrhage"', 'condition = "stroke"'
    )
    contract.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="looks for 'stroke', not for the target condition"):
        register_trial(trial_file, home)


def test_keys_are_private_and_a_folder_without_a_trial_says_what_to_do(trial_file: Path, home: Home) -> None:
    with pytest.raises(ConfigurationError, match="shadow trial register"):
        open_trial(home)
    register_trial(trial_file, home)
    assert home.root.stat().st_mode & 0o077 == 0
    assert all(key.stat().st_mode & 0o077 == 0 for key in home.secrets.iterdir())


def test_an_empty_trial_is_assessed_published_once_and_shown(trial_file: Path, home: Home) -> None:
    register_trial(trial_file, home)
    trial = open_trial(home)
    published = assess_trial(trial)
    assert published is not None
    assert published.snapshot.broken_promises == ()
    assert len(published.snapshot.of_dimension("cell")) == 15
    assert assess_trial(trial) is None
    shown = CliRunner().invoke(app, ["status", "--home", str(home.root)])
    assert shown.exit_code == 0
    assert "Too early to judge" in shown.output
    assert "none yet" in shown.output


def test_status_of_a_folder_without_a_trial_says_so(trial_file: Path, home: Home) -> None:
    asked = ["status", "--home", str(home.root)]
    nowhere = CliRunner().invoke(app, asked)
    assert isinstance(nowhere.exception, ConfigurationError)
    assert "no trial is registered here" in str(nowhere.exception)
    register_trial(trial_file, home)
    assert "Nothing is published yet" in CliRunner().invoke(app, asked).stdout


def test_status_prints_names_as_the_files_have_them(trial_file: Path, home: Home) -> None:
    site = trial_file.parent.parent / "sites" / "riverside.toml"
    site.write_text(site.read_text(encoding="utf-8").replace('name = "CT-1"', 'name = "CT-1 [er] [/]"'))
    text = trial_file.read_text(encoding="utf-8")
    trial_file.write_text(text.replace("(demonstration)", "[pilot] [/b]").replace('"bleeds"', '"bleeds [i]"'))
    register_trial(trial_file, home)
    assess_trial(open_trial(home))
    shown = CliRunner().invoke(app, ["status", "--home", str(home.root)], env={"COLUMNS": "200"})
    assert "haemorrhage model [pilot] [/b]\n" in shown.output
    assert "Riverside CT-1 [er] [/]" in shown.output
    assert "bleeds [i] so far" in shown.output


def test_a_snapshot_speaks_for_the_events_it_counted_while_others_are_appended(trial_file: Path, home: Home) -> None:
    register_trial(trial_file, home)
    trial = open_trial(home)
    stop = threading.Event()

    def append_for_ever() -> None:
        with trial.open_ledger() as ledger:
            for number in itertools.count():
                if stop.is_set():
                    return
                name = f"instance:{number}"
                ledger.append([Audited(name, "mirror", "instance_quarantined", name, "undecodable_data_set")])

    writer = threading.Thread(target=append_for_ever)
    writer.start()
    try:
        published = [assess_trial(trial) for _ in range(3)]
    finally:
        stop.set()
        writer.join()
    with trial.open_ledger() as ledger:
        rows = ledger.since(0)
    assert published[0] is not None
    for one in filter(None, published):  # none: the writer appended nothing since the last
        counted = sum(reason.count for reason in one.snapshot.flow.instances_quarantined)
        spoken_for = [row for row in rows if row.seq <= one.snapshot.ledger_seq]
        assert counted == sum(row.kind == Kind.AUDIT for row in spoken_for)
        assert one.snapshot.ledger_hash == spoken_for[-1].hash


def test_what_was_appended_while_a_snapshot_was_made_is_in_the_next(trial_file: Path, home: Home) -> None:
    register_trial(trial_file, home)
    trial = open_trial(home)
    event = Audited("instance:1", "mirror", "instance_quarantined", "instance:1", "undecodable_data_set")

    class WhileAssessing:
        def now(self) -> datetime:
            with trial.open_ledger() as ledger:
                ledger.append([event])
            return trial.clock.now()

    first = assess_trial(replace(trial, clock=WhileAssessing()))
    assert first is not None and not first.snapshot.flow.instances_quarantined
    second = assess_trial(trial)
    assert second is not None and second.snapshot.flow.instances_quarantined
    assert assess_trial(trial) is None


@pytest.mark.parametrize(("folder", "words"), [("/sys/home", "choose another"), ("a file", "is a file")])
def test_a_folder_that_takes_no_trial_is_one_line_and_no_traceback(
    trial_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    folder: str, words: str,
) -> None:  # fmt: skip
    (tmp_path / "a file").touch()
    monkeypatch.setattr(sys, "argv", ["shadow", "trial", "register", str(trial_file), "--home", str(tmp_path / folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert (ended.value.code, words in line) == (2, True), line


def test_the_command_line_names_file_field_and_remedy(tmp_path: Path, home: Home) -> None:
    result = CliRunner().invoke(app, ["trial", "register", str(tmp_path / "no.toml"), "--home", str(home.root)])
    assert isinstance(result.exception, ConfigurationError)
    assert "check the path" in str(result.exception)


def test_a_snapshot_of_another_version_is_replaced_and_not_fallen_over(trial_file: Path, home: Home) -> None:
    register_trial(trial_file, home)
    trial = open_trial(home)
    first = assess_trial(trial)
    assert first is not None
    file = first.cases.with_name("snapshot.json")
    content = json.loads(file.read_bytes())
    del content["exploration"]
    older = json.dumps(content).encode()
    target = home.snapshots / sha256_of(older)[:16]
    target.mkdir()
    (target / "snapshot.json").write_bytes(older)
    (home.snapshots / "current.json").write_text(json.dumps({"sha256": sha256_of(older)}))
    with pytest.raises(OtherVersion, match="another version"):
        read_current(home.snapshots)
    again = assess_trial(trial)
    assert again is not None and read_current(home.snapshots) == again


def test_an_alarm_is_in_the_ledger_once_and_in_every_later_snapshot(trial_file: Path, home: Home) -> None:
    register_trial(trial_file, home)
    trial = open_trial(home)
    stream = stream_of(trial.protocol, trial.model(trial.protocol.champion.identifier)[1].threshold)
    week = datetime(2026, 10, 5, tzinfo=UTC)
    with trial.open_ledger() as ledger:
        cell = ("cell", "riverside", "riverside-ct-2", "Night")
        ledger.append([AlarmRaised(stream, *cell, week, "below the rest", 3, 9)])
    published = assess_trial(trial)
    assert published is not None
    (alarm,) = published.snapshot.monitoring.alarms
    assert (alarm.label, alarm.alarm_week) == ("Riverside CT-2, Night", week)
    with trial.open_ledger() as ledger:
        ledger.append([Audited("one more", "mirror", "instance_quarantined", "x", "undecodable_data_set")])
    assert assess_trial(trial) is not None
    with trial.open_ledger() as ledger:
        assert ledger.count(Kind.ALARM) == 1


def test_no_value_of_an_image_reaches_the_schedulers_log(
    trial_file: Path, home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("pydicom"), "propagate", True)
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.WARN)
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.WARN)
    register_trial(trial_file, home)
    monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    encoded = encode(head_slice(), is_implicit_vr=True, is_little_endian=True)
    assert encoded is not None
    head = file_head(CTImageStorage, "1.2.3", ImplicitVRLittleEndian, None)
    zero_before_a_digit = encoded.replace(b"1.2.826.0.1.", b"1.2.826.001.")
    task_trial()
    assert read_instance(head + zero_before_a_digit).text("StudyInstanceUID").startswith("1.2.826.001.")
    assert [one.getMessage() for one in caplog.records] == []
