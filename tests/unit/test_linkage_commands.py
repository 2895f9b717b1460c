"""`shadow linkage` over a real folder: what has no study is listed, and a person's word on it is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shadow.cli import app, main
from shadow.domain.errors import LinkageRefused
from shadow.domain.home import Home
from shadow.domain.project import project_folder
from shadow.store.events import Kind, LinkOf, ReportVersion, StudyClosed
from shadow.wiring.linking import correct_link, unmatched_reports
from shadow.wiring.trial import Trial, open_trial, register_trial

AT = datetime(2026, 9, 1, 12, tzinfo=UTC)
STUDY, LOST, OTHER = "A" + "S" * 20, "A" + "L" * 20, "A" + "O" * 20
PATIENT = "P" + "P" * 20


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    home = Home(tmp_path)
    register_trial(project_folder("configs") / "trials" / "demo-head-ct.toml", home)
    opened = open_trial(home)
    study = StudyClosed(
        "S1", 1, None, PATIENT, STUDY, "riverside", "riverside-ct-1", "Day", AT, AT, AT, AT, 17, "0" * 64,
        "MAKER", "MODEL", "H31s", 120.0, 5.0, 60, "F",
    )  # fmt: skip
    lost = ReportVersion(
        "R1:1", "riverside", LOST, PATIENT, "F", True, False, AT, AT, AT, "0" * 64, "0" * 64
    )  # fmt: skip
    with opened.open_ledger() as ledger:
        ledger.append([study, lost])
    return opened


def shadow(trial: Trial, *arguments: str, width: int = 200) -> tuple[int, str]:
    environment = {"COLUMNS": str(width)}
    found = CliRunner().invoke(app, ["linkage", *arguments, "--home", str(trial.home.root)], env=environment)
    return found.exit_code, found.output


def test_a_person_finds_the_study_that_was_meant_and_it_is_on_record(trial: Trial) -> None:
    code, output = shadow(trial, "list")
    assert code == 1 and LOST in output and STUDY in output
    assert shadow(trial, "resolve", LOST, STUDY, "--reason", "typing error at the scanner")[0] == 0
    assert shadow(trial, "list") == (0, "Every report has its study.\n")
    with trial.open_ledger() as ledger:
        (row,) = ledger.of_kind(Kind.LINK)
    body = json.loads(row.body or "")
    assert (body["source"], body["site"], body["reason"]) == ("person", "riverside", "typing error at the scanner")
    assert body["actor"]


def test_keys_are_whole_on_a_narrow_screen_for_they_are_typed_again(trial: Trial) -> None:
    _, output = shadow(trial, "list", width=80)
    assert LOST in output and STUDY in output
    assert max(map(len, output.splitlines())) <= 80


def test_what_was_said_can_be_taken_back(trial: Trial) -> None:
    shadow(trial, "resolve", LOST, STUDY, "--reason", "a guess")
    assert shadow(trial, "resolve", LOST, STUDY, "--reason", "it was another", "--undo")[0] == 0
    assert [one.report_accession for one in unmatched_reports(trial)] == [LOST]


@pytest.mark.parametrize(
    ("keys", "reason", "words"),
    [
        ((LOST, LOST), "x", "both keys are the same"),
        ((LOST, "R00001234"), "x", "no key of an accession"),
        ((LOST, OTHER), "x", "not on record"),
        ((LOST, STUDY), "  ", "reason is empty"),
        ((LOST, STUDY), "it is R00001234", "holds a number"),
        ((LOST, STUDY), "belongs to Doe^Ada", "or a name"),
        ((LOST, STUDY), "born 3.2.1961", "holds a number"),
    ],
)
def test_a_word_that_cannot_be_taken_says_why(trial: Trial, keys: tuple[str, str], reason: str, words: str) -> None:
    with pytest.raises(LinkageRefused, match=words):
        correct_link(trial, LinkOf.ACCESSION, *keys, actor="ann", reason=reason)
    with trial.open_ledger() as ledger:
        assert ledger.of_kind(Kind.LINK) == []


def test_the_command_says_it_in_one_line(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["linkage", "resolve", LOST, OTHER, "--reason", "x", "--home", str(trial.home.root)]
    monkeypatch.setattr("sys.argv", ["shadow", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"shadow: {OTHER}: not on record")
