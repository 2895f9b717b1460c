"""What `shadow label explain` prints: the words that made the label, and why."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from shadow.domain.errors import ConfigurationError
from shadow.supervision.explain import explain


def said(path: Path, *rules: str) -> str:
    out = io.StringIO()
    explain(path, rules, Console(file=out, width=120))
    return out.getvalue()


def test_the_words_are_marked_with_their_state_and_reason(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    report.write_bytes("FINDINGS: No pneumothorax. Small effusion; œdema.\r\nIMPRESSION: Possible nodule.".encode())
    text = said(report)
    assert "No [- pneumothorax]" in text and "Small [+ effusion]" in text and "Possible [? nodule]" in text
    assert "fracture/2" in text and "not mentioned" in text
    (row,) = [line for line in text.splitlines() if line.startswith("FINDINGS") and "absent" in line]
    assert row.split() == ["FINDINGS", "pneumothorax", "absent", "No"]


def test_one_rule_is_shown_alone_and_an_unknown_one_names_the_known(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    report.write_text("Heart size is normal.", encoding="latin-1")
    text = said(report, "cardiomegaly/2")
    assert "cardiomegaly/2: absent" in text and "pneumothorax" not in text
    with pytest.raises(ConfigurationError, match="choose one of"):
        said(report, "heart/1")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        said(tmp_path / "missing.txt")
