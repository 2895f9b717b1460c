"""`shadow reconcile`, `shadow backfill` and what the pages then say, on a registered trial and a real Orthanc."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest
from head_ct import as_file, head_slice
from orthanc import AE_TITLE, free_port, running_orthanc
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from shadow.assessment.snapshot_file import read_current
from shadow.cli import app
from shadow.domain.errors import LaneBusy, SetupError
from shadow.domain.home import Home
from shadow.domain.project import project_folder
from shadow.store.events import Kind
from shadow.wiring.archives import backfill_site, reconcile_archives
from shadow.wiring.assessing import assess_trial
from shadow.wiring.trial import open_trial, register_trial

pytestmark = pytest.mark.server

ROOT = "1.2.826.0.1.3680043.10.999"


def run(home: Home, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "--home", str(home.root)], env={"COLUMNS": "120"})
    return result.exit_code, result.output


def night(dataset: Dataset) -> None:
    dataset.StationName = "RVCT2"


def test_what_never_came_is_printed_shown_and_fetched(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with running_orthanc(tmp_path / "orthanc", free_port()) as orthanc:
        deployment = tmp_path / "deployment.toml"
        deployment.write_text(
            f'[receiver]\nminimum_free_bytes = 0\n[[archives]]\nsite = "riverside"\nae_title = "{AE_TITLE}"\n'
            f'host = "127.0.0.1"\nport = {orthanc.dicom_port}\n'
        )
        register_trial(project_folder("configs") / "trials" / "demo-head-ct.toml", home, deployment)
        for study in "12":
            for number in range(1, 4):
                orthanc.upload(as_file(head_slice(study=study, number=number, change=night)))
        days = ("--from", "2026-09-01", "--to", "2026-09-02")
        code, said = run(home, "reconcile", "riverside", *days)
        assert code == 0, said
        assert "2 studies of these 2 days of riverside are not here now. 2 are newly on record" in said
        code, said = run(home, "reconcile", "riverside", *days)
        assert "2 studies of these 2 days of riverside are not here now. 0 are newly on record" in said
        trial = open_trial(home)
        published = assess_trial(trial)
        assert published is not None
        arrived = published.snapshot.completeness
        assert arrived is not None
        assert [(one.label, one.never) for one in arrived.rows if one.dimension == "cell"] == [
            ("Riverside CT-2, Night", 2)
        ]
        code, said = run(home, "status")
        assert "Of 2 studies that the archives list, 0 reached us (0%; 95 % interval 0% to" in " ".join(said.split())
        assert "0 came later, 2 never came." in " ".join(said.split())
        assert "The archive of hillside has never answered." in " ".join(said.split())
        code, said = run(home, "backfill", "riverside", *days)
        assert (code, said.count("3 instances"), "2 studies fetched for riverside" in said) == (0, 2, True), said
        assert said.count("; the archive lists 3") == 2
        assert len(list(home.spool.glob("arrived/*/*.dcm"))) == 6
        assert not [word for word in ("Planted", "MRN84736251", ROOT) if word in said]
    code, said = run(home, "reconcile", "riverside", *days)
    assert code == 1
    assert "2 days have no answer: nobody knows" in said
    assert "never reached us" not in said
    code, said = run(home, "backfill", "riverside", *days)
    assert (code, said.count("no answer")) == (1, 3)
    for command in ("reconcile", "backfill"):
        code, said = run(home, command, "riverside", "--from", "2026-09-02", "--to", "2026-09-01")
        assert code == 2
        assert "lies before --from" in said
        code, said = run(home, command, "riverside", "--from", "2026-13-02", "--to", "2026-09-01")
        assert (code, "does not match the format" in said) == (2, True)
    code, said = run(home, "reconcile", "hillside")
    assert code != 0
    code, _ = run(home, "reconcile", "nowhere")
    assert code != 0
    assert read_current(home.snapshots) is not None


def test_one_study_that_cannot_be_fetched_holds_up_no_other_and_a_full_disk_is_told(tmp_path: Path) -> None:
    def unknown_class(dataset: Dataset) -> None:
        dataset.SOPClassUID = "1.2.826.0.1.3680043.10.999.1"

    home = Home(tmp_path / "home")
    with running_orthanc(tmp_path / "orthanc", free_port()) as orthanc:
        for study, change in (("1", unknown_class), ("2", night)):
            orthanc.upload(as_file(head_slice(study=study, change=change)))
        for name, free in (("home", 0), ("full", 1 << 60)):
            deployment = tmp_path / f"{name}.toml"
            deployment.write_text(
                f'[receiver]\nminimum_free_bytes = {free}\n[[archives]]\nsite = "riverside"\n'
                f'ae_title = "{AE_TITLE}"\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\n'
            )
            register_trial(
                project_folder("configs") / "trials" / "demo-head-ct.toml", Home(tmp_path / name), deployment
            )
        days = ("--from", "2026-09-01", "--to", "2026-09-01")
        code, said = run(home, "backfill", "riverside", *days)
        assert (code, "1 studies could not be fetched, 0 days have no answer" in said) == (1, True), said
        assert len(list(home.spool.glob("arrived/*/*.dcm"))) == 1
        with pytest.raises(SetupError, match="Make room"):
            CliRunner().invoke(
                app, ["backfill", "riverside", *days, "--home", str(tmp_path / "full")], catch_exceptions=False
            )
        with (home.root / "backfill.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(LaneBusy, match="wait until it ends"):
                list(backfill_site(open_trial(home), "riverside", ()))


def test_a_site_that_cannot_be_asked_as_set_up_keeps_no_other_from_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    deployment = tmp_path / "deployment.toml"
    archive = f'[[archives]]\nsite = "{{}}"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {free_port()}\n'
    deployment.write_text(
        '[receiver.tls]\ncertificate = "gone.pem"\nkey = "gone.key"\nclient_authorities = "gone.pem"\n'
        + archive.format("riverside")
        + "tls = true\n"
        + archive.format("hillside")
    )
    trial = shutil.copytree(project_folder("configs"), tmp_path / "configs") / "trials" / "demo-head-ct.toml"
    trial.write_text(
        trial.read_text().replace("start = 2026-08-24", "start = 2000-01-01").replace("= 2026-11-23", "= 2200-01-01")
    )
    register_trial(trial, home, deployment)
    monkeypatch.setenv("SHADOW_HOME", str(home.root))
    with pytest.raises(SetupError, match="there is no file"):
        reconcile_archives()
    with open_trial(home).open_ledger() as ledger:
        silent = [row.key for row in ledger.of_kind(Kind.AUDIT) if row.key.startswith("archive_silent:hillside")]
    assert silent
