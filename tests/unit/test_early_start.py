"""A study that still grows starts as soon as the series that the models need is there, on a real spool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from head_ct import PSEUDONYMISER, ROOT, RULES, as_file, head_slice

from shadow.domain.clock import SystemClock
from shadow.index_test.arrival import Arrival
from shadow.index_test.completion import SECONDS_AT_MOST
from shadow.index_test.early_start import EarlyStart
from shadow.index_test.inlet import Offer
from shadow.index_test.mirror import Mirror
from shadow.index_test.spool import Spool
from shadow.protocol.trial import SeriesChoice
from shadow.store.events import Audited, Event
from shadow.store.queue import WorkQueue

ROUTER, CT, SYNTAX = "ROUTER", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
STUDY = PSEUDONYMISER.study_key(f"{ROOT}.1")
EARLY = replace(RULES, start_after_quiet_seconds=20.0)


@dataclass
class Bench:
    spool: Spool
    mirror: Mirror
    queue: WorkQueue
    recorded: list[Event]

    def arrive(self, series: str, numbers: range, at: float, **settings: object) -> None:
        """Images of a series at one instant, on an association that stays open."""
        for number in numbers:
            content = as_file(head_slice(series=series, number=number, **settings))  # type: ignore[arg-type]
            data_set = content[content.index(b"\2\0\0\0UL") :]
            meta = 12 + int.from_bytes(data_set[8:12], "little")
            offer = Offer(ROUTER, CT, f"{ROOT}.1.{series}.{number}", SYNTAX)
            _, file = self.spool.receive(offer, memoryview(data_set[meta:]))
            self.mirror.sort(Arrival(ROUTER, file, at, lambda: True))


def made(root: Path, rules: SeriesChoice) -> Bench:
    spool = Spool(root / "spool", (ROUTER,), minimum_free_bytes=0, maximum_object_bytes=1 << 20)
    queue, recorded = WorkQueue(root / "queue"), list[Event]()
    early = EarlyStart(rules, "CT") if rules.start_after_quiet_seconds else None
    mirror = Mirror(spool, queue, PSEUDONYMISER, SystemClock(), 60.0, recorded.extend, early=early)
    return Bench(spool, mirror, queue, recorded)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = made(tmp_path, EARLY)
    yield one
    one.spool.close()


def test_the_needed_series_starts_the_study_while_another_still_comes(bench: Bench) -> None:
    bench.arrive("1", range(1, 2), 0.0)
    bench.arrive("2", range(1, 9), 10.0)
    bench.arrive("3", range(1, 9), 25.0, thickness=0.8)
    assert bench.mirror.due(29.0) == []
    assert bench.mirror.due(31.0) == [STUDY]
    first = bench.mirror.close(STUDY)
    assert (first.revision, len(first.instances)) == (1, 17)
    assert [one.action for one in bench.recorded if isinstance(one, Audited)] == ["revision_closed_early"]
    bench.arrive("3", range(9, 12), 32.0, thickness=0.8)
    assert bench.mirror.due(80.0) == [], "the association is open, and a second revision starts nothing early"
    second = bench.mirror.close(STUDY)
    assert (second.revision, second.supersedes, len(second.instances)) == (2, 1, 20)
    assert bench.queue.ready() == [f"{STUDY}.r1", f"{STUDY}.r2"]


@pytest.mark.parametrize(
    ("rules", "settings"),
    [
        (EARLY, {"thickness": 2.5}),
        (replace(EARLY, preferred_kernels=("H31s",)), {}),
        (replace(EARLY, minimum_slices=12), {}),
        (RULES, {}),
    ],
)
def test_what_is_not_the_preferred_series_or_not_asked_for_waits_for_the_whole_study(
    tmp_path: Path, rules: SeriesChoice, settings: dict[str, object]
) -> None:
    one = made(tmp_path, rules)
    one.arrive("2", range(1, 9), 10.0, **settings)
    one.arrive("1", range(1, 2), 40.0)
    assert one.mirror.due(50.0) == []
    one.spool.close()


def test_a_series_that_grows_again_is_judged_again(bench: Bench) -> None:
    bench.arrive("2", range(1, 5), 0.0)
    assert bench.mirror.due(25.0) == [], "four slices are too few"
    bench.arrive("2", range(5, 9), 30.0)
    assert bench.mirror.due(49.0) == []
    assert bench.mirror.due(51.0) == [STUDY]


def test_a_study_that_could_not_be_closed_at_once_is_still_due(bench: Bench) -> None:
    """While another peer sends, reports wait, and what is due waits for them."""
    bench.arrive("2", range(1, 9), 0.0)
    assert bench.mirror.due(21.0) == [STUDY]
    assert bench.mirror.due(22.0) == [STUDY]


def test_a_study_that_closes_when_it_is_whole_was_not_closed_early(bench: Bench) -> None:
    bench.arrive("2", range(1, 9), 0.0)
    assert bench.mirror.due(21.0) == [STUDY]
    assert bench.mirror.due(SECONDS_AT_MOST) == [STUDY]
    bench.mirror.close(STUDY)
    assert "revision_closed_early" not in [one.action for one in bench.recorded if isinstance(one, Audited)]


def test_a_restart_knows_the_series_that_had_come_before_it(tmp_path: Path) -> None:
    killed = made(tmp_path, EARLY)
    killed.arrive("2", range(1, 9), 0.0)
    killed.spool.close()
    again = made(tmp_path, EARLY)
    restarted_at = time.monotonic()
    assert again.mirror.recover() == []
    again.arrive("3", range(1, 3), restarted_at + 30.0)
    assert again.mirror.due(restarted_at + 31.0) == [STUDY]
    again.spool.close()
