"""Supervision over real processes: small scripts that sleep, fork, ignore signals or end at once."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.supervision.keeper import Keeper, Stage, stopped_by_signals, stopping_mark
from shadow.supervision.processes import Command, ProcessState

LIMIT_SECONDS = 10.0
pytestmark = pytest.mark.server

SLEEPER = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
PARENT = """
import os, pathlib, sys, time
if os.fork() == 0:
    os.setpgid(0, 0)
    pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(600)
"""


def wait_for(condition: Callable[[], object], seconds: float = LIMIT_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def script(
    name: str,
    code: str,
    *arguments: str,
    ready: Callable[[float], bool] = lambda _: True,
    grace_seconds: float = 5.0,
    leaves: int = 0,
) -> Command:
    return Command(
        name,
        (sys.executable, "-I", "-S", "-c", code, *arguments),
        dict(os.environ),
        ready,
        grace_seconds=grace_seconds,
        leaves=leaves,
    )


def keeper(folder: Path, *commands: Command) -> Keeper:
    return Keeper(Home(folder), (Stage(lambda _: None, lambda: commands),))


def runs(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_of(kept: Keeper, name: str) -> int:
    (number,) = [status.pid for status in kept.states() if status.name == name]
    assert number is not None
    return number


def test_a_killed_process_comes_back_and_its_neighbours_stay(tmp_path: Path) -> None:
    names = ("mirror", "reports", "dashboard")
    with keeper(tmp_path, *(script(name, SLEEPER) for name in names)) as kept:
        before = {name: pid_of(kept, name) for name in names}
        os.kill(before["reports"], signal.SIGKILL)
        wait_for(lambda: pid_of(kept, "reports") != before["reports"])
        wait_for(lambda: all(status.state is ProcessState.HEALTHY for status in kept.states()))
        assert {status.name: status.restarts for status in kept.states()} == {
            "mirror": 0,
            "reports": 1,
            "dashboard": 0,
        }
        assert (pid_of(kept, "mirror"), pid_of(kept, "dashboard")) == (before["mirror"], before["dashboard"])


def test_a_stop_leaves_no_process_not_even_a_deaf_one(tmp_path: Path) -> None:
    file = tmp_path / "grandchild"
    with keeper(
        tmp_path,
        script("parent", PARENT, str(file)),
        script("deaf", STUBBORN, grace_seconds=0.3),
    ) as kept:
        wait_for(lambda: file.exists() and file.read_text())
        numbers = [pid_of(kept, "parent"), pid_of(kept, "deaf"), int(file.read_text())]
    assert [number for number in numbers if psutil.pid_exists(number)] == []
    assert stopping_mark(Home(tmp_path)).exists()


def test_what_a_killed_process_leaves_behind_is_ended_before_it_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "grandchild"
    with keeper(tmp_path, script("scheduler", PARENT, str(file))) as kept:
        wait_for(lambda: file.exists() and file.read_text())
        orphan = int(file.read_text())
        file.unlink()
        os.kill(pid_of(kept, "scheduler"), signal.SIGKILL)
        wait_for(lambda: not psutil.pid_exists(orphan))
        wait_for(lambda: file.exists() and file.read_text())
        assert int(file.read_text()) != orphan


def test_an_orphan_of_a_process_that_lives_is_ended_too(tmp_path: Path) -> None:
    file = tmp_path / "orphan"
    code = """
import os, subprocess, sys, time
if os.fork() == 0:
    open(sys.argv[1], "w").write(str(subprocess.Popen(["sleep", "600"]).pid))
    os._exit(0)
os.wait()
time.sleep(600)
"""
    with keeper(tmp_path, script("scheduler", code, str(file))) as kept:
        wait_for(lambda: file.exists() and file.read_text())
        wait_for(lambda: not psutil.pid_exists(int(file.read_text())))
        assert [status.restarts for status in kept.states()] == [0]


def test_another_child_of_the_same_command_is_left_alone(tmp_path: Path) -> None:
    hospital = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        with keeper(tmp_path, script("mirror", SLEEPER)) as kept:
            os.kill(pid_of(kept, "mirror"), signal.SIGKILL)
            wait_for(lambda: kept.states()[0].restarts == 1)
            time.sleep(0.7)
        assert hospital.poll() is None
    finally:
        hospital.kill()
        hospital.wait()


def test_two_supervisors_on_one_folder_refuse(tmp_path: Path) -> None:
    with keeper(tmp_path, script("mirror", SLEEPER)) as kept:
        with pytest.raises(SetupError, match="running already"):
            keeper(tmp_path, script("mirror", SLEEPER)).start()
        assert kept.states()[0].state is ProcessState.HEALTHY
    with keeper(tmp_path, script("mirror", SLEEPER)):
        assert not stopping_mark(Home(tmp_path)).exists()


def test_a_process_that_cannot_start_stops_everything_and_names_its_log(tmp_path: Path) -> None:
    never = script("reports", "print('no such port'); raise SystemExit(3)", ready=lambda _: False)
    kept = keeper(tmp_path, script("mirror", SLEEPER), never)
    with pytest.raises(SetupError, match=r"reports ends as soon as it is started \(exit code 3\).*reports\.log"):
        kept.start()
    assert [status.state for status in kept.states()] == [ProcessState.STOPPED] * 2
    assert "no such port" in (tmp_path / "logs" / "reports.log").read_text()


def test_a_start_that_never_gets_healthy_says_what_it_waited_for(tmp_path: Path) -> None:
    kept = keeper(tmp_path, script("mirror", SLEEPER), script("reports", SLEEPER, ready=lambda _: False))
    with pytest.raises(SetupError, match="not healthy after 0 s: reports"):
        kept.start(timeout_seconds=0.4)
    assert kept.states()[1].state is ProcessState.STOPPED


def test_a_start_can_be_cancelled(tmp_path: Path) -> None:
    cancelled = threading.Event()
    kept = keeper(tmp_path, script("mirror", SLEEPER, ready=lambda _: cancelled.set() or False))
    kept.start(cancelled)
    assert kept.states()[0].state is ProcessState.STOPPED


def test_a_process_that_others_need_leaves_after_them(tmp_path: Path) -> None:
    log = tmp_path / "left"
    code = """
import signal, sys, time
def leave(*_):
    time.sleep(float(sys.argv[2]))
    open(sys.argv[1], "a").write(sys.argv[3] + " ")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
open(sys.argv[1] + sys.argv[3], "w").close()
time.sleep(600)
"""

    def is_up(name: str) -> Callable[[float], bool]:
        return lambda _: Path(f"{log}{name}").exists()

    with keeper(
        tmp_path,
        script("postgres", code, str(log), "0", "postgres", ready=is_up("postgres"), leaves=2),
        script("scheduler", code, str(log), "0.3", "scheduler", ready=is_up("scheduler")),
        script("api-server", code, str(log), "0", "api-server", ready=is_up("api-server"), leaves=1),
    ):
        pass
    assert log.read_text().split() == ["scheduler", "api-server", "postgres"]


def test_a_blocked_signal_of_the_parent_does_not_make_a_child_deaf(tmp_path: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        kept = keeper(tmp_path, script("mirror", SLEEPER, grace_seconds=30.0))
        kept.start()
        began = time.monotonic()
        kept.stop()
        assert time.monotonic() - began < LIMIT_SECONDS
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def test_sigterm_ends_a_trial_as_ctrl_c_does() -> None:
    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LIMIT_SECONDS)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


UP = """
import pathlib, sys, time
sys.path.insert(0, sys.argv[3])
from tests.wire.test_supervision import PARENT, STUBBORN, keeper, script
home = pathlib.Path(sys.argv[1])
kept = keeper(home, script("parent", PARENT, sys.argv[2]), script("deaf", STUBBORN))
kept.start()
(home / "up").write_text(" ".join(str(status.pid) for status in kept.states()))
time.sleep(600)
"""


def test_after_kill_9_of_the_supervisor_the_next_one_ends_what_it_left(tmp_path: Path) -> None:
    file = tmp_path / "grandchild"
    root = Path(__file__).parents[2]
    first = subprocess.Popen([sys.executable, "-c", UP, str(tmp_path), str(file), str(root)])
    try:
        wait_for(lambda: (tmp_path / "up").exists() and (tmp_path / "up").read_text())
        wait_for(lambda: file.exists() and file.read_text())
        parent, deaf = (int(number) for number in (tmp_path / "up").read_text().split())
    finally:
        first.kill()
        first.wait()
    wait_for(lambda: not runs(parent))  # the kernel tells it, without a grace
    assert runs(deaf)  # this one does not listen
    with keeper(tmp_path, script("mirror", SLEEPER)):
        assert not runs(deaf)
        assert not runs(int(file.read_text()))


def test_a_process_that_only_has_the_number_of_an_earlier_one_is_left_alone(tmp_path: Path) -> None:
    with keeper(tmp_path, script("mirror", SLEEPER)):
        record = json.loads((tmp_path / "supervisor.json").read_text())
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        record["sessions"] = {str(other.pid): time.time() - 3_600}
        (tmp_path / "supervisor.json").write_text(json.dumps(record))
        with keeper(tmp_path, script("mirror", SLEEPER)):
            assert other.poll() is None
    finally:
        other.kill()
        other.wait()
