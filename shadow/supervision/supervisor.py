"""The processes of one trial's folder: receivers, private PostgreSQL, Airflow, dashboard."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from psycopg.sql import SQL

from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.domain.project import project_folder
from shadow.protocol.deployment import Deployment
from shadow.supervision.airflow import (
    ADMINISTRATOR,
    DATABASE,
    AirflowFolders,
    airflow_commands,
    airflow_environment,
    airflow_origin,
    airflow_secrets,
    base_environment,
    migration,
    run_dag_now,
    without_proxy,
)
from shadow.supervision.doctor import ports_of, why_not_listen
from shadow.supervision.keeper import Keeper, Progress, Stage
from shadow.supervision.postgres import PrivatePostgres, find_programs
from shadow.supervision.processes import Command, ProcessStatus, run_to_end
from shadow.wiring.servers import READY

MIGRATION_SECONDS = 180.0

REVISION = SQL("select version_num from alembic_version")


class Supervisor:
    """Everything that `shadow up` runs."""

    def __init__(
        self,
        home: Home,
        deployment: Deployment,
        on_progress: Progress | None = None,
        dags: Path | None = None,
        vendor_messages: bool = False,
    ) -> None:
        self._home = home
        self._deployment = deployment
        self._on_progress = on_progress
        self._vendor_messages = vendor_messages
        self._dags = dags or project_folder("dags")
        self._keeper: Keeper | None = None

    def start(self, cancelled: threading.Event | None = None) -> None:
        """Start everything; return when all are healthy, or when `cancelled` is set and all is stopped.

        Raises:
            SetupError: a port is taken, PostgreSQL is missing, a process keeps dying, or another supervisor
                holds the folder. Nothing runs then.
        """
        stages = (
            Stage(_nothing, self._outer_commands),
            *scheduler_stages(self._home, self._deployment, self._dags),
        )
        keeper = Keeper(self._home, stages, self._on_progress, self._refuse_taken_ports)
        keeper.start(cancelled)
        self._keeper = keeper

    def check(self) -> None:
        """Do nothing while supervision goes on.

        Raises:
            Exception: what ended it.
        """
        if self._keeper is not None:
            self._keeper.check()

    def states(self) -> tuple[ProcessStatus, ...]:
        """How each process is now."""
        return () if self._keeper is None else self._keeper.states()

    def stop(self) -> None:
        """Stop everything, within about 25 s; safe to call twice."""
        if self._keeper is not None:
            self._keeper.stop()

    def run_dag(self, dag: str, going_on: Callable[[], bool]) -> str:
        """Have the scheduler run a DAG now, as its own clock would, and wait; returns how it ended.

        Raises:
            SetupError: Airflow refuses.
        """
        return run_dag_now(airflow_origin(self._deployment), airflow_secrets(self._home).password, dag, going_on)

    def where_to_look(self) -> str:
        """The pages, and how to log in to Airflow's."""
        dashboard = self._deployment.dashboard
        known = airflow_secrets(self._home)
        return (
            f"Dashboard  http://{dashboard.host}:{dashboard.port}/\n"
            f"Airflow    {airflow_origin(self._deployment)}/  "
            f"(user {ADMINISTRATOR}, password {known.password})\n"
            f"Logs       {self._home.logs}"
        )

    def _refuse_taken_ports(self) -> None:
        results = self._deployment.vendor_results
        listeners = ports_of(self._deployment)
        if self._vendor_messages:
            listeners = (*listeners, ("listener for vendors' results", results.host, results.port))
        for what, host, port in listeners:
            reason, remedy = why_not_listen(host, port)
            if reason:
                raise SetupError(f"port {port} on {host} ({what}) {reason}: {remedy} in configuration/deployment.toml")

    def _outer_commands(self) -> tuple[Command, ...]:
        """The processes that face the hospital and its people; they need nothing of Airflow."""
        environment = base_environment(self._home, os.environ) | {
            "SHADOW_AIRFLOW_ORIGIN": airflow_origin(self._deployment)
        }
        root = str(self._home.root.absolute())
        receiver, reports, page = (
            self._deployment.receiver,
            self._deployment.reports,
            self._deployment.dashboard,
        )
        shadow = (sys.executable, "-m", "shadow")
        streamlit = (
            sys.executable, "-m", "streamlit", "run", str(project_folder("dashboards") / "asgi.py"),
            "--server.address", page.host, "--server.port", str(page.port), "--server.headless", "true",
            "--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none",
        )  # fmt: skip
        return (
            Command(
                "mirror",
                (*shadow, "mirror", "--home", root),
                environment,
                listens(receiver.host, receiver.port),
            ),
            Command(
                "reports",
                (*shadow, "reports", "--home", root),
                environment,
                listens(reports.host, reports.port),
            ),
            Command("dashboard", streamlit, environment, answers(f"http://{page.host}:{page.port}/_stcore/health")),
            *(
                [
                    Command(
                        "vendor-results",
                        (*shadow, "vendor-results", "--home", root),
                        environment,
                        listens(self._deployment.vendor_results.host, self._deployment.vendor_results.port),
                    )
                ]
                if self._vendor_messages
                else []
            ),
            *(
                [Command("fhir", (*shadow, "fhir", "--home", root), environment, touched(self._home.fhir / READY))]
                if self._deployment.speaks_fhir
                else []
            ),
        )


def scheduler_stages(home: Home, deployment: Deployment, dags: Path) -> tuple[Stage, ...]:
    """PostgreSQL, then Airflow on it.

    Raises:
        SetupError: PostgreSQL is missing, or cannot run as this user.
    """
    postgres = PrivatePostgres(home, find_programs(), base_environment(home, os.environ))
    folders = AirflowFolders(dags, project_folder("deploy") / "airflow_plugins")
    environment = airflow_environment(home, deployment, postgres.url(DATABASE), folders, os.environ)
    origin = airflow_origin(deployment)
    return (
        Stage(
            postgres.prepare,
            lambda: (postgres.command(),),
            wait=True,
            finish=lambda: postgres.create_database(DATABASE),
        ),
        Stage(
            lambda stopping: _migrate(home, postgres, migration(environment), stopping),
            lambda: airflow_commands(environment, origin),
            wait=True,
        ),
    )


def _migrate(home: Home, postgres: PrivatePostgres, command: Command, stopping: Callable[[], bool]) -> None:
    """Bring Airflow's database to the installed version; not again where that has been done (5 s)."""
    version = importlib.metadata.version("apache-airflow")
    mark = home.airflow / "migrated"
    done = f"{version} {postgres.single_value(DATABASE, REVISION)}\n"
    if mark.is_file() and mark.read_text(encoding="utf-8") == done:
        return
    log = home.logs / "airflow-migrate.log"
    if run_to_end(command, log, stopping, MIGRATION_SECONDS) != 0:
        if stopping():
            return
        raise SetupError(f"Airflow's database could not be prepared; {log} says why")
    mark.write_text(f"{version} {postgres.single_value(DATABASE, REVISION)}\n", encoding="utf-8")


def listens(host: str, port: int) -> Callable[[float], bool]:
    """Whether something accepts connections at the port."""

    def asked(started_at: float) -> bool:
        del started_at  # the port was free before
        try:
            with socket.create_connection((reachable(host), port), timeout=1):
                return True
        except OSError:
            return False

    return asked


def touched(path: Path) -> Callable[[float], bool]:
    """Whether a file was written since the process started."""

    def asked(started_at: float) -> bool:
        try:
            return path.stat().st_mtime >= started_at
        except FileNotFoundError:
            return False

    return asked


def answers(address: str) -> Callable[[float], bool]:
    """Whether a page answers with success."""

    def asked(started_at: float) -> bool:
        del started_at
        try:
            with without_proxy().open(address, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    return asked


def reachable(host: str) -> str:
    """Where to knock for a server that listens at `host`: one on every address is found on loopback."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def _nothing(stopping: Callable[[], bool]) -> None:
    del stopping
