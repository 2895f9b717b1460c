"""The doctor finds what it is there to find."""

import dataclasses
import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shadow.cli import app
from shadow.domain.home import Home
from shadow.protocol.deployment import (
    ArchivePeer,
    Dashboard,
    Deployment,
    FhirListener,
    Receiver,
    ReportListener,
    Retrieve,
    Scheduler,
)
from shadow.supervision.doctor import Thresholds, ports_of, run_doctor
from shadow.supervision.findings import Finding, FindingState
from shadow.supervision.ports import free_ports


@pytest.fixture
def deployment() -> Deployment:
    receiver, reports, dashboard, scheduler = free_ports((0, 0, 0, 0))
    return Deployment(
        receiver=Receiver(port=receiver),
        reports=ReportListener(port=reports),
        dashboard=Dashboard(port=dashboard),
        scheduler=Scheduler(port=scheduler),
    )


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken


def problems(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.what for finding in findings if finding.state is FindingState.PROBLEM]


def find(findings: tuple[Finding, ...], words: str) -> Finding:
    (found,) = [finding for finding in findings if words in finding.what]
    return found


def test_every_finding_that_is_not_well_says_what_to_do(tmp_path: Path, deployment: Deployment) -> None:
    findings = run_doctor(Home(tmp_path), deployment)
    assert all(finding.remedy for finding in findings if finding.state is not FindingState.OK)
    assert not any(finding.remedy for finding in findings if finding.state is FindingState.OK)
    assert not [what for what in problems(findings) if "Port" in what or "disk" in what]


def test_a_taken_port_is_a_problem_with_its_purpose(
    tmp_path: Path, deployment: Deployment, listener: socket.socket
) -> None:
    port = listener.getsockname()[1]
    taken = dataclasses.replace(deployment, reports=ReportListener(port=port))
    assert f"Port {port} on 127.0.0.1 (report listener) is taken." in problems(run_doctor(Home(tmp_path), taken))


def test_an_address_of_another_machine_is_not_said_to_be_taken(tmp_path: Path, deployment: Deployment) -> None:
    elsewhere = dataclasses.replace(deployment, reports=dataclasses.replace(deployment.reports, host="192.0.2.1"))
    found = find(run_doctor(Home(tmp_path), elsewhere), "report listener")
    assert (found.state, "is no address of this machine" in found.what) == (FindingState.PROBLEM, True)
    assert "host" in found.remedy


def test_two_servers_on_one_port_are_a_problem(tmp_path: Path, deployment: Deployment) -> None:
    same = dataclasses.replace(deployment, dashboard=Dashboard(port=deployment.receiver.port))
    assert "Two servers are given the same port." in problems(run_doctor(Home(tmp_path), same))


def test_the_ports_of_a_running_trial_are_its_own(
    tmp_path: Path, deployment: Deployment, listener: socket.socket
) -> None:
    held = dataclasses.replace(deployment, scheduler=Scheduler(port=listener.getsockname()[1]))
    with (tmp_path / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        findings = run_doctor(Home(tmp_path), held)
    assert find(findings, "is running and holds its ports").state is FindingState.OK
    assert not [what for what in problems(findings) if "is taken" in what]


def test_a_key_that_others_may_read_is_a_problem(tmp_path: Path, deployment: Deployment) -> None:
    home = Home(tmp_path)
    home.secrets.mkdir(mode=0o700)
    key = home.secrets / "vault.key"
    key.write_bytes(b"key")
    key.chmod(0o640)
    found = find(run_doctor(home, deployment), str(key))
    assert (found.state, "0640" in found.what) == (FindingState.PROBLEM, True)
    key.chmod(0o600)
    assert find(run_doctor(home, deployment), "closed to other users").state is FindingState.OK


def test_a_full_disk_is_a_problem_and_a_filling_one_a_warning(tmp_path: Path, deployment: Deployment) -> None:
    full = dataclasses.replace(
        deployment, receiver=dataclasses.replace(deployment.receiver, minimum_free_bytes=1 << 60)
    )
    assert find(run_doctor(Home(tmp_path), full), "The disk is full").state is FindingState.PROBLEM
    scarce = Thresholds(scarce_bytes=1 << 60)
    roomy = dataclasses.replace(deployment, receiver=dataclasses.replace(deployment.receiver, minimum_free_bytes=1))
    assert find(run_doctor(Home(tmp_path), roomy, scarce), "filling up").state is FindingState.WARNING


def test_a_slow_disk_is_told_with_its_figure(tmp_path: Path, deployment: Deployment) -> None:
    slow = Thresholds(slow_write_seconds=0.0)
    assert find(run_doctor(Home(tmp_path), deployment, slow), " ms").state is FindingState.WARNING
    unusable = Thresholds(slow_write_seconds=0.0, unusable_write_seconds=0.0)
    found = find(run_doctor(Home(tmp_path), deployment, unusable), " ms")
    assert found.state is FindingState.PROBLEM
    assert "time out" in found.what


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path, deployment: Deployment) -> None:
    findings = run_doctor(Home(Path("/proc/self")), deployment)
    assert find(findings, "cannot be written").state is FindingState.PROBLEM


def test_a_file_in_place_of_the_folder_is_a_problem(tmp_path: Path, deployment: Deployment) -> None:
    (tmp_path / "trial").touch()
    assert f"{tmp_path / 'trial'} is a file." in problems(run_doctor(Home(tmp_path / "trial"), deployment))


def test_missing_postgresql_is_named_with_its_package(
    tmp_path: Path, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    from shadow.domain.errors import SetupError
    from shadow.supervision.postgres import find_programs

    with pytest.raises(SetupError, match="install the package `postgresql`"):
        find_programs(system=tmp_path)


def test_a_certificate_may_be_read_by_all_and_a_key_beside_it_may_not(tmp_path: Path, deployment: Deployment) -> None:
    home = Home(tmp_path)
    home.secrets.mkdir(mode=0o700)
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    for name, content in (("ca.crt", certificate), ("both.pem", f"{certificate}-----BEGIN PRIVATE KEY-----\n")):
        (home.secrets / name).write_text(content)
        (home.secrets / name).chmod(0o644)
    open_to_others = [one for one in problems(run_doctor(home, deployment)) if "open to other users" in one]
    assert len(open_to_others) == 1
    assert "both.pem" in open_to_others[0]


def test_every_server_is_looked_at(deployment: Deployment) -> None:
    four = [
        deployment.receiver.port,
        deployment.reports.port,
        deployment.dashboard.port,
        deployment.scheduler.port,
    ]
    assert [port for _, _, port in ports_of(deployment)] == four
    with_hook = dataclasses.replace(deployment, fhir_listener=FhirListener("secrets/token", port=8090))
    assert [port for _, _, port in ports_of(with_hook)] == [*four, 8090]


def test_a_trial_that_asks_no_archive_is_warned_and_a_file_that_is_not_there_is_a_problem(
    tmp_path: Path, deployment: Deployment
) -> None:
    assert "will not be missed" in find(run_doctor(Home(tmp_path), deployment), "No router or PACS is asked").what
    peer = ArchivePeer("riverside", url="https://pacs.example", token_file="secrets/token", retrieve=Retrieve.WADO)
    named = dataclasses.replace(deployment, archives=(peer,))
    assert "The archive of riverside cannot be asked: there is no file secrets/token" in problems(
        run_doctor(Home(tmp_path), named)
    )
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").touch()
    assert not [one for one in run_doctor(Home(tmp_path), named) if "archive" in one.what.lower() and one.remedy]


def test_what_the_doctor_prints_is_what_it_found_brackets_and_all(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["doctor", "--home", str(tmp_path / "[red]")], env={"COLUMNS": "300"})
    assert "name each site's archive as [[archives]] in configuration/deployment.toml" in shown.output
    assert f"{tmp_path} can be written." in shown.output
