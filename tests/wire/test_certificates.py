"""What the doctor says of a listener's certificate, before a router is turned away for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from certificates import Authority

from shadow.domain.home import Home
from shadow.protocol.deployment import Deployment, ReportListener, Tls
from shadow.supervision.doctor import run_doctor
from shadow.supervision.findings import Finding, FindingState


def found(folder: Path, tls: Tls) -> Finding:
    findings = run_doctor(Home(folder), Deployment(reports=ReportListener(tls=tls)))
    (one,) = [one for one in findings if "reports.tls" in one.what]
    return one


@pytest.mark.parametrize(
    ("lasts", "state"),
    [
        (timedelta(days=400), FindingState.OK),
        (timedelta(days=20), FindingState.WARNING),
        (timedelta(minutes=-1), FindingState.PROBLEM),
    ],
)
def test_a_certificate_is_told_of_before_it_ends(tmp_path: Path, lasts: timedelta, state: FindingState) -> None:
    one = found(tmp_path, Authority(tmp_path).certify("shadow", lasts))
    assert (one.state, "ends on" in one.what) == (state, True)


def test_a_key_with_a_passphrase_and_a_file_that_is_not_there_are_problems(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    locked = found(tmp_path, authority.certify("shadow", passphrase=b"typed by nobody"))
    assert (locked.state, "has a passphrase" in locked.what) == (FindingState.PROBLEM, True)
    absent = found(tmp_path, Tls("absent.crt", "absent.key", str(authority.file)))
    assert absent.what == "reports.tls.certificate: there is no file absent.crt."
