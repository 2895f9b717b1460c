"""What the newest snapshot says, for a terminal: every figure with its n, the worst cell by name."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shadow.assessment.snapshot import (
    CriterionResult,
    Flow,
    Group,
    IndexState,
    Proportion,
    Reason,
    ReferenceState,
    Snapshot,
    Verdict,
)
from shadow.assessment.snapshot_file import Published

VERDICT_MARKS = {
    Verdict.MET: ("✓ met", "blue"),
    Verdict.NOT_YET_KNOWN: ("? not yet known", "bright_black"),
    Verdict.NOT_MET: ("▼ not met", "dark_orange"),
}


def print_snapshot(published: Published, console: Console) -> None:
    """Print a snapshot as a stranger can read it."""
    snapshot = published.snapshot
    console.print(f"\n[bold]{escape(snapshot.trial_title)}[/bold]")
    console.print(
        f"SILENT TRIAL · {snapshot.model} {snapshot.model_version} · protocol {snapshot.protocol_version} · "
        f"data to {snapshot.data_until:%Y-%m-%d %H:%M} UTC · snapshot {published.sha256[:8]}",
        style="bright_black",
        markup=False,
        highlight=False,
    )
    console.print(f"\n{answer_sentence(snapshot)}\n", highlight=False)
    _print_flow(snapshot.flow, console)
    console.print(_cells(snapshot))
    _print_criteria(snapshot, console)
    console.print(f"\n{monitoring_sentence(snapshot)}", highlight=False)
    console.print(f"{exploration_sentence(snapshot)}\n", highlight=False)
    console.print(arrival_sentence(snapshot), markup=False, highlight=False)
    console.print(latency_sentence(snapshot), highlight=False)
    for problem in (
        *snapshot.flow.broken_sums(),
        *(f"broken promise: {one}" for one in snapshot.broken_promises),
    ):
        console.print(problem, style="bold red", markup=False)


def answer_sentence(snapshot: Snapshot) -> str:
    """The finding in one sentence of counts; the worst cell by name where one has enough positives."""
    worst, overall = snapshot.worst_cell(), snapshot.overall
    if worst is None:
        return (
            f"Too early to judge: {_found(overall.sensitivity, snapshot)} so far; no cell of scanner and shift "
            f"has {snapshot.minimum_positives_shown} confirmed {escape(snapshot.target_plural)} yet."
        )
    elsewhere = overall.sensitivity.of - worst.sensitivity.of
    found_elsewhere = overall.sensitivity.count - worst.sensitivity.count
    return (
        f"[bold]Lowest: {escape(worst.label)}.[/bold] There the model {_found(worst.sensitivity, snapshot)}"
        f"{_interval(worst.sensitivity)}; elsewhere {found_elsewhere} of {elsewhere}"
        f"{f' ({found_elsewhere / elsewhere:.0%})' if elsewhere else ''}."
    )


def monitoring_sentence(snapshot: Snapshot) -> str:
    """What the declared monitors have raised, or why the lowest cell has not alarmed yet."""
    monitoring = snapshot.monitoring
    closed = sum(week.closed for week in monitoring.weeks)
    weeks = f"{closed} of {len(monitoring.weeks)} weeks closed"
    if monitoring.alarms:
        named = "; ".join(
            f"[bold]{escape(one.label)}[/] since the week of {one.alarm_week:%d %b %Y} ({one.alarm_reason}, "
            f"{one.found} of {one.present} {escape(snapshot.target_plural)})"
            for one in monitoring.alarms
        )
        return f"[dark_orange]▼ Alarm[/]: {named}. {weeks}."
    quiet = f"No alarm among {len(monitoring.monitors)} declared groups ({monitoring.alpha:.0%} for all); {weeks}."
    worst = next((one for one in monitoring.monitors if one.label == snapshot.worst), None)
    if worst is None or worst.positives_for_alarm is None or not worst.present:
        return quiet
    return (
        f"{quiet} {escape(worst.label)} has {worst.found} of {worst.present} in closed weeks: at this rate an alarm "
        f"takes about {worst.positives_for_alarm} {escape(snapshot.target_plural)}, and {worst.present / closed:.1f} "
        "come a week."
    )


def exploration_sentence(snapshot: Snapshot) -> str:
    """The most striking slice of the exploratory scan: a hypothesis, with its chance."""
    if not snapshot.exploration.slices:
        return "Too few positives to look for a common cause of the misses."
    first = snapshot.exploration.slices[0]
    lead = "Misses gather in" if first.adjusted_p <= 0.05 else "No common cause stands out; the most striking is"
    return (
        f"{lead} {escape(', '.join(first.conditions))}: {first.missed} of {first.positives} missed, elsewhere "
        f"{first.rest_missed} of {first.rest_positives} (adjusted p {first.adjusted_p:.3f}, "
        f"{snapshot.exploration.looked_at} slices looked at)."
    )


def arrival_sentence(snapshot: Snapshot) -> str:
    """Whether what the archives list reached us."""
    arrived = snapshot.completeness
    if arrived is None:
        return "No archive has been asked what never reached us."
    total = arrived.rows[0]
    alarm = (
        f" ALARM: not all studies arrive from {'; '.join(one.label for one in arrived.alarms)}."
        if arrived.alarms
        else ""
    )
    never = [one.site for one in arrived.asked if one.asked_until is None]
    unknown = f" The archive of {', '.join(never)} has never answered." if never else ""
    silent = sum(one.days_without_answer for one in arrived.asked)
    if silent:
        unknown += f" {silent} days of sites have no answer: nobody knows what did not reach us on them."
    return (
        f"Of {total.listed} studies that the archives list, {total.received.count} reached us"
        f"{_interval(total.received)}, {total.later} came later, {total.never} never came.{alarm}{unknown}"
    )


def latency_sentence(snapshot: Snapshot) -> str:
    """How long a study waited for its prediction, in real seconds."""
    latency = snapshot.latency
    if latency.median_seconds is None or latency.p95_seconds is None:
        return "No prediction is locked yet."
    sentence = (
        f"Study complete to prediction locked: median {latency.median_seconds:.1f} s, "
        f"95 of 100 within {latency.p95_seconds:.1f} s (n = {latency.locked})"
    )
    if latency.quiet_median_seconds is None:
        return sentence + "."
    return (
        f"{sentence}; median {latency.quiet_median_seconds:.1f} s when no other study closed within a second "
        f"(n = {latency.quiet_locked})."
    )


def _found(proportion: Proportion, snapshot: Snapshot) -> str:
    return f"found {proportion.count} of {proportion.of} {escape(snapshot.target_plural)}"


def _interval(proportion: Proportion) -> str:
    if proportion.estimate is None:
        return ""
    return f" ({proportion.estimate:.0%}; 95 % interval {proportion.lower:.0%} to {proportion.upper:.0%})"


def _print_flow(flow: Flow, console: Console) -> None:
    late = flow.count(IndexState.LATE)
    rows = [
        ("Studies received", flow.received, ""),
        ("  excluded", flow.received - flow.eligible, _reasons(flow.excluded)),
        ("  eligible", flow.eligible, ""),
        ("    answered in time", flow.count(IndexState.POSITIVE) + flow.count(IndexState.NEGATIVE), ""),
        ("    answered late", late, "after the first version of the report" if late else ""),
        ("    no answer", flow.count(IndexState.FAILED), _reasons(flow.failures)),
        ("    waiting for the model", flow.count(IndexState.AWAITING), ""),
        ("    final report: present", flow.count(reference_state=ReferenceState.PRESENT), ""),
        ("    final report: absent", flow.count(reference_state=ReferenceState.ABSENT), ""),
        ("    final report: indeterminate", flow.count(reference_state=ReferenceState.INDETERMINATE), ""),
        ("    pending", flow.count(reference_state=ReferenceState.PENDING), _reasons(flow.pending)),
        ("Reports received (versions)", flow.report_versions, ""),
        ("  accessions linked to a study", flow.reports_linked, ""),
        ("  accessions without a study", flow.reports_unmatched, ""),
        ("  messages quarantined", _total(flow.messages_quarantined), _reasons(flow.messages_quarantined)),
        ("Instances quarantined", _total(flow.instances_quarantined), _reasons(flow.instances_quarantined)),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="bright_black")
    for name, count, remark in rows:
        table.add_row(name, f"{count:,}", remark)
    console.print(table)


def _total(reasons: Iterable[Reason]) -> int:
    return sum(one.count for one in reasons)


def _reasons(reasons: Iterable[Reason]) -> str:
    return ", ".join(f"{one.reason} {one.count}" for one in reasons)


def _cells(snapshot: Snapshot) -> Table:
    cells = snapshot.of_dimension("cell")
    shifts = list(dict.fromkeys(cell.shift for cell in cells))
    table = Table(
        title=f"\nSensitivity by scanner and shift (found of {escape(snapshot.target_plural)} in final reports)",
        title_justify="left",
    )
    table.add_column("Scanner")
    for shift in shifts:
        table.add_column(escape(shift), justify="right")
    table.add_column("All shifts", justify="right")
    for scanner in snapshot.of_dimension("scanner"):
        row = {cell.shift: cell for cell in cells if (cell.site, cell.scanner) == (scanner.site, scanner.scanner)}
        table.add_row(escape(scanner.label), *(_cell(row.get(shift)) for shift in shifts), _cell(scanner))
    everything = {group.shift: group for group in snapshot.of_dimension("shift")}
    table.add_section()
    table.add_row("All scanners", *(_cell(everything.get(shift)) for shift in shifts), _cell(snapshot.overall))
    return table


def _cell(group: Group | None) -> str:
    if group is None or group.sensitivity.of == 0:
        return "[bright_black]none yet[/]"
    sensitivity = group.sensitivity
    if not group.enough:
        return f"[bright_black]{sensitivity.count}/{sensitivity.of} too few[/]"
    style = VERDICT_MARKS[group.verdict][1] if group.dimension == "cell" else "default"
    return f"[{style}]{sensitivity.estimate:.0%}[/] {sensitivity.count}/{sensitivity.of}"


def _print_criteria(snapshot: Snapshot, console: Console) -> None:
    console.print("\n[italic]Acceptance criteria, judged on closed weeks; true under daily looks[/]")
    for one in snapshot.criteria:
        mark, style = VERDICT_MARKS[one.verdict]
        console.print(f"[{style}]{mark:<15}[/] {escape(f'{one.title}: {one.rule}')}", highlight=False)
        console.print(f"{'':<16}{_judged_on(one)}", style="bright_black", markup=False, highlight=False)


def _judged_on(one: CriterionResult) -> str:
    observed = one.proportion
    if observed.estimate is None or one.lower is None:
        return f"{one.scope_label}: {one.remark}"
    counted = f"{observed.estimate:.1%} ({observed.count}/{observed.of})"
    limits = f"limits {one.lower:.1%} to {one.upper:.1%} on {one.matured_count:,}/{one.matured_of:,}"
    return f"{one.scope_label}: {counted}, {limits}" + (f"; {one.remark}" if one.remark else "")
