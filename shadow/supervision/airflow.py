"""Airflow as four supervised processes, set up by environment variables alone.

Each number below was measured on two cores; docs/adr/0008-airflow-shape.md has the figures.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import shadow
from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.protocol.deployment import Deployment
from shadow.supervision.processes import Command

ADMINISTRATOR = "admin"
DATABASE = "airflow"
STATELESS_GRACE_SECONDS = 3.0  # these hold nothing, and would take up to 11 s
OWN_SERVERS = "127.0.0.1,localhost,::1"


@dataclass(frozen=True, slots=True)
class AirflowSecrets:
    """What Airflow's processes share: generated once a folder, readable by the owner alone."""

    jwt: str
    api: str
    fernet: str
    password: str


@dataclass(frozen=True, slots=True)
class AirflowFolders:
    """Where the DAGs and the plugins lie."""

    dags: Path
    plugins: Path


def airflow_secrets(home: Home) -> AirflowSecrets:
    """The folder's secrets; made at the first call, with the file that Airflow's login reads.

    The login is Airflow's simple one: a name and a pass phrase in a file, for a server on loopback.
    """
    home.airflow.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.airflow.chmod(0o700)
    path = home.airflow / "secrets.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        made = AirflowSecrets(
            jwt=secrets.token_urlsafe(48),
            api=secrets.token_urlsafe(32),
            fernet=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii"),
            password=secrets.token_urlsafe(12),
        )
        _write_private(path, json.dumps(asdict(made)))
        content = asdict(made)
    known = AirflowSecrets(**content)
    _write_private(passwords_file(home), json.dumps({ADMINISTRATOR: known.password}) + "\n")
    return known


def passwords_file(home: Home) -> Path:
    """The file with the administrator's pass phrase."""
    return home.airflow / "passwords.json"


def base_environment(home: Home, inherited: Mapping[str, str]) -> dict[str, str]:
    """What every process of a trial sees: this environment without any Airflow setting, and the folder."""
    environment = {name: value for name, value in inherited.items() if not name.startswith("AIRFLOW_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling Airflow anew costs each process 10 s
    package = str(Path(shadow.__file__).resolve().parent.parent)
    known = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part and part != package]
    environment |= {
        "SHADOW_HOME": str(home.root.absolute()),
        "PYTHONPATH": os.pathsep.join([package, *known]),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",  # every lane is one process: threads of its arithmetic would only fight each other
        "OPENBLAS_NUM_THREADS": "1",
        "NO_PROXY": OWN_SERVERS,
        "no_proxy": OWN_SERVERS,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]),
    }
    return environment


def airflow_environment(
    home: Home,
    deployment: Deployment,
    database_url: str,
    folders: AirflowFolders,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """The whole environment of Airflow's processes; nothing of an Airflow outside the folder is inherited."""
    known = airflow_secrets(home)
    origin = airflow_origin(deployment)
    settings = {
        ("core", "dags_folder"): str(folders.dags),
        ("core", "plugins_folder"): str(folders.plugins),
        ("core", "load_examples"): "False",
        ("core", "executor"): "LocalExecutor",
        # Lanes wait for work, so each keeps a worker: admission, one a model, reports, and room for the rest.
        ("core", "parallelism"): "8",
        ("core", "dags_are_paused_at_creation"): "False",
        ("core", "fernet_key"): known.fernet,
        ("core", "simple_auth_manager_users"): f"{ADMINISTRATOR}:admin",
        ("core", "simple_auth_manager_passwords_file"): str(passwords_file(home)),
        ("core", "execution_api_server_url"): f"{origin}/execution/",
        ("api", "host"): deployment.scheduler.host,
        ("api", "port"): str(deployment.scheduler.port),
        ("api", "base_url"): origin,
        ("api", "secret_key"): known.api,
        ("api", "workers"): "1",
        ("api_auth", "jwt_secret"): known.jwt,
        ("database", "sql_alchemy_conn"): database_url,
        # The latency knob: 0.2 s instead of 1 s halves the time from a doorbell to its task.
        ("scheduler", "scheduler_idle_sleep_time"): "0.2",
        # After kill -9: a dead scheduler's tasks are taken over, a dead worker's tasks are tried again.
        ("scheduler", "scheduler_heartbeat_sec"): "2",
        ("scheduler", "scheduler_health_check_threshold"): "15",
        ("scheduler", "orphaned_tasks_check_interval"): "5",
        ("scheduler", "task_instance_heartbeat_sec"): "5",
        ("scheduler", "task_instance_heartbeat_timeout"): "25",
        ("scheduler", "task_instance_heartbeat_timeout_detection_interval"): "5",
        ("triggerer", "job_heartbeat_sec"): "2",
        ("triggerer", "triggerer_health_check_threshold"): "10",
        # A task outlives an API server that is being restarted.
        ("workers", "min_heartbeat_interval"): "5",
        ("workers", "max_failed_heartbeats"): "12",
        ("workers", "execution_api_timeout"): "30",
        ("workers", "execution_api_retries"): "12",
        ("workers", "execution_api_retry_wait_max"): "5",
        ("workers", "socket_cleanup_timeout"): "5",
        ("dag_processor", "refresh_interval"): "30",
        ("dag_processor", "parsing_processes"): "1",
        ("logging", "base_log_folder"): str(home.logs.absolute() / "airflow"),
        ("logging", "dag_processor_child_process_log_directory"): str(
            home.logs.absolute() / "airflow" / "dag_processor"
        ),
        ("logging", "logging_level"): "WARNING",
        ("logging", "uvicorn_logging_level"): "WARNING",
        ("logging", "colored_console_log"): "False",
        ("usage_data_collection", "enabled"): "False",
    }
    environment = base_environment(home, inherited)
    environment |= {f"AIRFLOW__{section.upper()}__{name.upper()}": value for (section, name), value in settings.items()}
    dashboard = deployment.dashboard
    environment |= {
        "AIRFLOW_HOME": str(home.airflow.absolute()),
        "SHADOW_DASHBOARD_URL": f"http://{dashboard.host}:{dashboard.port}/",
        "SHADOW_SNAPSHOT_INTERVAL_SECONDS": str(deployment.scheduler.snapshot_interval_seconds),
        "NO_COLOR": "1",
        "PYTHONWARNINGS": "ignore",
    }
    return environment


def airflow_origin(deployment: Deployment) -> str:
    """Where Airflow's pages and API are."""
    return f"http://{deployment.scheduler.host}:{deployment.scheduler.port}"


def migration(environment: Mapping[str, str]) -> Command:
    """The command that brings Airflow's database to the installed version."""
    return Command("airflow-migrate", _airflow("db", "migrate"), environment, _at_once)


def airflow_commands(environment: Mapping[str, str], origin: str) -> tuple[Command, ...]:
    """Airflow's four processes, in the order in which they are started."""
    answers = _Answers(origin)
    return (
        Command(
            "api-server", _airflow("api-server"), environment, answers.api_server,
            grace_seconds=STATELESS_GRACE_SECONDS, leaves=1,
        ),
        Command(
            "scheduler", _airflow("scheduler", "--skip-serve-logs"), environment, answers.heart("scheduler")
        ),
        Command(
            "dag-processor", _airflow("dag-processor"), environment, answers.heart("dag_processor"),
            grace_seconds=STATELESS_GRACE_SECONDS,
        ),
        Command(
            "triggerer", _airflow("triggerer", "--skip-serve-logs"), environment, answers.heart("triggerer"),
            grace_seconds=STATELESS_GRACE_SECONDS,
        ),
    )  # fmt: skip


def without_proxy() -> urllib.request.OpenerDirector:
    """Asks this machine's own servers directly, whatever proxy the hospital has set."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


class _Answers:
    """Asks the API server how Airflow's processes are."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    def api_server(self, started_at: float) -> bool:
        """Whether the server answers at all and reaches its database; then it is warmed up."""
        del started_at  # a dead server's port answers nobody
        if self._health().get("metadatabase", {}).get("status") != "healthy":
            return False
        threading.Thread(target=self._warm_up, name="airflow-warm-up", daemon=True).start()
        return True

    def _warm_up(self) -> None:
        """Have the server build now, in 3 to 5 s, what the first task would otherwise wait for."""
        with (
            suppress(OSError),  # a server that died meanwhile is started, and warmed up, again
            without_proxy().open(f"{self._origin}/execution/health", timeout=60) as answer,
        ):
            answer.read()

    def heart(self, component: str) -> Callable[[float], bool]:
        """Whether a component's heart beat after its process started: an older beat is a dead one's."""

        def beats(started_at: float) -> bool:
            beat = self._health().get(component, {}).get(f"latest_{component}_heartbeat")
            return bool(beat) and datetime.fromisoformat(str(beat)).timestamp() > started_at

        return beats

    def _health(self) -> dict[str, dict[str, str | None]]:
        try:
            with without_proxy().open(f"{self._origin}/api/v2/monitor/health", timeout=2) as answer:
                health: dict[str, dict[str, str | None]] = json.load(answer)
                return health
        except (OSError, ValueError):
            return {}


def _at_once(started_at: float) -> bool:
    del started_at
    return True


def _airflow(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "airflow", *arguments)


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def run_dag_now(origin: str, password: str, dag: str, going_on: Callable[[], bool]) -> str:
    """Have Airflow's scheduler run a DAG once, and wait for its end.

    Args:
        origin: of the API server.
        password: of the administrator.
        dag: its identifier.
        going_on: False ends the waiting.

    Returns:
        How the run ended, by Airflow's word; or how it stood when the waiting ended.

    Raises:
        SetupError: Airflow does not answer, or refuses.
    """

    def ask(path: str, content: dict[str, object] | None = None, token: str = "") -> dict[str, object]:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(origin + path, body, headers)  # noqa: S310 (our own API server)
        with without_proxy().open(request, timeout=30) as answer:
            found: dict[str, object] = json.loads(answer.read())
            return found

    try:
        token = str(ask("/auth/token", {"username": ADMINISTRATOR, "password": password})["access_token"])
        run = ask(f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None}, token)
        address = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(str(run['dag_run_id']))}"
        while (state := str(run["state"])) not in ("success", "failed") and going_on():
            run = ask(address, token=token)
        return state
    except (OSError, ValueError, KeyError) as error:
        raise SetupError(f"Airflow does not run {dag} now: {type(error).__name__}: {error}") from error
