"""What older bodies of the report side say once they are exported: fields that came later have their first meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from shadow.store.events import Event, Kind, LabelRead, ReportVersion
from shadow.store.lake import Lake
from shadow.store.ledger import Ledger

NOON = datetime(2026, 8, 24, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FirstLabelRead:
    """LabelRead as the first ledgers have it."""

    KIND: ClassVar[Kind] = Kind.LABEL
    report_key: str
    accession_key: str
    target_condition: str
    state: str
    rule: str
    spans: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.report_key

    @property
    def subject(self) -> str:
        return self.accession_key


@dataclass(frozen=True, slots=True)
class FirstReportVersion:
    """ReportVersion as the first ledgers have it, as far as this test needs it."""

    KIND: ClassVar[Kind] = Kind.REPORT_VERSION
    report_key: str
    final: bool = True
    addendum: bool = False

    @property
    def key(self) -> str:
        return self.report_key

    @property
    def subject(self) -> str:
        return self.report_key


def exported(folder: Path, events: Sequence[Event], columns: str, kind: str) -> list[tuple[object, ...]]:
    with Ledger(f"sqlite:///{folder / 'ledger.db'}", "T") as ledger:
        ledger.migrate()
        ledger.append(events)
        lake = Lake(folder / "lake")
        lake.export(ledger)
    with lake.connect() as connection:
        return connection.table(kind).order("seq").project(columns).fetchall()


def test_a_label_without_a_source_was_read_from_the_text(tmp_path: Path) -> None:
    old = FirstLabelRead("m:1", "A1", "pneumothorax", "absent", "pneumothorax/1")
    new = LabelRead("m:2", "A2", "pneumothorax", "present", "pneumothorax/2", (), "code", "absent", "present")
    assert exported(tmp_path, [old, new], "report_key, state, source, text_state, code_state", "label") == [
        ("m:1", "absent", "text", "absent", None),
        ("m:2", "present", "code", "absent", "present"),
    ]


def test_a_version_that_was_not_searched_for_the_model_counts_as_silent(tmp_path: Path) -> None:
    new = ReportVersion("m:2", "s", "A2", None, "F", True, False, None, None, NOON, "0" * 64, "0" * 64, None, True)
    found = exported(tmp_path, [FirstReportVersion("m:1"), new], "report_key, mentions_model", "report_version")
    assert found == [("m:1", False), ("m:2", True)]
