"""A real Airflow on its private PostgreSQL, under supervision."""

import json
import os
import signal
import stat
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.sql import SQL

from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.protocol.deployment import Deployment, Scheduler
from shadow.supervision.airflow import ADMINISTRATOR, airflow_origin, airflow_secrets, without_proxy
from shadow.supervision.keeper import LOOK_SECONDS, Keeper, Stage
from shadow.supervision.ports import free_ports
from shadow.supervision.postgres import LONGEST_SOCKET_PATH, SOCKET_NAME, PrivatePostgres, find_programs
from shadow.supervision.processes import ProcessState
from shadow.supervision.supervisor import scheduler_stages

pytestmark = pytest.mark.server

TINY_DAG = """
from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, dag, task

from shadow.adapters.airflow_doorbell import Doorbell
from shadow.adapters.airflow_tasks import every_minute, retry_policy

DOOR = Asset("door", watchers=[AssetWatcher("admission", trigger=Doorbell("admission"))])


@dag(
    schedule=AssetOrTimeSchedule(timetable=every_minute(), assets=[DOOR]),
    start_date=datetime(2020, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=2), "retry_policy": retry_policy()},
)
def tiny():
    @task
    def move():
        import os
        from pathlib import Path

        from shadow.adapters.airflow_tasks import work_or_skip

        queue = Path(os.environ["SHADOW_HOME"], "queues", "admission")
        ready = list(queue.glob("*.ready"))
        for path in ready:
            path.rename(path.with_suffix(".done"))
        return work_or_skip(len(ready))

    move()


tiny()
"""


def wait_for(condition: Callable[[], object], seconds: float) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, "waited in vain"
        time.sleep(0.05)
    return time.monotonic() - began


def ask(address: str, token: str = "", body: dict[str, str] | None = None) -> dict[str, object]:
    request = urllib.request.Request(
        address,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with without_proxy().open(request, timeout=30) as answer:
        content: dict[str, object] = json.load(answer)
        return content


def postgres_of(home: Home) -> PrivatePostgres:
    return PrivatePostgres(home, find_programs(), dict(os.environ))


def database_only(home: Home) -> Keeper:
    server = postgres_of(home)
    home.root.mkdir(exist_ok=True)
    return Keeper(
        home,
        (Stage(server.prepare, lambda: (server.command(),), True, lambda: server.create_database("trial")),),
    )


def test_a_dag_runs_and_runs_again_after_kill_9_of_the_scheduler(tmp_path: Path) -> None:
    home = Home(tmp_path / "trial")
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "tiny.py").write_text(textwrap.dedent(TINY_DAG))
    deployment = Deployment(scheduler=Scheduler(port=free_ports((0,))[0]))
    queue = home.queues / "admission"

    def done_within(name: str, seconds: float) -> float:
        queue.mkdir(parents=True, exist_ok=True)
        (queue / f"{name}.ready").touch()
        return wait_for((queue / f"{name}.done").exists, seconds)

    keeper = Keeper(home, scheduler_stages(home, deployment, dags))
    keeper.start()
    try:
        print(f"first run after {done_within('first', 30):.1f} s")
        before = {status.name: status for status in keeper.states()}
        scheduler = before["scheduler"].pid
        assert scheduler is not None
        workers = psutil.Process(scheduler).children(recursive=True)
        os.kill(scheduler, signal.SIGKILL)
        print(f"run again {done_within('second', 60):.1f} s after kill -9 of the scheduler")
        wait_for(lambda: all(status.state is ProcessState.HEALTHY for status in keeper.states()), 30)
        assert {status.name: status.restarts for status in keeper.states() if status.restarts} == {"scheduler": 1}
        assert not [worker for worker in workers if worker.is_running()]
        check_who_may_look(home, deployment)
        supervised = [psutil.Process(status.pid) for status in keeper.states()]
        family = [below for process in supervised for below in process.children(recursive=True)]
        assert addresses_listened_on([*supervised, *family]) == {"127.0.0.1"}
    finally:
        keeper.stop()
    assert len(family) > len(before)  # workers, parsers, servers of connections
    assert not [process for process in family if process.is_running()]


def check_who_may_look(home: Home, deployment: Deployment) -> None:
    origin = airflow_origin(deployment)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(f"{origin}/api/v2/dags")
    password = airflow_secrets(home).password
    token = str(ask(f"{origin}/auth/token", body={"username": ADMINISTRATOR, "password": password})["access_token"])
    assert ask(f"{origin}/api/v2/importErrors", token)["total_entries"] == 0
    plugins = json.dumps(ask(f"{origin}/api/v2/plugins", token))
    assert "http://127.0.0.1:8501/" in plugins  # the dashboard, as an external view
    for path in (home.airflow, home.airflow / "secrets.json", home.airflow / "passwords.json", home.postgres):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert not [text for text in (home.logs / "api-server.log").read_text().split() if text == password]


def addresses_listened_on(processes: Iterable[psutil.Process]) -> set[str]:
    listening = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a task or a parser that has just ended
            listening |= {one.laddr.ip for one in process.net_connections() if one.status == psutil.CONN_LISTEN}
    return listening


def test_the_private_server_keeps_its_data_and_opens_no_port(tmp_path: Path) -> None:
    home = Home(tmp_path / "trial")
    statement = SQL("select name from trial")
    with database_only(home) as kept:
        assert postgres_of(home).single_value("trial", statement) is None
        with psycopg.connect(host=str(postgres_of(home).socket), user="shadow", dbname="trial") as connection:
            connection.execute("create table trial as select 'silent' as name")
        number = kept.states()[0].pid
        assert number is not None
        assert psutil.Process(number).net_connections(kind="inet") == []
        assert psutil.Process(number).uids().real != 0
        time.sleep(2 * LOOK_SECONDS)  # until the supervisor knows the server's own children
        family = psutil.Process(number).children(recursive=True)
        assert family
        os.kill(number, signal.SIGKILL)
        wait_for(lambda: kept.states()[0].restarts == 1 and kept.states()[0].state is ProcessState.HEALTHY, 20)
        assert postgres_of(home).single_value("trial", statement) == "silent"
        wait_for(lambda: not [one for one in family if one.is_running()], 10)  # ended and collected, no zombies
    with database_only(home):
        assert postgres_of(home).single_value("trial", statement) == "silent"


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    home = Home(tmp_path / ("a-folder-with-a-long-name-" * 4))
    server = postgres_of(home)
    assert len(str(server.socket / SOCKET_NAME)) <= LONGEST_SOCKET_PATH
    assert server.socket != postgres_of(Home(tmp_path / ("another-folder-with-a-long-name-" * 4))).socket
    with database_only(home):
        assert server.ready()
    server.socket.rmdir()


def test_a_half_made_data_folder_is_made_again_and_another_version_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "trial")
    unfinished = home.postgres / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("9\n")
    with database_only(home):
        assert not unfinished.exists()
    (home.postgres / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(SetupError, match=r"made by PostgreSQL 9"):
        database_only(home).start()
