"""The `shadow` command: one verb a stage, each thin enough to delete."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from shadow.cli.options import DEFAULT_HOME, HomeOption
from shadow.cli.reporting import account_app, label_app, linkage_app, quarantine_app
from shadow.domain.errors import ShadowError
from shadow.domain.home import Home

app = typer.Typer(
    help="Shadow runs silent trials of imaging models: predictions locked first, reports second.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
trial_app = typer.Typer(help="The trial's protocol.", no_args_is_help=True)
ledger_app = typer.Typer(help="The append-only, hash-chained ledger.", no_args_is_help=True)
app.add_typer(trial_app, name="trial")
app.add_typer(account_app, name="account")
app.add_typer(linkage_app, name="linkage")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(label_app, name="label")
app.add_typer(ledger_app, name="ledger")

DAY = ["%Y-%m-%d"]
DISK_REFUSES = {
    errno.EACCES: "Give this user the folder, or choose another",
    errno.EPERM: "Give this user the folder, or choose another",
    errno.EROFS: "Mount its disk for writing, or choose another folder",
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space, or raise this user's quota",
}
"""What the disk or its owner must mend, by errno, and how."""


@trial_app.command("register")
def trial_register(
    file: Annotated[Path, typer.Argument(help="The trial file, for example configs/trials/demo-head-ct.toml.")],
    home: HomeOption = DEFAULT_HOME,
    deployment: Annotated[
        Path | None, typer.Option(help="Where this installation listens; else the folder keeps its own.")
    ] = None,
) -> None:
    """Register a trial file by its digest, with its sites and models, before the first study."""
    from shadow.wiring.trial import register_trial

    ack = register_trial(file, Home(home), deployment)
    print(f"{'Registered' if ack.created else 'Already registered'}: event {ack.seq}, hash {ack.hash[:16]}")


@app.command()
def deidentify(
    check: Annotated[Path, typer.Option("--check", help="A DICOM file. What stays of it is printed.")],
) -> None:
    """Print what of a DICOM file would stay after de-identification; nothing is written."""
    from shadow.supervision.deidentify_check import check as print_what_stays

    raise typer.Exit(print_what_stays(check, Console()))


@ledger_app.command("verify")
def ledger_verify(home: HomeOption = DEFAULT_HOME) -> None:
    """Walk the hash chain from the first event to the head; exit 1 where it is broken."""
    from shadow.wiring.trial import verify_ledger

    found = verify_ledger(Home(home))
    if found.problem is not None:
        print(f"BROKEN after {found.events} good events: {found.problem}")
        raise typer.Exit(1)
    print(f"{found.events} events; the chain is whole.")


@app.command()
def mirror(home: HomeOption = DEFAULT_HOME) -> None:
    """Receive mirrored studies by C-STORE until stopped (one process)."""
    from shadow.wiring.servers import run_mirror

    run_mirror(Home(home), _ready("mirror"))


@app.command()
def reports(home: HomeOption = DEFAULT_HOME) -> None:
    """Receive report messages by MLLP until stopped (one process)."""
    from shadow.wiring.servers import run_report_listener

    run_report_listener(Home(home), _ready("reports"))


@app.command()
def fhir(home: HomeOption = DEFAULT_HOME) -> None:
    """Ask FHIR servers for reports, and take those that they send, until stopped (one process)."""
    from shadow.wiring.servers import run_fhir

    run_fhir(Home(home), _ready("fhir"))


@app.command("vendor-results")
def vendor_results(home: HomeOption = DEFAULT_HOME) -> None:
    """Receive results of vendors' products by MLLP until stopped (one process)."""
    from shadow.wiring.servers import run_vendor_result_listener

    run_vendor_result_listener(Home(home), _ready("vendor-results"))


@app.command()
def reconcile(
    site: Annotated[str, typer.Argument(help="The site whose archive is asked.")],
    first: Annotated[
        datetime | None, typer.Option("--from", formats=DAY, help="First day; else the last days.")
    ] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="Last day, included.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Ask a site's archive what it had for the trial, and put on record what never reached us."""
    from shadow.supervision.archives import run_reconcile

    raise typer.Exit(run_reconcile(Home(home), site, _days(first, last), Console()))


@app.command()
def backfill(
    site: Annotated[str, typer.Argument(help="The site whose archive is asked.")],
    first: Annotated[datetime, typer.Option("--from", formats=DAY, help="First day.")],
    last: Annotated[datetime, typer.Option("--to", formats=DAY, help="Last day, included.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Fetch the studies of these days that never reached us; what is fetched after its report counts as late."""
    from shadow.supervision.archives import run_backfill

    raise typer.Exit(run_backfill(Home(home), site, _days(first, last) or (), Console()))


@app.command()
def assess(home: HomeOption = DEFAULT_HOME) -> None:
    """Assess now and publish a snapshot."""
    from shadow.wiring.assessing import assess_trial
    from shadow.wiring.trial import open_trial

    published = assess_trial(open_trial(Home(home)))
    print(
        f"Published snapshot {published.sha256[:16]}"
        if published
        else "Nothing has happened since the newest snapshot."
    )


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="The trial file, for example configs/trials/demo-head-ct.toml.")],
    volumes: Annotated[Path, typer.Option(help="CSV of positives a week: site,scanner,shift,positives_per_week.")],
    sensitivity: Annotated[float, typer.Option(min=0.01, max=0.99, help="Assumed sensitivity of healthy groups.")],
    bad: Annotated[float, typer.Option(min=0.01, max=0.99, help="Assumed sensitivity of a bad group.")],
    specificity: Annotated[float, typer.Option(min=0.01, max=0.99, help="Assumed, for the reading load.")] = 0.9,
    prevalence: Annotated[float, typer.Option(min=0.001, max=0.99, help="Share of positives among studies.")] = 0.1,
) -> None:
    """Before registration: what the protocol can find at the sites' own volumes, and which groups cannot alarm."""
    from shadow.supervision.plan import Assumed, run_plan

    run_plan(file, volumes, Assumed(sensitivity, bad, specificity, prevalence), Console())


@app.command()
def status(home: HomeOption = DEFAULT_HOME) -> None:
    """Print what the newest snapshot says: flow, accuracy, cells, criteria, latency."""
    from shadow.assessment.snapshot_file import read_current
    from shadow.supervision.status import print_snapshot
    from shadow.wiring.trial import open_trial

    try:
        published = read_current(Home(home).snapshots)
    except ValueError as problem:
        print(f"Not shown: {problem}.")
        raise typer.Exit(1) from problem
    if published is None:
        open_trial(Home(home))  # says so where no trial is registered
        print("Nothing is published yet. `shadow assess` publishes a snapshot.")
        raise typer.Exit(1)
    print_snapshot(published, Console())


@app.command()
def doctor(
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Say in plain words what is wrong with this set-up; exit 1 where something must be mended."""
    from shadow.supervision.command import run_doctor_command

    raise typer.Exit(run_doctor_command(Home(home), Console()))


@app.command()
def up(home: HomeOption = DEFAULT_HOME) -> None:
    """Start everything from one folder, watch it, restart what dies; Ctrl-C or SIGTERM stops it all."""
    from shadow.supervision.command import run_up

    raise typer.Exit(run_up(Home(home), Console()))


@app.command()
def rehearse(
    dicom: Annotated[str, typer.Option(help="Host and port of the C-STORE SCP.")] = "127.0.0.1:11112",
    called_ae_title: Annotated[str, typer.Option(help="AE title of the SCP.")] = "SHADOW",
    mllp: Annotated[str, typer.Option(help="Host and port of the MLLP listener.")] = "127.0.0.1:2575",
    vendor_mllp: Annotated[str, typer.Option(help="Where a simulated vendor's product sends results; or nobody.")] = "",
    truth: Annotated[Path, typer.Option(help="Where the hospital keeps the truth; never read by the harness.")] = Path(
        "truth.jsonl"
    ),
    seed: Annotated[int, typer.Option(help="The hospital's seed: another one has other patients.")] = 1,
    studies: Annotated[int, typer.Option(help="Head CT studies and the others that come with them.")] = 1_520,
    weeks: Annotated[int, typer.Option(help="Weeks of the calendar.")] = 12,
    seconds: Annotated[float, typer.Option(help="Real seconds into which the calendar is compressed.")] = 250.0,
    report_floor: Annotated[
        float, typer.Option(help="A report leaves at the earliest so many real seconds after its last image.")
    ] = 60.0,
    swap: Annotated[str, typer.Option(help="Exchange the physics of two stations, for example RVCT1,RVCT2.")] = "",
    json_progress: Annotated[bool, typer.Option(help="Print progress as JSON lines.")] = False,
    archive: Annotated[str, typer.Option(help="Send nothing: be the hospital's archive at this host and port.")] = "",
    design: Annotated[
        Path | None, typer.Option(help="Play nothing: replay the calendars of this trial file many times, and count.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="With --design: how many hospitals.")] = 200,
    sensitivity: Annotated[float, typer.Option(min=0.01, max=0.99, help="With --design: on healthy scanners.")] = 0.9,
    station: Annotated[str, typer.Option(help="With --design: Station Name of the failing scanner.")] = "RVCT2",
    bad: Annotated[float, typer.Option(min=0.01, max=0.99, help="With --design: sensitivity there.")] = 0.5,
) -> None:
    """Play a hospital of two sites that sends studies and reports from the outside."""
    if design is not None:
        from shadow.supervision.design import Design, run_design

        run_design(design, Design(trials, studies // weeks, sensitivity, station, bad), Console())
        raise typer.Exit
    from shadow.supervision.rehearsal_command import RehearsalSettings, run_archive, run_rehearsal

    if archive:
        run_archive(archive, seed, studies, weeks)
        raise typer.Exit
    run_rehearsal(
        RehearsalSettings(
            dicom=dicom,
            called_ae_title=called_ae_title,
            mllp=mllp,
            vendor_mllp=vendor_mllp,
            truth=truth,
            seed=seed,
            studies=studies,
            weeks=weeks,
            seconds=seconds,
            report_floor=report_floor,
            swap=swap,
            json_progress=json_progress,
        )
    )


@app.command()
def demo(
    home: Annotated[Path, typer.Option(help="A new folder for the demonstration.")] = Path("var/demo"),
    exit_when_done: Annotated[bool, typer.Option("--exit", help="Stop by itself when the trial is over.")] = False,
    studies: Annotated[int, typer.Option(help="Studies that the simulated hospital sends.")] = 1_520,
    seconds: Annotated[float, typer.Option(help="Real seconds for the twelve weeks.")] = 250.0,
    seed: Annotated[int, typer.Option(help="The hospital's seed.")] = 1,
    swap: Annotated[str, typer.Option(help="Exchange the physics of two stations.")] = "",
    report_floor: Annotated[float, typer.Option(help="Real seconds between a study and its first report.")] = 60.0,
) -> None:
    """Watch a whole silent trial happen in minutes: hospital, mirror, Airflow, reports, dashboard."""
    from shadow.supervision.demonstration import DemonstrationSettings, run_demonstration

    settings = DemonstrationSettings(
        home=Home(home.absolute()),
        studies=studies,
        seconds=seconds,
        seed=seed,
        swap=swap,
        report_floor=report_floor,
        leave=exit_when_done,
    )
    raise typer.Exit(run_demonstration(settings, Console()))


def _days(first: datetime | None, last: datetime | None) -> tuple[date, ...] | None:
    from shadow.wiring.archives import days_between

    if first is None and last is None:
        return None
    begin, end = first or last, last or first
    assert begin is not None
    assert end is not None
    if end < begin:
        raise typer.BadParameter(f"{end:%Y-%m-%d} lies before --from {begin:%Y-%m-%d}", param_hint="--to")
    return days_between(begin.date(), end.date())


def _ready(name: str) -> Callable[[], None]:
    """What a process that receives says once it does; its log begins before that."""
    from shadow.adapters.log_lines import write_log_lines

    write_log_lines()

    def say() -> None:
        print(f"{name} is ready", flush=True)

    return say


def main() -> None:
    """Run the command; an error the harness knows, or a disk that may not be written, is one line, no traceback."""
    try:
        app()
    except ShadowError as error:
        print(f"shadow: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in DISK_REFUSES:
            raise
        # The folder alone: a file of the spool is named after what is in it.
        where = f"{Path(error.filename).parent}: " if isinstance(error.filename, str) else ""
        print(f"shadow: {where}{error.strerror}. {DISK_REFUSES[error.errno]}.", file=sys.stderr)
        raise SystemExit(2) from None
