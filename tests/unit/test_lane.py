"""Lanes on a real queue: deaths are counted once, and a drain stays while work comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from shadow.index_test.lane import Patience, Work, drain
from shadow.store.linger import drain_until_quiet
from shadow.store.queue import ATTEMPTS, WorkQueue

AT_ONCE = Patience(linger_seconds=0.0, budget_seconds=0.0, stop=lambda: True)


def test_a_death_while_deaths_are_counted_counts_nobody_twice(tmp_path: Path) -> None:
    queue, in_flight = WorkQueue(tmp_path / "queue"), tmp_path / "in-flight"
    for name in ("neighbour", "killer"):
        queue.put(name)
    for _ in range(2):
        queue.begin("killer")

    def die(name: str) -> None:
        raise SystemExit(name)

    in_flight.write_text("neighbour\nkiller")
    for _ in range(3):
        try:
            drain(queue, in_flight, Work(finish=list, give_up=die, batch=2), AT_ONCE)
        except SystemExit as death:
            assert str(death) == "killer"
    assert (tmp_path / "queue" / f"neighbour{ATTEMPTS}").read_text() == "1"
    assert sorted(queue.ready()) == ["killer", "neighbour"]


def test_the_drain_stays_while_something_comes_and_leaves_when_it_is_quiet() -> None:
    counts = iter([3, 0, 2])
    calls = []

    def drain_once() -> int:
        calls.append(1)
        return next(counts, 0)

    assert drain_until_quiet(drain_once, linger_seconds=0.5, budget_seconds=30, stop=lambda: False) == 5
    assert len(calls) > 3


@pytest.mark.parametrize(("budget", "stopped", "least"), [(30.0, True, 0), (0.05, False, 1)])
def test_the_drain_leaves_when_it_is_asked_to_or_its_budget_is_over(budget: float, stopped: bool, least: int) -> None:
    read = drain_until_quiet(lambda: 1, linger_seconds=30, budget_seconds=budget, stop=lambda: stopped)
    assert read >= least
    assert stopped is (read == 0)
