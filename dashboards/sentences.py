"""What the pages say, computed from one snapshot: no figure is typed, and none comes from anywhere else."""

from __future__ import annotations

from dataclasses import dataclass

from dashboards import figures
from dashboards.standing import Measure, is_enough, measured
from shadow.assessment.snapshot import Group, Monitor, Proportion, ReferenceState, Snapshot, Verdict

STANDS_OUT = 0.05  # adjusted p of an explored slice that is worth a sentence
TELLABLE_POSITIVES = 2000  # a group that needs more lies at its floor
SHARE_OUTSIDE = 0.05  # a 95 % interval misses the true value in at most about one group of twenty


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to `Is the AI ready to be switched on?`."""

    verdict: Verdict
    headline: str
    sentence: str


def readiness(snapshot: Snapshot) -> Answer:
    """The verdict card. Before the planned number of positives there is no yes, whatever the criteria say."""
    total = len(snapshot.criteria)
    not_met = [one for one in snapshot.criteria if one.verdict is Verdict.NOT_MET]
    unknown = [one for one in snapshot.criteria if one.verdict is Verdict.NOT_YET_KNOWN]
    confirmed = snapshot.overall.sensitivity.of
    early = confirmed < snapshot.planned_positives
    rest = early_words(snapshot) if early else ""
    if not total:
        return Answer(Verdict.NOT_YET_KNOWN, "Cannot be said: no criterion is registered", rest)
    if not_met:
        so_far = " so far" if early else ""
        headline = f"Not yet: {_some_of(len(not_met), total)} not met{so_far}"
        return Answer(Verdict.NOT_MET, headline, rest)
    if early:
        planned = figures.positives(snapshot.planned_positives, snapshot.target_plural)
        headline = f"Too early to judge: {figures.counted(confirmed)} of {planned} confirmed"
        return Answer(Verdict.NOT_YET_KNOWN, headline, rest)
    if unknown:
        return Answer(Verdict.NOT_YET_KNOWN, f"Not yet: {_some_of(len(unknown), total)} not yet known", "")
    met = "the one pre-registered criterion is met" if total == 1 else f"all {total} criteria are met"
    return Answer(Verdict.MET, f"Ready to be put forward: {met}", "")


def _some_of(count: int, total: int) -> str:
    if total == 1:
        return "the one pre-registered criterion is"
    return f"{count} of {total} pre-registered criteria {'is' if count == 1 else 'are'}"


def early_words(snapshot: Snapshot) -> str:
    """How far the trial is from its planned look."""
    missing = snapshot.planned_positives - snapshot.overall.sensitivity.of
    return (
        f"The protocol judges at {figures.positives(snapshot.planned_positives, snapshot.target_plural)}; "
        f"{figures.counted(missing)} more {'is' if missing == 1 else 'are'} to come. "
        "Until then a criterion can still change in either direction."
    )


def elsewhere(snapshot: Snapshot, cell: Group, measure: Measure) -> tuple[int, int]:
    """Numerator and denominator over all studies outside this cell."""
    inside, overall = measured(cell, measure), measured(snapshot.overall, measure)
    return overall.count - inside.count, overall.of - inside.of


def worst_cell(snapshot: Snapshot) -> str:
    """The lowest cell in counts, against the rest of the trial."""
    cell = snapshot.worst_cell()
    if cell is None:
        return (
            f"No scanner and shift has {snapshot.minimum_positives_shown} confirmed "
            f"{snapshot.target_plural} yet, so no cell is compared."
        )
    return f"Lowest sensitivity: **{cell.label}**. {found_words(snapshot, cell.sensitivity)}" + _rest_words(
        snapshot, cell, Measure.SENSITIVITY
    )


def lowest(snapshot: Snapshot, cells: tuple[Group, ...], measure: Measure) -> str:
    """The lowest of the cells shown, in counts; says so where none has enough cases."""
    minimum = snapshot.minimum_positives_shown
    shown = [one for one in cells if is_enough(one, measure, minimum) and measured(one, measure).of]
    if not shown:
        counted = snapshot.target_plural if measure is Measure.SENSITIVITY else "studies without"
        return f"No scanner and shift shown here has {minimum} {counted} confirmed yet, so none is compared."
    cell = min(shown, key=lambda one: (measured(one, measure).estimate or 0.0, one.label))
    figure = measured(cell, measure)
    words = found_words if measure is Measure.SENSITIVITY else cleared_words
    return f"Lowest: **{cell.label}**. {words(snapshot, figure)}" + _rest_words(snapshot, cell, measure)


def found_words(snapshot: Snapshot, sensitivity: Proportion) -> str:
    """Sensitivity in counts: `The AI found 19 of 31 bleeds (61%; 95% CI 44% to 76%)`."""
    if not sensitivity.of:
        return f"No {snapshot.target_plural} are confirmed yet"
    return (
        f"The AI found **{figures.counted(sensitivity.count)} of "
        f"{figures.positives(sensitivity.of, snapshot.target_plural)}** "
        f"({figures.estimate_with_interval(sensitivity)})"
    )


def cleared_words(snapshot: Snapshot, specificity: Proportion) -> str:
    """Specificity in counts; a failure counts as a false alert."""
    studies = figures.number_of(specificity.of, "study", "studies")
    return (
        f"The AI cleared **{figures.counted(specificity.count)} of {studies}** without "
        f"{snapshot.target_plural} ({figures.estimate_with_interval(specificity)})"
    )


def _rest_words(snapshot: Snapshot, cell: Group, measure: Measure) -> str:
    count, of = elsewhere(snapshot, cell, measure)
    if not of:
        return "."
    return f"; elsewhere {figures.counted(count)} of {figures.counted(of)} ({figures.percent(count / of)})."


def accounting(snapshot: Snapshot) -> str:
    """Where every study went, in one sentence."""
    flow = snapshot.flow
    if not flow.received:
        return "No study has been received yet."
    excluded = flow.received - flow.eligible
    pending = flow.count(reference_state=ReferenceState.PENDING)
    final = flow.count() - pending
    received = figures.counted(flow.received)
    lead = "The one study received is" if flow.received == 1 else f"All {received} studies received are"
    return (
        f"{lead} accounted for: **{figures.counted(excluded)}** excluded and "
        f"**{figures.counted(flow.eligible)}** eligible. Of these, **{figures.counted(final)}** "
        f"{'has' if final == 1 else 'have'} a final report and **{figures.counted(pending)}** "
        f"{'is' if pending == 1 else 'are'} still waiting for one."
    )


def multiplicity(cells: tuple[Group, ...], measure: Measure, minimum: int) -> str:
    """What looking at many cells does to the reader, with the number looked at."""
    looked_at = sum(is_enough(one, measure, minimum) for one in cells)
    if looked_at < 2:
        return "At most one cell has enough cases, so nothing is compared yet."
    chance = 1.0 - (1.0 - SHARE_OUTSIDE) ** looked_at
    return (
        f"{looked_at} of {len(cells)} cells have enough cases and were looked at. Each interval is a 95% "
        f"interval on its own; with {looked_at} independent ones, the chance that at least one misses its "
        f"true value is about {figures.percent(chance)}. A low cell is a reason to look, not yet a proof."
    )


def alarms(snapshot: Snapshot) -> str:
    """What the declared monitors have raised, each with its counts, or that they are quiet."""
    monitoring = snapshot.monitoring
    closed = sum(week.closed for week in monitoring.weeks)
    if not closed:
        return "No week is closed yet, so nothing is monitored yet."
    over = f"over {figures.number_of(closed, 'closed week', 'closed weeks')}"
    if not monitoring.alarms:
        groups = figures.number_of(len(monitoring.monitors), "declared group has", "declared groups have")
        return f"**No alarm.** None of {groups} alarmed {over}."
    words = "; ".join(
        f"**{one.label}** since the week of {one.alarm_week:%-d %b %Y} ({one.alarm_reason}: found "
        f"{figures.counted(one.found)} of {figures.positives(one.present, snapshot.target_plural)} {over})"
        for one in monitoring.alarms
    )
    return f"**Alarm.** {words}."


def pending(snapshot: Snapshot) -> str:
    """What the reports still to come can do to the overall figure; empty where none is, or nothing is found."""
    waiting = snapshot.flow.count(reference_state=ReferenceState.PENDING)
    span = snapshot.sensitivity_if_pending
    if not waiting or span is None:
        return ""
    return (
        f"{figures.number_of(waiting, 'study waits', 'studies wait')} for a final report. Whatever these reports will "
        f"say, the overall sensitivity of the studies so far lies between {figures.percent(span.lowest)} and "
        f"{figures.percent(span.highest)}."
    )


def why_no_alarm(snapshot: Snapshot, monitor: Monitor) -> str:
    """For a group that looks bad and has not alarmed: what is missing. Empty for any other."""
    needed = monitor.positives_for_alarm
    closed = sum(week.closed for week in snapshot.monitoring.weeks)
    if needed is None or not closed:
        return ""
    alpha = figures.percent(snapshot.monitoring.alpha)
    if needed > TELLABLE_POSITIVES:
        return (
            f"**{monitor.label}** is so near the floor ({figures.counted(monitor.found)} of "
            f"{figures.positives(monitor.present, snapshot.target_plural)}) that no trial of this size can tell them "
            "apart."
        )
    return (
        f"**{monitor.label}** is below the floor so far ({figures.counted(monitor.found)} of "
        f"{figures.positives(monitor.present, snapshot.target_plural)}), and has not alarmed: at this rate an alarm "
        f"that keeps the error of the whole family at {alpha} takes about {figures.counted(needed)} "
        f"{snapshot.target_plural}, and {monitor.present / closed:.1f} come a week."
    )


def arrival(snapshot: Snapshot) -> str:
    """Whether every study that should have come did, and who was asked; it says so where nobody was."""
    arrived = snapshot.completeness
    if arrived is None:
        return (
            "No router or PACS has been asked what it had, so nobody knows. A scanner that never routes its studies "
            "to us would not show on any page. Name the sites' archives in the deployment file."
        )
    answered = [one.asked_until for one in arrived.asked if one.asked_until is not None]
    silent = sum(one.days_without_answer for one in arrived.asked)
    labels = {one.site: one.label for one in arrived.rows if one.dimension == "site"}
    names = " and ".join(labels.get(one.site, one.site) for one in arrived.asked if one.asked_until is not None)
    unasked = " and ".join(labels.get(one.site, one.site) for one in arrived.asked if one.asked_until is None)
    if not answered:
        return f"The archives of {unasked} have never answered: nobody knows what did not reach us."
    total = arrived.rows[0]
    asked = f"asked up to {min(answered):%d %b %Y}: {names}"
    lead = (
        f"Of {figures.number_of(total.listed, 'study', 'studies')} that the archives list for this trial ({asked}), "
        f"{figures.counted(total.received.count)} reached us by themselves"
    )
    rest = "."
    if total.later or total.never:
        rest = f", {figures.counted(total.later)} came later and {figures.counted(total.never)} never came."
    if arrived.alarms:
        rest += f" **Alarm: not all studies arrive from {'; '.join(one.label for one in arrived.alarms)}.**"
    elif arrived.monitoring is None:
        rest += " The protocol sets no floor, so nothing alarms."
    if arrived.short_of_instances:
        rest += (
            f" {figures.number_of(arrived.short_of_instances, 'study', 'studies')} came with fewer images than listed."
        )
    if unasked:
        rest += f" **The archive of {unasked} has never answered: what did not reach us from there is unknown.**"
    if silent:
        rest += (
            f" {figures.number_of(silent, 'day of a site has', 'days of sites have')} no answer: nobody knows what did "
            "not reach us on them."
        )
    return lead + rest


def exploration(snapshot: Snapshot) -> str:
    """Where misses gather, in counts and with its chance; says so where nothing stands out."""
    explored = snapshot.exploration
    if not explored.slices:
        return f"Too few {snapshot.target_plural} are confirmed to look for a common cause of the misses."
    first = explored.slices[0]
    also = f" (the same studies: {', '.join(first.conditions[1:])})" if len(first.conditions) > 1 else ""
    named = f"**{first.conditions[0]}**{also}"
    counts = (
        f"{figures.counted(first.missed)} of {figures.positives(first.positives, snapshot.target_plural)} missed, "
        f"elsewhere {figures.counted(first.rest_missed)} of {figures.counted(first.rest_positives)}"
    )
    looked = f"after looking at {figures.number_of(explored.looked_at, 'slice', 'slices')}"
    if first.adjusted_p > STANDS_OUT:
        return (
            f"Nothing stands out {looked}. The most striking is {named}: {counts} (adjusted p {_p(first.adjusted_p)})."
        )
    inside = ""
    if first.worst_missed:
        inside = (
            f" Of the {figures.counted(first.worst_missed)} misses of {snapshot.worst}, "
            f"{figures.counted(first.worst_missed_inside)} lie in it."
        )
    return f"Misses gather in {named}: {counts} (adjusted p {_p(first.adjusted_p)} {looked}).{inside}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "below 0.001"


DAILY_LOOKS = (
    "Verdicts, bands and alarms may be looked at every day: the chance that one is ever wrong is what the protocol "
    "states, not more. They rest on closed weeks, in which (nearly) every study has its final report, and count each "
    "patient once. The 95% CI beside an estimate is for reading: whoever acts on the first bad one is wrong more "
    "often than 1 time in 20."
)


def groups_differ(snapshot: Snapshot) -> str:
    """Whether sensitivity differs between sites, scanners, shifts and cells, by permuted misses."""
    names = {"site": "sites", "scanner": "scanners", "shift": "shifts", "cell": "scanner-and-shift cells"}
    tests = [one for one in snapshot.evidence.between.tests if one.p_value is not None]
    if not tests:
        return "Too few groups or cases to ask."
    differ = [names[one.dimension] for one in tests if one.p_value is not None and one.p_value < 0.05]
    shown = ", ".join(f"{names[one.dimension]} p {_p(one.p_value or 0.0)}" for one in tests)
    said = (
        f"**Sensitivity differs between {_listed(differ)} by more than chance.**"
        if differ
        else "**No sign that groups differ**, which is no proof that they do not."
    )
    return f"{said} (Misses dealt out anew among all groups: {shown}; one look, not adjusted.)"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
