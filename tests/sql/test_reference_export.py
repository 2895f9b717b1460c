"""What older bodies of the report side say once they are exported: fields that came later have their first meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from shadow.store.events import Event, Kind, LabelRead
from shadow.store.lake import Lake
from shadow.store.ledger import Ledger


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
