"""One suite for both engines: what the ledger promises on SQLite it promises on PostgreSQL."""

from __future__ import annotations

import fcntl
import resource
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shadow.domain.errors import LedgerConflict, MigrationEdited, StoreError
from shadow.store.engine import Database, sqlite_module
from shadow.store.events import Audited, Kind
from shadow.store.ledger import Head, Ledger, Row, canonical, link, sha256_hex
from shadow.store.migrations import migrate, split_statements


def audited(identifier: str, detail: str = "", actor: str = "test") -> Audited:
    return Audited(identifier, actor, "noted", "object", detail)


@contextmanager
def refusing_disk() -> Iterator[None]:
    """No file may grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger(url, f"trial-{uuid.uuid4().hex[:8]}") as opened:
        opened.migrate()
        yield opened


def test_an_empty_chain_is_whole(ledger: Ledger) -> None:
    assert ledger.verify().problem is None
    assert ledger.head().seq == 0


def test_what_is_appended_is_there_in_order_and_chained(ledger: Ledger) -> None:
    acks = ledger.append([audited("a"), audited("b")]) + ledger.append([audited("c")])
    assert [ack.seq for ack in acks] == [1, 2, 3]
    rows = ledger.since(0)
    assert [row.key for row in rows] == ["a", "b", "c"]
    assert [row.prev for row in rows[1:]] == [row.hash for row in rows[:-1]]
    assert ledger.head() == Head(3, rows[-1].hash)
    assert (ledger.verify().events, ledger.verify().problem) == (3, None)


def test_a_repeated_append_is_the_same_event(ledger: Ledger) -> None:
    (first,) = ledger.append([audited("a")])
    again, new = ledger.append([audited("a"), audited("b")])
    assert (again.seq, again.hash, again.created) == (first.seq, first.hash, False)
    assert (new.seq, new.created) == (2, True)


def test_other_content_under_a_key_is_refused_and_nothing_of_the_batch_stays(ledger: Ledger) -> None:
    ledger.append([audited("a", "first")])
    with pytest.raises(LedgerConflict, match="event 1"):
        ledger.append([audited("b"), audited("a", "second")])
    assert ledger.count(Kind.AUDIT) == 1
    assert ledger.verify().problem is None


def test_the_same_key_twice_in_one_batch_is_one_event(ledger: Ledger) -> None:
    acks = ledger.append([audited("a"), audited("a")])
    assert [(ack.seq, ack.created) for ack in acks] == [(1, True), (1, False)]


@pytest.mark.parametrize("event", [audited("a\nb"), audited("a\0b"), audited("a", actor="one\ntwo")])
def test_a_newline_in_a_key_or_subject_is_refused(ledger: Ledger, event: Audited) -> None:
    with pytest.raises(ValueError, match="newline"):
        ledger.append([audited("good"), event])
    assert ledger.head().seq == 0


def test_text_that_is_not_unicode_is_refused_without_quoting_it(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="surrogate") as refused:
        ledger.append([audited("a", "Abernathy \udcff")])
    assert "Abernathy" not in repr(refused.value) and refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    assert ledger.head().seq == 0


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), min_size=1, max_size=20)
EVENTS = st.lists(st.builds(audited, LINE, TEXT, LINE), max_size=8, unique_by=lambda event: event.key)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=EVENTS, second=EVENTS)
def test_whatever_is_sent_again_in_whatever_batches_is_there_once_as_it_was_first(
    url: str, first: list[Audited], second: list[Audited]
) -> None:
    stands = {event.key: event for event in first}
    second = [stands.get(event.key, event) for event in second]
    with Ledger(url, f"trial-{uuid.uuid4().hex[:8]}") as ledger:
        ledger.migrate()
        acks = ledger.append(first) + ledger.append(second + first)
        rows = {row.key: row for row in ledger.since(0)}
        assert len(rows) == ledger.head().seq == sum(ack.created for ack in acks)
        for event, ack in zip(first + second + first, acks, strict=True):
            assert (rows[event.key].seq, rows[event.key].subject) == (ack.seq, event.subject)
            assert canonical(event.detail) in (rows[event.key].body or "")
        assert ledger.verify().problem is None


@given(st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_one_content_has_one_canonical_text(body: dict[str, object]) -> None:
    body = {key: value for key, value in body.items() if value not in (float("inf"), float("-inf"))}
    turned = dict(reversed(body.items()))
    assert canonical(turned) == canonical(body)
    assert "\n" not in canonical(body)


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"score": float("nan")})


def test_a_ledger_that_grows_while_it_is_verified_is_whole(url: str, ledger: Ledger) -> None:
    ledger.append([audited("first")])
    trial, done = ledger.since(0)[0].trial, threading.Event()

    def write() -> None:
        with Ledger(url, trial) as writing:
            number = 0
            while not done.is_set():
                number += 1
                writing.append([audited(f"k{number}")])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [ledger.verify() for _ in range(60)]
    finally:
        done.set()
        writer.join()
    assert {one.problem for one in found} == {None}
    assert found[-1].events > found[0].events


def test_eight_writers_at_once_make_one_chain_without_a_gap(url: str, ledger: Ledger) -> None:
    """Also the first append of a trial, which two could make at once."""
    trial = f"trial-{uuid.uuid4().hex[:8]}"

    def write(name: int) -> None:
        with Ledger(url, trial) as writing:
            writing.migrate()
            for number in range(5):
                writing.append([audited(f"{name}-{number}"), audited(f"shared-{number}")])

    writers = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with Ledger(url, trial) as opened:
        assert opened.verify().problem is None
        assert opened.head().seq == opened.count(Kind.AUDIT) == 8 * 5 + 5


def test_lookups_find_what_is_there(ledger: Ledger) -> None:
    ledger.append([audited(f"k{number}", actor="one") for number in range(1200)] + [audited("x", actor="two")])
    assert ledger.known(Kind.AUDIT, [f"k{number}" for number in range(1300)]) == {f"k{n}" for n in range(1200)}
    assert [row.key for row in ledger.about("two", Kind.AUDIT)] == ["x"]
    newest, missing = ledger.latest(Kind.AUDIT), ledger.find(Kind.AUDIT, "nothing")
    assert newest is not None and newest.key == "x"
    assert missing is None
    assert ledger.latest(Kind.STUDY) is None


def test_two_trials_in_one_database_have_two_chains(url: str, ledger: Ledger) -> None:
    ledger.append([audited("a")])
    with Ledger(url, f"trial-{uuid.uuid4().hex[:8]}") as other:
        other.migrate()
        (ack,) = other.append([audited("a", "another body")])
        assert ack.seq == 1
        assert other.verify().events == ledger.verify().events == 1


COLUMNS = ("trial", "kind", "key", "subject", "recorded_at", "body_sha256", "prev", "hash", "body")


@pytest.mark.parametrize("column", COLUMNS)
def test_one_changed_character_in_any_column_breaks_the_chain(url: str, ledger: Ledger, column: str) -> None:
    ledger.append([audited("a"), audited("b"), audited("c")])
    trial = ledger.since(0)[0].trial
    _tamper(url, f"update event set {column} = '0' || substr({column}, 2) || 'x' where trial = '{trial}' and seq = 2")
    found = ledger.verify()
    assert found.events <= 2
    assert found.problem is not None and "2" in found.problem


@pytest.mark.parametrize(
    ("statement", "events"),
    [
        ("delete from event where trial = '{trial}' and seq = 2", 1),
        ("update event set seq = 4 where trial = '{trial}' and seq = 2", 1),
        ("update event set body = null where trial = '{trial}' and seq = 2", 1),
        ("delete from event where trial = '{trial}' and seq = 3", 2),
        ("update head set hash = 'x' || substr(hash, 2) where trial = '{trial}'", 3),
        ("update head set seq = 2 where trial = '{trial}'", 3),
    ],
)
def test_a_removed_event_or_a_moved_head_is_found(url: str, ledger: Ledger, statement: str, events: int) -> None:
    ledger.append([audited("a"), audited("b"), audited("c")])
    trial = ledger.since(0)[0].trial
    _tamper(url, statement.format(trial=trial))
    assert ledger.verify().events == events
    assert ledger.verify().problem is not None


@pytest.mark.parametrize(("seq", "problem"), [(2, "event 3 does not point"), (3, "the head names event 3")])
def test_an_event_that_was_changed_and_hashed_anew_is_found_by_the_next_one(
    url: str, ledger: Ledger, seq: int, problem: str
) -> None:
    ledger.append([audited("a"), audited("b"), audited("c")])
    forged = forge(ledger.since(seq - 1)[0])
    _tamper(
        url,
        "update event set body = '{body}', body_sha256 = '{body_sha256}', hash = '{hash}'"
        " where trial = '{trial}' and seq = {seq}".format(**{name: getattr(forged, name) for name in Row.__slots__}),
    )
    found = ledger.verify()
    assert found.problem is not None and found.problem.startswith(problem)


def forge(row: Row) -> Row:
    body = (row.body or "").replace("noted", "muted")
    changed = replace(row, body=body, body_sha256=sha256_hex(body))
    return replace(changed, hash=link(changed))


def _tamper(url: str, statement: str) -> None:
    """As someone would who owns the database: with the triggers out of the way."""
    database = Database(url)
    with database.write() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("drop trigger event_no_update")
            connection.exec_driver_sql("drop trigger event_no_delete")
        else:
            connection.exec_driver_sql("alter table event disable trigger all")
        connection.exec_driver_sql(statement)
        if not database.is_sqlite:
            connection.exec_driver_sql("alter table event enable trigger all")
    database.close()


@pytest.mark.parametrize("statement", ["update event set body = ''", "delete from event"])
def test_the_database_itself_refuses_to_change_an_event(url: str, ledger: Ledger, statement: str) -> None:
    ledger.append([audited("a")])
    database = Database(url)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.write() as connection:
        connection.exec_driver_sql(statement)
    database.close()
    assert ledger.verify().events >= 1


def test_a_reader_does_not_wait_for_a_writer(url: str, ledger: Ledger) -> None:
    ledger.append([audited("a")])
    trial = ledger.since(0)[0].trial
    database = Database(url)
    with database.write() as connection:
        connection.exec_driver_sql(f"update head set seq = 1 where trial = '{trial}'")
        assert ledger.verify().events == 1
        assert ledger.find(Kind.AUDIT, "a") is not None
    database.close()


def test_a_commit_on_sqlite_waits_for_the_disk_and_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.db"
    with Ledger(f"sqlite:///{path}", "t") as ledger:
        ledger.migrate()
        with ledger._database.read() as connection:
            found = [connection.exec_driver_sql(f"pragma {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert found == ["wal", 2]
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o777 == 0o600, file


@pytest.mark.parametrize("act", ["append", "close"])
def test_on_sqlite_an_append_and_a_close_wait_their_turn_at_the_file_lock(tmp_path: Path, act: str) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "t")
    ledger.migrate()
    acting = threading.Thread(target=ledger.close if act == "close" else lambda: ledger.append([audited("a")]))
    with (tmp_path / "ledger.db.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        acting.start()
        acting.join(0.3)
        assert acting.is_alive()
        assert ledger.head().seq == 0
    acting.join(30)
    assert not acting.is_alive()
    assert ledger.head().seq == (1 if act == "append" else 0)
    ledger.close()


def test_a_disk_that_refuses_is_a_refusal_of_the_ledger_and_the_next_append_stands(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "t") as ledger:
        ledger.migrate()
        with refusing_disk(), pytest.raises(StoreError, match="away, or refuses"):
            ledger.append([audited("a")])
        ledger.append([audited("b")])
        assert (ledger.verify().events, ledger.verify().problem) == (1, None)


def test_a_database_without_its_tables_is_told_as_one_that_refuses(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "t") as ledger:
        for ask in (ledger.head, lambda: ledger.known(Kind.AUDIT, ["a"]), lambda: ledger.append([audited("a")])):
            with pytest.raises(StoreError):
                ask()


def test_a_write_on_sqlite_holds_the_database_from_its_first_moment(tmp_path: Path) -> None:
    """A transaction that turned into a write only later could be refused at once, whatever it waits."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    other = sqlite_module().connect(tmp_path / "ledger.db", timeout=0)
    with database.write(), pytest.raises(sqlite_module().OperationalError, match="locked"):
        other.execute("begin immediate")
    other.close()
    database.close()


@pytest.mark.server
@pytest.mark.parametrize(("before", "after"), [("off", "on"), ("remote_apply", "remote_apply")])
def test_a_commit_on_postgresql_waits_for_the_disk_whatever_the_server_is_set_to(
    postgresql_url: str, before: str, after: str
) -> None:
    database = Database(f"{postgresql_url}&options=-csynchronous_commit%3D{before}")
    with database.read() as connection:
        assert connection.exec_driver_sql("show synchronous_commit").scalar() == after
    database.close()


def test_a_database_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'other.db'}")
    file = tmp_path / "0002_second.sqlite.sql"
    (tmp_path / "0001_first.sqlite.sql").write_text("create table one (a text);\n", encoding="utf-8")
    file.write_text("create table two (a text);\n", encoding="utf-8")
    migrate(database, tmp_path)
    file.unlink()
    with pytest.raises(MigrationEdited, match="migration 2"):
        migrate(database, tmp_path)
    database.close()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'other.db'}")
    file = tmp_path / "0001_first.sqlite.sql"
    file.write_text("create table one (a text);\n\nnot a statement;\n", encoding="utf-8")
    with pytest.raises(sa.exc.OperationalError):
        migrate(database, tmp_path)
    file.write_text("create table one (a text);\n", encoding="utf-8")
    migrate(database, tmp_path)
    database.close()


def test_migrations_are_applied_once_and_an_edited_file_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'other.db'}")
    file = tmp_path / "0001_first.sqlite.sql"
    file.write_text("create table one (a text);\n\ncreate table two (b text);\n", encoding="utf-8")
    migrate(database, tmp_path)
    migrate(database, tmp_path)
    file.write_text("create table one (a text, c text);\n", encoding="utf-8")
    with pytest.raises(MigrationEdited, match="0001_first"):
        migrate(database, tmp_path)
    database.close()


def test_a_statement_with_a_body_stays_whole() -> None:
    text = "create trigger t before update on e\nbegin\n    select raise(abort, 'no');\nend;\n\nselect 1;\n"
    assert split_statements(text) == [text.split("\n\n")[0][:-1], "select 1"]
