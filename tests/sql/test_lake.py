"""The lake is the ledger in other clothes: nothing lost, nothing twice, and it can be made anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from shadow.domain.project import sql
from shadow.store.engine import Database
from shadow.store.events import Audited, Kind
from shadow.store.lake import Lake, kinds
from shadow.store.ledger import Ledger, link

pytestmark = pytest.mark.slow

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


def cut_short(lake: Path, part: Path) -> None:
    part.write_bytes(part.read_bytes()[:40])


def lose_its_end(lake: Path, part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-1])


def remove(lake: Path, part: Path) -> None:
    part.unlink()


def empty(lake: Path, part: Path) -> None:
    part.write_bytes(b"")


def damage_the_manifest(lake: Path, part: Path) -> None:
    manifest = lake / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-10])


def lose_the_manifest(lake: Path, part: Path) -> None:
    (lake / "manifest.json").unlink()


DAMAGES = [cut_short, lose_its_end, remove, empty, damage_the_manifest, lose_the_manifest]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_lake_is_made_anew_by_the_next_export(
    tmp_path: Path, ledger: Ledger, damage: Callable[[Path, Path], None]
) -> None:
    lake = Lake(tmp_path / "lake")
    note(ledger, 0, 20)
    lake.export(ledger)
    damage(tmp_path / "lake", tmp_path / "lake" / lake.manifest().of("audit")[0])
    note(ledger, 20, 1)
    assert lake.export(ledger) == 21
    assert keys(lake) == [f"k{number}" for number in range(21)]


def test_a_lake_without_a_column_that_an_upgrade_added_is_made_anew(tmp_path: Path, ledger: Ledger) -> None:
    lake = Lake(tmp_path / "lake")
    note(ledger, 0, 20)
    lake.export(ledger)
    part = tmp_path / "lake" / lake.manifest().of("audit")[0]
    pq.write_table(pq.read_table(part).drop_columns(["detail"]), part)
    note(ledger, 20, 1)
    assert lake.export(ledger) == 21
    assert keys(lake) == [f"k{number}" for number in range(21)]
    note(ledger, 21, 1)
    assert lake.export(ledger) == 1


def test_a_lake_can_be_made_anew_at_will(tmp_path: Path, ledger: Ledger) -> None:
    lake = Lake(tmp_path / "lake")
    note(ledger, 0, 20)
    lake.export(ledger)
    assert lake.rebuild(ledger) == 20
    assert len(keys(lake)) == 20


def test_a_lake_of_another_ledger_is_not_continued(tmp_path: Path, ledger: Ledger) -> None:
    """As after a ledger was restored from an older copy and went on differently."""
    lake = Lake(tmp_path / "lake")
    note(ledger, 0, 5)
    lake.export(ledger)
    with Ledger(f"sqlite:///{tmp_path / 'restored.db'}", "t") as restored:
        restored.migrate()
        note(restored, 0, 2)
        lake.export(restored)
        assert keys(lake) == ["k0", "k1"]
        note(restored, 90, 5)
        assert lake.export(restored) == 5
    note(ledger, 5, 5)
    assert lake.export(ledger) == 10
    assert keys(lake) == [f"k{number}" for number in range(10)]


def test_a_part_that_a_killed_exporter_left_is_replaced(tmp_path: Path, ledger: Ledger) -> None:
    lake = Lake(tmp_path / "lake")
    note(ledger, 0, 4)
    lake.export(ledger)
    left = tmp_path / "lake" / "audit" / "t-000000000005-000000000008.parquet"
    left.write_bytes(b"half a part")
    note(ledger, 4, 4)
    assert lake.export(ledger) == 4
    assert len(keys(lake)) == 8


def test_many_events_are_exported_in_steps(tmp_path: Path, ledger: Ledger) -> None:
    lake = Lake(tmp_path / "lake")
    note(ledger, 0, 25)
    assert lake.export(ledger, limit=10) == 25
    assert (lake.manifest().generation, lake.manifest().upto) == (3, 25)
    assert len(keys(lake)) == 25


def test_a_large_part_is_not_merged_again(tmp_path: Path, ledger: Ledger) -> None:
    lake = Lake(tmp_path / "lake", large_part_bytes=1)
    for start in range(30):
        note(ledger, start, 1)
        lake.export(ledger)
    assert len(lake.manifest().of("audit")) == 30
    Lake(tmp_path / "lake").compact()
    assert len(lake.manifest().of("audit")) == 1
    assert keys(lake) == [f"k{number}" for number in range(30)]


def test_two_exporters_at_once_export_each_event_once(tmp_path: Path, ledger: Ledger) -> None:
    note(ledger, 0, 200)
    lake, exported = Lake(tmp_path / "lake"), list[int]()
    exporters = [
        threading.Thread(target=lambda: exported.append(Lake(tmp_path / "lake").export(ledger, limit=20)))
        for _ in range(3)
    ]
    for exporter in exporters:
        exporter.start()
    for exporter in exporters:
        exporter.join()
    assert sum(exported) == 200
    assert len(keys(lake)) == 200


def test_a_connection_to_the_lake_cannot_be_set_otherwise_and_speaks_utc(tmp_path: Path, ledger: Ledger) -> None:
    note(ledger, 0, 1)
    lake = Lake(tmp_path / "lake")
    lake.export(ledger)
    connection = lake.connect()
    assert connection.execute("select current_setting('TimeZone')").fetchone() == ("UTC",)
    with pytest.raises(duckdb.Error, match="locked"):
        connection.execute("set threads = 1")
    connection.close()


TEXTS = ("nul \0 in it", "two\nlines", '"quoted" \\ back', "\x1f", "😀 ü \u2028", "", "null", "x" * 100_000)


def test_any_text_reaches_the_lake_as_it_was_written(tmp_path: Path, ledger: Ledger) -> None:
    """One event that an export statement cannot read would keep all later ones out of the figures."""
    ledger.append([Audited(f"k{number}", "a", "noted", "o", text) for number, text in enumerate(TEXTS)])
    lake = Lake(tmp_path / "lake")
    lake.export(ledger)
    connection = lake.connect()
    assert connection.execute("select detail from audit order by seq").fetchall() == [(text,) for text in TEXTS]
    connection.close()


def chain_breaks(lake: Lake) -> list[tuple[str, int]]:
    connection = lake.connect()
    found = connection.execute(sql(CHAIN)).fetchall()
    connection.close()
    return [(trial, seq) for trial, seq in found]


def test_the_check_in_sql_finds_an_event_that_was_hashed_anew(tmp_path: Path, ledger: Ledger) -> None:
    note(ledger, 0, 10)
    forged = replace(ledger.since(3)[0], subject="b")
    change = f"update event set subject = 'b', hash = '{link(forged)}' where seq = 4"
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with database.write() as connection:
        connection.exec_driver_sql("drop trigger event_no_update")
        connection.exec_driver_sql(change)
    database.close()
    lake = Lake(tmp_path / "lake")
    lake.export(ledger)
    assert chain_breaks(lake) == [("t", 5)]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("update event set key = 'x' where seq = 4", [4]),
        ("update event set subject = 'b' where seq = 4", [4]),
        ("update event set kind = 'trial_protocol' where seq = 4", [4]),
        ("update event set recorded_at = replace(recorded_at, 'Z', '+00:00') where seq = 4", [4]),
        ("update event set body_sha256 = '0' || substr(body_sha256, 2) || 'x' where seq = 4", [4]),
        ("update event set prev = '0' || substr(prev, 2) || 'x' where seq = 4", [4]),
        ("update event set hash = '0' || substr(hash, 2) || 'x' where seq = 4", [4, 5]),
        ("update event set body = replace(body, 'noted', 'muted') where seq = 4", [4]),
        ("update event set body = null where seq = 4", [4]),
        ("delete from event where seq = 4", [5]),
        ("delete from event where seq = 1", [2]),
        ("update event set seq = 11 where seq = 4", [5, 11]),
    ],
)
def test_the_chain_is_checked_again_in_sql(tmp_path: Path, ledger: Ledger, statement: str, found: list[int]) -> None:
    note(ledger, 0, 10)
    good = Lake(tmp_path / "good")
    good.export(ledger)
    assert chain_breaks(good) == []
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with database.write() as connection:
        connection.exec_driver_sql("drop trigger event_no_update")
        connection.exec_driver_sql("drop trigger event_no_delete")
        connection.exec_driver_sql(statement)
    database.close()
    tampered = Lake(tmp_path / "tampered")
    tampered.export(ledger)
    assert chain_breaks(tampered) == [("t", seq) for seq in found]
    assert ledger.verify().problem is not None
