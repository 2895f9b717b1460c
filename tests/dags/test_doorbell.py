"""The doorbells, on real folders."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shadow.adapters.airflow_doorbell import HOME_VARIABLE, Door, Doorbell, due, waiting
from shadow.adapters.airflow_tasks import (
    INTERVAL_VARIABLE,
    retry_policy,
    snapshot_interval,
    work_or_skip,
)
from shadow.domain.errors import LaneBusy, ModelContractError, VaultLocked
from shadow.domain.home import Home

LIMIT_SECONDS = 5.0
QUIET_SECONDS = 0.25


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    return Home(tmp_path)


def put(folder: Path, name: str, content: bytes = b"") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("ab") as file:
        file.write(content)


async def ring(events: AsyncIterator[Any]) -> int:
    event = await asyncio.wait_for(anext(events), LIMIT_SECONDS)
    assert set(event.payload) == {"waiting"}
    return int(event.payload["waiting"])


async def is_quiet(events: AsyncIterator[Any]) -> bool:
    """Whether a doorbell that was asked stays silent; it cannot be asked again."""
    try:
        await asyncio.wait_for(anext(events), QUIET_SECONDS)
    except TimeoutError:
        return True
    return False


def bell(door: Door) -> AsyncIterator[Any]:
    path, arguments = Doorbell(door, look_seconds=0.02, rest_seconds=0.02).serialize()
    assert path == f"{Doorbell.__module__}.{Doorbell.__qualname__}"
    return Doorbell(**arguments).run()


def test_a_doorbell_rings_for_a_study_that_waited_before_it_was_hung(home: Home) -> None:
    put(home.queues / "admission", "one.ready")
    assert asyncio.run(ring(bell(Door.ADMISSION))) == 1


def test_a_doorbell_rings_once_for_one_study_and_again_for_the_next(home: Home) -> None:
    async def watch() -> None:
        events = bell(Door.MODELS)
        put(home.queues / "model-a", "one.ready")
        assert await ring(events) == 1
        put(home.queues / "model-b", "two.ready")
        assert await ring(events) == 1
        assert await is_quiet(events)

    asyncio.run(watch())


def test_a_doorbell_is_deaf_to_what_is_not_ready(home: Home) -> None:
    put(home.queues / "admission", "one.attempts")
    put(home.queues / "admission", ".two.ready.tmp")
    put(home.queues / "model-a", "three.ready")
    assert asyncio.run(is_quiet(bell(Door.ADMISSION)))


def test_a_message_that_makes_the_journal_grow_rings(home: Home) -> None:
    async def watch() -> None:
        events = bell(Door.JOURNAL)
        put(home.journal, "1.journal", b"message")
        assert await ring(events) == 1
        put(home.journal, "1.journal", b"message")
        assert await ring(events) == 1
        assert await is_quiet(events)

    asyncio.run(watch())


def test_the_vendors_door_looks_at_messages_and_at_whole_tables(home: Home) -> None:
    put(home.vendor / "journal", "1.journal", b"message")
    put(home.vendor / "incoming" / "acme" / "riverside", "night.csv", b"a,b")
    put(home.vendor / "incoming" / "acme" / "riverside", ".part.csv", b"a")
    assert {name for name, _ in waiting(home, Door.VENDOR)} == {
        "journal/1.journal",
        "incoming/acme/riverside/night.csv",
    }


def test_a_folder_that_is_not_there_yet_has_nothing_waiting(home: Home) -> None:
    assert [waiting(home, door) for door in Door] == [frozenset()] * len(Door)


def test_a_study_that_a_failed_run_forgot_is_rung_for_again() -> None:
    forgotten = ("admission/one.ready", 0)
    assert due(frozenset({forgotten}), {forgotten: 100.0}, 129.9, 30.0) == 0
    assert due(frozenset({forgotten}), {forgotten: 100.0}, 130.0, 30.0) == 1
    assert due(frozenset({forgotten}), {forgotten: 100.0}, 9_999.0, None) == 0


def test_a_task_that_found_nothing_is_skipped_so_that_nothing_downstream_starts() -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    assert work_or_skip(3) == 3
    with pytest.raises(AirflowSkipException):
        work_or_skip(0)


def test_a_wrong_set_up_fails_at_once_and_a_passing_fault_is_tried_again() -> None:
    policy = retry_policy()
    assert policy.evaluate(VaultLocked("mode 0644"), 1, 3).action.value == "fail"
    assert policy.evaluate(ModelContractError("digest"), 1, 3).action.value == "fail"
    full = policy.evaluate(OSError(28, "No space left on device"), 1, 3)
    assert (full.action.value, full.retry_delay) == ("retry", timedelta(seconds=2))
    held = policy.evaluate(LaneBusy("admission"), 1, 3)
    assert (held.action.value, held.retry_delay) == ("retry", timedelta(seconds=10))
    assert policy.evaluate(ValueError("unforeseen"), 1, 3).action.value == "default"


def test_snapshots_come_as_often_as_the_deployment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INTERVAL_VARIABLE, "15.0")
    assert "seconds=15)" in repr(snapshot_interval())
