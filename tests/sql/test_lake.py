"""The lake is the ledger in other clothes: nothing lost, nothing twice, and it can be made anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shadow.domain.project import sql
from shadow.store.engine import Database
from shadow.store.events import Audited, Kind
from shadow.store.lake import Lake, kinds
from shadow.store.ledger import Ledger

CHAIN = "checks/chain.sql"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "t") as opened:
        opened.migrate()
        yield opened


def note(ledger: Ledger, first: int, count: int) -> None:
    ledger.append([Audited(f"k{number}", "a", "noted", "o", "") for number in range(first, first + count)])


def keys(lake: Lake) -> list[str]:
    connection = lake.connect()
    rows = connection.execute("select identifier from audit order by seq").fetchall()
    connection.close()
    return [row[0] for row in rows]


def test_there_is_one_table_a_kind_of_event() -> None:
    assert set(kinds()) == {kind.value for kind in Kind} | {"chain"}


def test_every_export_binds_on_an_empty_lake(tmp_path: Path) -> None:
    connection = Lake(tmp_path / "lake").connect()
    for kind in kinds():
        assert connection.execute(f"select count(*) from {kind}").fetchone() == (0,)
    connection.close()


def test_an_export_takes_up_where_the_last_one_ended_and_compaction_loses_nothing(
    tmp_path: Path, ledger: Ledger
) -> None:
    lake = Lake(tmp_path / "lake")
    for start in range(0, 90, 3):
        note(ledger, start, 3)
        assert lake.export(ledger) == 3
    assert lake.export(ledger) == 0
    assert keys(lake) == [f"k{number}" for number in range(90)]
    assert len(lake.manifest().of("audit")) < 30
    removed = lake.collect_garbage(grace_seconds=-1)
    assert removed > 0
    assert keys(lake) == [f"k{number}" for number in range(90)]


def test_a_reader_keeps_its_snapshot_while_the_lake_moves_on(tmp_path: Path, ledger: Ledger) -> None:
    lake = Lake(tmp_path / "lake")
    note(ledger, 0, 5)
    lake.export(ledger)
    connection = lake.connect()
    note(ledger, 5, 5)
    lake.export(ledger)
    assert connection.execute("select count(*) from audit").fetchone() == (5,)
    assert len(keys(lake)) == 10


def test_a_damaged_lake_is_rebuilt_from_the_ledger(tmp_path: Path, ledger: Ledger) -> None:
    lake = Lake(tmp_path / "lake")
    note(ledger, 0, 20)
    lake.export(ledger)
    part = tmp_path / "lake" / lake.manifest().of("audit")[0]
    part.write_bytes(part.read_bytes()[:40])
    assert lake.rebuild(ledger) == 20
    assert len(keys(lake)) == 20


def test_the_chain_is_checked_again_in_sql(tmp_path: Path, ledger: Ledger) -> None:
    note(ledger, 0, 10)
    good = Lake(tmp_path / "good")
    good.export(ledger)
    assert good.connect().execute(sql(CHAIN)).fetchall() == []
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with database.write() as connection:
        connection.exec_driver_sql("drop trigger event_no_update")
        connection.exec_driver_sql("update event set subject = 'b' where seq = 4")
    database.close()
    tampered = Lake(tmp_path / "tampered")
    tampered.export(ledger)
    assert tampered.connect().execute(sql(CHAIN)).fetchall() == [("t", 4)]
