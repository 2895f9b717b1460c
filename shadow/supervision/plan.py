"""Prints a plan as a clinical lead can read it before a trial is registered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shadow.assessment.adjudication import expected_reads
from shadow.assessment.planning import Plan, PlannedCriterion, PlannedGroup, plan_trial
from shadow.domain.errors import ConfigurationError
from shadow.protocol.site import read_site
from shadow.protocol.trial import TrialProtocol, read_trial
from shadow.protocol.volumes import Volume, read_volumes


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the plan assumes: the model's sensitivity and specificity, a bad group's sensitivity, the prevalence."""

    sensitivity: float
    bad: float
    specificity: float
    prevalence: float


def run_plan(trial_file: Path, volumes_file: Path, assumed: Assumed, console: Console) -> None:
    """Read the files, simulate, print.

    Raises:
        ConfigurationError: a file does not fit; it names file, field and remedy.
    """
    protocol = read_trial(trial_file)
    sites = tuple(read_site(trial_file.parent.parent / "sites" / f"{one}.toml") for one in protocol.sites)
    volumes = read_volumes(volumes_file, sites)
    if not sum(one.positives_per_week for one in volumes):
        raise ConfigurationError(str(volumes_file), "positives_per_week", "adds up to 0; write what the sites expect")
    print_plan(plan_trial(protocol, sites, volumes, assumed.sensitivity, assumed.bad), protocol, console)
    print_reading(protocol, volumes, assumed, console)


def print_plan(plan: Plan, protocol: TrialProtocol, console: Console) -> None:
    """The plan: totals, criteria, groups, and the groups that cannot alarm."""
    plural = escape(protocol.target_condition_plural)
    console.print(f"\n[bold]{escape(protocol.title)}[/] · protocol {protocol.version}", highlight=False)
    weeks = "" if plan.weeks_planned is None else f", reached after {plan.weeks_planned:.0f} weeks"
    console.print(
        f"{plan.positives_per_week:.1f} {plural} a week are expected at all sites together; the protocol plans "
        f"{protocol.planned_positives}{weeks}.\nAssumed: healthy groups have a sensitivity of {plan.sensitivity:.0%}, "
        f"a bad one {plan.bad:.0%}. Simulated, seeded.\n",
        highlight=False,
    )
    console.print(_criteria(plan, plural))
    console.print(_groups(plan, plural))
    if plan.mute:
        console.print(
            f"\n[bold]{len(plan.mute)} of {len(plan.groups)} groups cannot alarm within {plan.horizon_weeks} weeks[/], "
            f"whatever their sensitivity: {escape('; '.join(group.label for group in plan.mute))}. Tell the clinical "
            "leads before the trial. They still show on the dashboard, and their counts with it.",
            highlight=False,
        )


def print_reading(protocol: TrialProtocol, volumes: Sequence[Volume], assumed: Assumed, console: Console) -> None:
    """How much the readers will have to read; that nobody reads, where the protocol plans none."""
    if protocol.adjudication is None:
        console.print("\nThe protocol plans no blinded reading: all figures will be agreement with the reports.")
        return
    positives: dict[str, float] = defaultdict(float)
    for one in volumes:
        positives[one.shift] += one.positives_per_week
    reads = expected_reads(
        protocol.adjudication, positives, assumed.sensitivity, assumed.specificity, assumed.prevalence
    )
    hours = reads * protocol.adjudication.minutes_a_read / 60
    console.print(
        f"\n[bold]Blinded reading: about {reads:.0f} reads a week[/], two a study, {hours:.1f} hours in all, and a "
        f"third read where two differ. Assumed: {assumed.prevalence:.0%} of the eligible studies have "
        f"{protocol.target_condition_plural}, specificity {assumed.specificity:.0%}, "
        f"{protocol.adjudication.minutes_a_read:g} minutes a read. It takes at least three people.",
        highlight=False,
    )


def _criteria(plan: Plan, plural: str) -> Table:
    title = f"Until a criterion is met, were the sensitivity {plan.sensitivity:.0%}: median (90th percentile)"
    table = _table(title, "Criterion and what it is judged on")
    for name in ("Floor", plural.capitalize(), "Weeks", "One look"):
        table.add_column(name, justify="right")
    for one in plan.criteria:
        table.add_row(escape(f"{one.identifier}\n  {one.label}"), f"{one.floor:.0%}", *_sizes(one))
    return table


def _sizes(one: PlannedCriterion) -> tuple[str, str, str]:
    exact = "" if one.exact is None else f"{one.exact:,}"
    if one.size.median is None:
        return "never in half of the trials", "", exact
    ninetieth = "never" if one.size.ninetieth is None else f"{one.size.ninetieth:,}"
    weeks, late = one.weeks(one.size.median), one.weeks(one.size.ninetieth)
    in_weeks = "never" if weeks is None else f"{weeks:,.0f} ({'never' if late is None else f'{late:,.0f}'})"
    return f"{one.size.median:,} ({ninetieth})", in_weeks, exact


def _groups(plan: Plan, plural: str) -> Table:
    title = (
        f"\nWhat the monitors find within {plan.horizon_weeks} weeks\n"
        "Finds: the highest sensitivity that alarms in 80 of 100 trials. "
        f"Then, at {plan.bad:.0%}: how often it alarms, in which week (median), and how often it is on watch."
    )
    table = _table(title, "Group")
    for name in (f"{plural.capitalize()} a week", "Finds", "Alarm", "Week", "Watch"):
        table.add_column(name, justify="right")
    for group in plan.groups:
        table.add_row(*_row(group))
    return table


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    return table


def _row(group: PlannedGroup) -> tuple[str, ...]:
    return (
        escape(group.label),
        f"{group.positives_per_week:.1f}",
        "[dark_orange]cannot[/]" if group.detectable is None else f"{group.detectable:.0%}",
        f"{group.bad.alarmed:.0%}",
        "" if group.bad.median_week is None else str(group.bad.median_week),
        f"{group.bad.watched:.0%}",
    )
