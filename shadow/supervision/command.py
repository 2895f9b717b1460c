"""`shadow up` and `shadow doctor`: what a person sees of supervision."""

from __future__ import annotations

import signal
import threading

from rich.console import Console
from rich.text import Text

from shadow.domain.home import Home
from shadow.protocol.deployment import Deployment, read_deployment
from shadow.store.accounts import create_first_accounts
from shadow.store.events import Kind
from shadow.supervision.doctor import run_doctor
from shadow.supervision.findings import FindingState
from shadow.supervision.supervisor import Supervisor
from shadow.wiring.trial import open_trial

PROGRESS_SECONDS = 10.0


def run_up(home: Home, console: Console) -> int:
    """Start everything, say where to look, show progress, stop on Ctrl-C or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    trial = open_trial(home)
    supervisor = Supervisor(home, trial.deployment, vendor_messages=trial.protocol.receives_vendor_messages)
    console.print(f"Trial {trial.protocol.identifier} {trial.protocol.version} in {home.root}: starting ...")
    try:
        supervisor.start()
        console.print(f"All healthy.\n{where_to_look(supervisor, home)}\nCtrl-C stops it.", highlight=False)
        shown = ""
        with trial.open_ledger() as ledger:
            while not stop.wait(PROGRESS_SECONDS if shown else 0.1):
                supervisor.check()
                now = (
                    f"{ledger.count(Kind.STUDY)} studies, {ledger.count(Kind.PREDICTION)} predictions, "
                    f"{ledger.count(Kind.REPORT_VERSION)} report versions"
                )
                if now != shown:
                    console.print(now, highlight=False)
                    shown = now
    finally:
        console.print("Stopping ...")
        supervisor.stop()
    return 0


def where_to_look(supervisor: Supervisor, home: Home) -> str:
    """The pages and, the first time, the passwords of the dashboard's first accounts, which are kept nowhere."""
    first = create_first_accounts(home.accounts)
    passwords = "\n".join(f"           {one.role.value:<9} {one.name:<9} password {one.password}" for one in first)
    if passwords:
        passwords = f"\nFirst dashboard accounts, shown once: note them down.\n{passwords}"
    return supervisor.where_to_look() + passwords


def run_doctor_command(home: Home, console: Console) -> int:
    """Print every finding; 1 where a problem was found."""
    file = home.configuration / "deployment.toml"
    findings = run_doctor(home, read_deployment(file) if file.exists() else Deployment())
    styles = {FindingState.OK: "blue", FindingState.WARNING: "yellow", FindingState.PROBLEM: "bold red"}
    for finding in findings:
        mark = Text(f"{finding.state.value:<8}", styles[finding.state])
        console.print(mark, finding.what, markup=False, highlight=False)
        if finding.remedy:
            console.print(f"         {finding.remedy}", style="bright_black", markup=False, highlight=False)
    return int(any(finding.state is FindingState.PROBLEM for finding in findings))
