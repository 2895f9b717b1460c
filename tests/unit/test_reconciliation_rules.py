"""What of an archive's list counts as missing: never what is here, always what its route did not bring."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from head_ct import ROOT, head_slice, protocol, riverside
from pynetdicom.dsutils import encode

from shadow.domain.errors import ArchiveUnavailable, SetupError
from shadow.domain.identifiers import Pseudonymiser
from shadow.index_test.archive import FetchedInstance, ListedStudy
from shadow.index_test.backfill import WHOLE, Backfill
from shadow.index_test.reconciliation import DayReconciled, Reconciler
from shadow.protocol.deployment import ArchivePeer
from shadow.store.events import Audited, Kind
from shadow.store.ledger import Ledger

DAY = date(2026, 9, 1)
NOW = datetime(2026, 9, 3, 12, tzinfo=UTC)
PEER = ArchivePeer("riverside", "X")
PSEUDONYMISER = Pseudonymiser(bytes(32))
TITLE = "RIVERSIDE_RTR"


def study(number: int, at: time | None = time(2), day: date = DAY, modalities: Sequence[str] = ("CT",)) -> ListedStudy:
    uid = f"{ROOT}.{number}" if number else ""
    return ListedStudy(uid, "1", day, at, "CT HEAD", frozenset(modalities), None, 3)


def key(number: int) -> str:
    return PSEUDONYMISER.study_key(f"{ROOT}.{number}")


@dataclass
class Shelf:
    """An archive that says what it is told to say. `stations`: by study; a study that is not there has no CT series."""

    studies: tuple[ListedStudy, ...] = ()
    stations: dict[str, str] = field(default_factory=dict)
    instances: tuple[FetchedInstance, ...] = ()

    def studies_of(self, day: date, modality: str) -> Iterator[ListedStudy]:
        del day, modality  # it ignores every key
        yield from self.studies

    def instance_count(self, study_instance_uid: str) -> int | None:
        del study_instance_uid

    def station_name(self, study_instance_uid: str, modality: str) -> str | None:
        del modality
        return self.stations.get(study_instance_uid)

    def fetch(self, study_instance_uid: str, take: Callable[[FetchedInstance], None]) -> None:
        del study_instance_uid
        for one in self.instances:
            take(one)


@pytest.fixture(name="ledger")
def a_ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "trial") as opened:
        opened.migrate()
        yield opened


def ask(ledger: Ledger, shelf: Shelf, here: Sequence[int] = (), day: date = DAY, now: datetime = NOW) -> DayReconciled:
    spooled = {key(one): 3 for one in here}
    reconciler = Reconciler(protocol(), PSEUDONYMISER, ledger, lambda one: spooled.get(one, 0))
    (found,) = reconciler.reconcile(riverside(), PEER, shelf, now, (day,))
    return found


def bodies(ledger: Ledger) -> list[str]:
    return [row.body or "" for row in ledger.since(0) if row.kind == Kind.ARCHIVE_STUDY.value]


def asked(ledger: Ledger) -> list[str]:
    return [":".join(row.key.split(":")[1:3]) for row in ledger.since(0) if row.key.startswith("archive_asked")]


def test_a_study_that_lies_in_the_spool_and_waits_for_admission_is_not_missing(ledger: Ledger) -> None:
    assert ask(ledger, Shelf((study(1), study(2))), here=[1]).missing == 1
    assert ['"received":true' in one for one in bodies(ledger)] == [True, False]


def test_a_study_that_is_told_twice_is_missing_once(ledger: Ledger) -> None:
    found = ask(ledger, Shelf((study(1), study(2), study(1))))
    assert (found.listed, found.admitted, found.missing, found.absent) == (2, 2, 2, 2)


def test_asking_again_tells_what_is_still_not_here(ledger: Ledger) -> None:
    shelf = Shelf((study(1), study(2)))
    ask(ledger, shelf)
    again = ask(ledger, shelf)
    assert (again.missing, again.absent) == (0, 2)
    assert ask(ledger, shelf, here=[1]).absent == 1


def test_a_study_without_a_usable_uid_is_counted(ledger: Ledger) -> None:
    found = ask(ledger, Shelf((study(0), study(0), study(1))))
    assert (found.listed, found.unusable, found.missing) == (3, 2, 1)


def test_where_the_list_tells_no_modality_the_series_do(ledger: Ledger) -> None:
    shelf = Shelf((study(1, modalities=()), study(2, modalities=())), {f"{ROOT}.1": "RVCT2"})
    assert ask(ledger, shelf).missing == 1
    assert '"scanner":"riverside-ct-2"' in bodies(ledger)[0]


def test_a_day_has_its_answer_once_it_is_over_and_settled(ledger: Ledger) -> None:
    """New York's first of September ends at 04:00 UTC; twelve hours later it is settled."""
    shelf = Shelf((study(1), study(2, time(23, 30))))
    early = ask(ledger, shelf, now=datetime(2026, 9, 2, 15, 29, tzinfo=UTC))
    assert (early.missing, early.unsettled, asked(ledger)) == (1, 1, [])
    late = ask(ledger, shelf, now=datetime(2026, 9, 2, 16, tzinfo=UTC))
    assert (late.missing, late.unsettled, asked(ledger)) == (1, 0, ["riverside:2026-09-01"])


@pytest.mark.parametrize(
    ("day", "at", "instant", "shift"),
    [
        (date(2026, 11, 1), time(1, 30), "2026-11-01T05:30:00", "Night"),  # the hour that comes twice: its first
        (date(2026, 11, 1), time(3), "2026-11-01T08:00:00", "Night"),
        (date(2026, 9, 1), time(0), "2026-09-01T04:00:00", "Night"),
        (date(2026, 9, 1), time(23, 59, 59), "2026-09-02T03:59:59", "Night"),
        (date(2026, 9, 1), None, "2026-09-01T16:00:00", "unknown"),
    ],
)
def test_shift_and_instant_are_by_the_sites_clock(
    ledger: Ledger, day: date, at: time | None, instant: str, shift: str
) -> None:
    ask(ledger, Shelf((study(1, at, day),)), day=day, now=NOW + timedelta(days=70))
    (body,) = bodies(ledger)
    assert f'"acquired_at":"{instant}' in body
    assert f'"shift":"{shift}"' in body


def test_a_study_that_spring_skips_is_read_with_the_offset_before(ledger: Ledger) -> None:
    spring = replace(
        protocol(),
        index_window_start=datetime(2027, 3, 1, tzinfo=UTC),
        index_window_end=datetime(2027, 4, 1, tzinfo=UTC),
    )
    reconciler = Reconciler(spring, PSEUDONYMISER, ledger, lambda _: 0)
    day = date(2027, 3, 14)
    reconciler.reconcile(
        riverside(), PEER, Shelf((study(1, time(2, 30), day),)), datetime(2027, 3, 20, tzinfo=UTC), (day,)
    )
    assert '"acquired_at":"2027-03-14T07:30:00' in bodies(ledger)[0]


def instance(number: int) -> FetchedInstance:
    dataset = head_slice(study="1", number=number)
    content = encode(dataset, is_implicit_vr=False, is_little_endian=True)
    assert content is not None
    return FetchedInstance(dataset.SOPClassUID, dataset.SOPInstanceUID, "1.2.840.10008.1.2.1", memoryview(content))


def backfill(folder: Path, ledger: Ledger, free: int = 0) -> Backfill:
    return Backfill(folder, TITLE, free, 1 << 30, PSEUDONYMISER, lambda event: ledger.append_new([event]))


def arrived(folder: Path) -> list[Path]:
    return sorted(folder.glob("arrived/*/*.dcm"))


def test_a_study_that_was_fetched_before_it_was_listed_was_missing_all_the_same(ledger: Ledger, tmp_path: Path) -> None:
    assert backfill(tmp_path, ledger).fetch(Shelf(instances=(instance(1),)), f"{ROOT}.1") == 1
    assert ask(ledger, Shelf((study(1),)), here=[1]).missing == 1


def test_a_study_that_the_archive_sends_itself_was_missing_too(ledger: Ledger, tmp_path: Path) -> None:
    backfill(tmp_path, ledger).fetch(Shelf(), f"{ROOT}.1", by_move=True)
    assert ask(ledger, Shelf((study(1),)), here=[1]).missing == 1


def test_of_a_study_that_is_partly_here_only_the_rest_is_fetched_and_it_had_come(
    ledger: Ledger, tmp_path: Path
) -> None:
    first, second = instance(1), instance(2)
    backfill(tmp_path, ledger).fetch(Shelf(instances=(first,)), f"{ROOT}.1")
    folder = tmp_path / "studies" / key(1)
    folder.mkdir(parents=True)
    (here,) = arrived(tmp_path)
    here.rename(folder / here.name)
    with Ledger(f"sqlite:///{tmp_path / 'other.db'}", "trial") as other:
        other.migrate()
        assert backfill(tmp_path, other).fetch(Shelf(instances=(first, second)), f"{ROOT}.1") == 1
        assert [second.sop_instance_uid in one.name for one in arrived(tmp_path)] == [True]
        assert ask(other, Shelf((study(1),)), here=[1]).missing == 0
        assert '"instances_received":2' in bodies(other)[0], "of the three that are here, one was fetched"


def test_a_full_disk_ends_the_fetch_and_leaves_nothing_half(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no_space"):
        backfill(tmp_path, ledger, free=1 << 60).fetch(Shelf(instances=(instance(1),)), f"{ROOT}.1")
    assert arrived(tmp_path) == []
    assert list((tmp_path / "fetching").iterdir()) == []


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from test_reconciliation_rules import *
folder = Path({folder!r})
with Ledger("sqlite:///" + str(folder / "ledger.db"), "trial") as ledger:
    def rename(self, target, kept=Path.rename):
        if "arrived" in str(target) and list(Path(target).parent.glob("*.dcm")):
            os.kill(os.getpid(), signal.SIGKILL)
        return kept(self, target)
    Path.rename = rename
    backfill(folder, ledger).fetch(Shelf(instances=tuple(instance(one) for one in (1, 2, 3))), ROOT + ".1")
"""


def test_a_fetch_that_is_killed_while_it_moves_a_study_is_taken_up_by_the_next(ledger: Ledger, tmp_path: Path) -> None:
    script = KILLED.format(path=sys.path, folder=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(arrived(tmp_path)) == 1
    half = tmp_path / "fetching" / "of-another-study"
    half.mkdir()
    assert backfill(tmp_path, ledger).recover() == 1
    assert len(arrived(tmp_path)) == 3
    assert list((tmp_path / "fetching").iterdir()) == []


def test_an_instance_that_cannot_be_kept_fails_its_study_alone(ledger: Ledger, tmp_path: Path) -> None:
    broken = replace(instance(1), sop_instance_uid="not a uid")
    with pytest.raises(ArchiveUnavailable, match="invalid_uid"):
        backfill(tmp_path, ledger).fetch(Shelf(instances=(instance(2), broken)), f"{ROOT}.1")
    assert not list(tmp_path.glob(f"fetching/*/{WHOLE}"))
    assert [one for one in ledger.since(0) if one.kind == Audited.KIND.value] == []
