"""Over time: is performance holding up?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import figures, sentences
from dashboards.access import EVERYONE, require
from dashboards.charts.band import FEWEST_SHOWN, band
from dashboards.components.page_frame import opening
from shadow.assessment.snapshot import Monitor, MonitorState, Snapshot

QUESTION = "Is performance holding up?"
STATE_WORDS = {
    MonitorState.ALARM: ":orange[:material/arrow_drop_down_circle: **Alarm**]",
    MonitorState.WATCH: ":gray[:material/visibility: **Watch**]",
    MonitorState.QUIET: ":gray[Quiet]",
}


def as_page() -> st.Page:
    """The page for the menu."""
    return st.Page(page, title="Over time", icon=":material/timeline:", url_path="over-time")


def page() -> None:
    """The page as the menu runs it."""
    require(*EVERYONE)
    published = opening(QUESTION)
    if published is not None:
        render(published.snapshot)


def render(snapshot: Snapshot) -> None:
    """Draw the page for a snapshot."""
    st.markdown(sentences.alarms(snapshot))
    monitoring = snapshot.monitoring
    labels = [one.label for one in monitoring.monitors]
    chosen = st.selectbox("Group", labels, key="group", bind="query-params") or labels[0]
    monitor = next(one for one in monitoring.monitors if one.label == chosen)
    st.markdown(_so_far(snapshot, monitor))
    specification = band(monitoring, monitor)
    if specification is None:
        st.info(f"Fewer than {FEWEST_SHOWN} {snapshot.target_plural} in closed weeks: too few to draw.")
    else:
        st.vega_lite_chart(spec=specification, width="stretch", key="band", alt=f"Sensitivity of {chosen} by week")
    reason = sentences.why_no_alarm(snapshot, monitor)
    if reason:
        st.markdown(reason)
    _family(snapshot)
    _cusums(snapshot)
    with st.expander("How to read this"):
        st.markdown(_how_to_read(snapshot))


def _so_far(snapshot: Snapshot, monitor: Monitor) -> str:
    if not monitor.present:
        return f"No {snapshot.target_plural} in a closed week yet."
    return (
        f"In closed weeks the AI found **{figures.counted(monitor.found)} of "
        f"{figures.positives(monitor.present, snapshot.target_plural)}** "
        f"({figures.percent(monitor.found / monitor.present)}; band "
        f"{figures.interval(monitor.lower, monitor.upper)})."
    )


def _family(snapshot: Snapshot) -> None:
    monitoring = snapshot.monitoring
    st.subheader("Every declared group", anchor=False)
    rows = [_row(one) for one in sorted(monitoring.monitors, key=_urgency)]
    st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Every monitor and its state")


def _cusums(snapshot: Snapshot) -> None:
    """The protocol's option; nothing where it does not ask for it."""
    paths = snapshot.evidence.cusums
    if not paths:
        return
    st.subheader("Misses against what was expected (CUSUM)", anchor=False)
    first = paths[0]
    st.markdown(
        f"Tuned to odds of a miss {first.odds_ratio:g} times those expected, age allowed for. At these limits a "
        f"healthy model signals once in about {figures.counted(round(first.run_length))} cases, one that bad after "
        f"about {figures.counted(round(first.run_length_worse))}. It is an aid without the family's guarantee."
    )
    rows = [
        {
            "Group": one.label,
            "Missed": f"{figures.counted(one.missed)} of {figures.counted(one.cases)}",
            "Expected": f"{one.expected_missed:.1f}",
            "CUSUM": f"{one.value:.2f} (limit {one.limit:.2f})",
            "Signal": "" if one.signalled_case is None else f":orange[**at case {one.signalled_case}**]",
        }
        for one in paths
    ]
    st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Risk-adjusted CUSUM by group")


def _takes(needed: int | None) -> str:
    if needed is None:
        return ""
    if needed > sentences.TELLABLE_POSITIVES:
        return "too near the floor to tell"
    return f"about {figures.counted(needed)} at this rate"


def _urgency(monitor: Monitor) -> tuple[int, float]:
    """Alarms first, then watches, then whoever is nearest to what an alarm takes."""
    needed = monitor.positives_for_alarm
    return list(MonitorState).index(monitor.state), needed / monitor.present if needed else float("inf")


def _row(monitor: Monitor) -> dict[str, str]:
    needed = monitor.positives_for_alarm
    return {
        "Group": monitor.label,
        "State": STATE_WORDS[monitor.state],
        "Found": f"{figures.counted(monitor.found)} of {figures.counted(monitor.present)}",
        "Band": figures.interval(monitor.lower, monitor.upper),
        "An alarm would take": _takes(needed),
    }


def _how_to_read(snapshot: Snapshot) -> str:
    monitoring = snapshot.monitoring
    alpha, floor = figures.percent(monitoring.alpha), figures.percent(monitoring.floor)
    return f"""
- **The band** holds at all times at once: the chance that it ever leaves out the group's true sensitivity is at most
  5%, however often one looks.
- **Alarm**: the group's sensitivity is below {floor}, or below that of all others, by a rule fixed before the trial.
  The chance of any false alarm among all {len(monitoring.monitors)} groups within {monitoring.horizon_weeks} weeks is
  at most {alpha}. An alarm stays until a person has answered it; it is not taken back by good weeks.
- **Watch** is an early sign without that guarantee: a healthy group is put on watch once in at least
  {monitoring.watch_weeks} weeks on average. It comes and goes.
- **Quiet is no proof of health.** A group with few cases cannot alarm within the trial by any honest method; the last
  column says what an alarm would take.
- Grey weeks are not closed: their reports are still coming in, and early reports are the easy cases.
- Each patient counts once, in the week and group of the first study with {snapshot.target_plural}.
"""
