"""Subgroups: where does the AI do worse?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboards import figures, sentences
from dashboards.access import EVERYONE, require
from dashboards.charts import forest as forest_chart
from dashboards.charts import heatmap as heatmap_chart
from dashboards.components.figure_table import p_value, points, points_interval
from dashboards.components.page_frame import opening
from dashboards.standing import LOOKS, Measure, Standing, is_enough, measured, rule_for, standing_of
from shadow.assessment.evidence import Figure
from shadow.assessment.snapshot import Group, Snapshot
from shadow.assessment.snapshot_file import Published

QUESTION = "Where does the AI do worse?"
DIMENSIONS = {"cell": "Scanner and shift", "scanner": "Scanner", "shift": "Shift", "site": "Site"}
LARGEST_CACHE = 64


def as_page() -> st.Page:
    """The page for the menu."""
    return st.Page(page, title="Subgroups", icon=":material/grid_on:", url_path="subgroups")


def page() -> None:
    """The page as the menu runs it."""
    require(*EVERYONE)
    published = opening(QUESTION)
    if published is not None:
        render(published)


def render(published: Published) -> None:
    """Draw the page for a snapshot."""
    snapshot = published.snapshot
    cells = snapshot.of_dimension("cell")
    if not cells:
        st.info("No scanner is registered, so there is nothing to compare.")
        return
    measure, sites, shifts = _filters(snapshot)
    shown = tuple(one for one in cells if one.site in sites and one.shift in shifts)
    if not shown:
        st.info("No scanner and shift matches these filters.")
        return
    answer = sentences.lowest(snapshot, shown, measure)
    st.markdown(answer)
    alt = answer.replace("**", "")
    heat = _heatmap(published, measure, tuple(one.label for one in shown))
    st.vega_lite_chart(spec=heat, width="stretch", key="heat", alt=alt)
    _legend(snapshot, measure)
    _groups(published, measure, sites, shifts)
    _between(snapshot)
    _exploration(snapshot)
    with st.expander("How to read this"):
        st.markdown(_how_to_read(snapshot, cells, measure))


def _filters(snapshot: Snapshot) -> tuple[Measure, list[str], list[str]]:
    """Measure, sites and shifts to show; nothing chosen means all. All are in the page's address."""
    cells = snapshot.of_dimension("cell")
    site_names = {one.site: one.label for one in snapshot.of_dimension("site")}
    all_sites, all_shifts = (
        list(dict.fromkeys(one.site for one in cells)),
        list(dict.fromkeys(one.shift for one in cells)),
    )
    left, middle, right = st.columns((3, 4, 4), vertical_alignment="bottom")
    chosen = left.segmented_control(
        "Measure",
        [one.value for one in Measure],
        default=Measure.SENSITIVITY.value,
        key="measure",
        required=True,
        bind="query-params",
    )
    sites = middle.multiselect(
        "Sites",
        all_sites,
        format_func=lambda one: site_names.get(one, one),
        key="sites",
        placeholder="All sites",
        bind="query-params",
    )
    shifts = right.multiselect("Shifts", all_shifts, key="shifts", placeholder="All shifts", bind="query-params")
    return Measure(chosen or Measure.SENSITIVITY.value), sites or all_sites, shifts or all_shifts


def _heatmap_of(published: Published, measure: Measure, labels: tuple[str, ...]) -> dict[str, Any]:
    cells = tuple(one for one in published.snapshot.of_dimension("cell") if one.label in labels)
    return heatmap_chart.heatmap(published.snapshot, cells, measure)


def _forest_of(
    published: Published, measure: Measure, dimension: str, labels: tuple[str, ...]
) -> dict[str, Any] | None:
    groups = tuple(one for one in published.snapshot.of_dimension(dimension) if one.label in labels)
    return forest_chart.forest(published.snapshot, groups, measure)


# A snapshot never changes, so its digest stands for it: a specification costs 50 to 140 ms to build, once.
_cached = st.cache_data(max_entries=LARGEST_CACHE, show_spinner=False, hash_funcs={Published: lambda one: one.sha256})
_heatmap = _cached(_heatmap_of)
_forest = _cached(_forest_of)


def _legend(snapshot: Snapshot, measure: Measure) -> None:
    """Shapes, colours and words of the standings that the chart can show."""
    rule = rule_for(snapshot, measure, "cell")
    if rule is None:
        words = [(Standing.NOT_JUDGED, f"the protocol sets no rule for {measure.value.lower()} in a single cell")]
    else:
        at = figures.percent(rule.floor)
        words = [
            (Standing.MET, f"its limits lie wholly at or above {at}"),
            (Standing.NOT_YET_KNOWN, f"its limits span {at}"),
            (Standing.NOT_MET, f"its limits lie wholly below {at}"),
        ]
    few = snapshot.minimum_positives_shown
    items = [_legend_item(LOOKS[one].fill, f"{LOOKS[one].shape} {one.value}: {text}") for one, text in words]
    hatch = "repeating-linear-gradient(135deg,#fff 0 4px,#DFE3E6 4px 8px)"
    items.append(_legend_item(hatch, f"Too few: fewer than {few} confirmed"))
    st.html('<div style="display:flex;flex-wrap:wrap;gap:.3rem 1.3rem;font-size:.86rem">' + "".join(items) + "</div>")


def _legend_item(background: str, words: str) -> str:
    square = f"width:15px;height:15px;border-radius:3px;border:1px solid #C3C9CE;background:{background}"
    swatch = f'<span style="{square}"></span>'
    return f'<span style="display:inline-flex;align-items:center;gap:.4rem">{swatch}{words}</span>'


def _groups(published: Published, measure: Measure, sites: list[str], shifts: list[str]) -> None:
    snapshot = published.snapshot
    st.subheader("Group by group, the lowest first", anchor=False)
    dimension = (
        st.segmented_control(
            "Groups",
            list(DIMENSIONS),
            format_func=lambda one: DIMENSIONS[one],
            default="cell",
            key="groups",
            required=True,
            bind="query-params",
            label_visibility="collapsed",
        )
        or "cell"
    )
    groups = tuple(
        one
        for one in snapshot.of_dimension(dimension)
        if (not one.site or one.site in sites) and (not one.shift or one.shift in shifts)
    )
    spec = _forest(published, measure, dimension, tuple(one.label for one in groups))
    if spec is None:
        st.info(f"No group has {snapshot.minimum_positives_shown} cases of this measure yet.")
    else:
        st.vega_lite_chart(spec=spec, width="content", key="forest", alt=f"{measure.value} group by group")
    few = [one for one in groups if not is_enough(one, measure, snapshot.minimum_positives_shown)]
    if few:
        names = "; ".join(f"{one.label} (n = {figures.counted(measured(one, measure).of)})" for one in few)
        st.markdown(f"Too few cases to show: {names}.")
    with st.expander("Show as table"):
        table = pd.DataFrame([_table_row(snapshot, one, measure) for one in (*groups, snapshot.overall)])
        st.table(table, hide_index=True, border="horizontal", alt=f"{measure.value} by group")


def _between(snapshot: Snapshot) -> None:
    st.subheader("Do the groups differ beyond chance?", anchor=False)
    between = snapshot.evidence.between
    st.markdown(sentences.groups_differ(snapshot))
    rows = [
        {
            "Scanner and shift": one.label,
            "Found": f"{figures.counted(one.found)} of {figures.counted(one.present)}",
            "Chance alone, 95% (99.8%)": f"{figures.interval(one.lower_95, one.upper_95)} "
            f"({figures.interval(one.lower_998, one.upper_998)})",
            "Cell minus rest": difference_of(one.crude),
            "Within age bands": difference_of(one.standardised),
            "Adjusted p (Holm; BH)": f"{p_value(one.holm_p)}; {p_value(one.bh_p)}",
            "Pooled, display only": (
                "" if one.pooled is None
                else f"{figures.percent(one.pooled)} ({figures.interval(one.pooled_lower, one.pooled_upper)})"
            ),
            "Today's list": "listed" if one.listed else "",
        }
        for one in between.cells
        if one.p_worse is not None
    ]  # fmt: skip
    if rows:
        with st.expander("Show each cell beside the rest"):
            st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Each cell beside the rest")
            st.markdown(
                "Over closed weeks, one study a patient. *Chance alone* is where a cell of this size would lie with "
                "the rest's share (funnel limits). *Cell minus rest* is what its patients get; *within age bands* what "
                "the cell itself adds. *Pooled* draws every cell towards the others and can hide a small bad one: it "
                "decides nothing. *Today's list* (e-BH) comes and goes; alarms are on Over time."
            )


def difference_of(figure: Figure | None) -> str:
    """A difference in points with its interval, or nothing."""
    if figure is None or figure.value is None:
        return ""
    return f"{points(figure.value)} ({points_interval(figure.lower, figure.upper)})"


def _exploration(snapshot: Snapshot) -> None:
    st.subheader("Where do the misses gather?", anchor=False)
    st.markdown(sentences.exploration(snapshot))
    rows = [
        {
            "Slice": "; ".join(one.conditions),
            "Missed": f"{figures.counted(one.missed)} of {figures.counted(one.positives)}",
            "Missed elsewhere": f"{figures.counted(one.rest_missed)} of {figures.counted(one.rest_positives)}",
            "Adjusted p": f"{one.adjusted_p:.3f}",
        }
        for one in snapshot.exploration.slices
    ]
    if rows:
        with st.expander("Show the most striking slices"):
            st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="The most striking slices")
            st.markdown(
                "A search over attributes finds hypotheses. The adjusted p is the chance that any slice would stand "
                "out as much, were the misses dealt out at random; its power is low. New data must confirm it."
            )


def _table_row(snapshot: Snapshot, group: Group, measure: Measure) -> dict[str, str]:
    standing = standing_of(snapshot, group, measure)
    figure = measured(group, measure)
    few = standing is Standing.TOO_FEW
    return {
        "Group": group.label,
        "Eligible": figures.counted(group.eligible),
        "Pending": figures.counted(group.pending),
        "Failed or late": figures.counted(group.failed + group.late),
        "Counts": f"n = {figures.counted(figure.of)}, too few" if few else figures.share(figure),
        measure.value: "" if few else figures.estimate(figure),
        "95% CI": "" if few else figures.interval(figure.lower, figure.upper),
        "Status": f"{LOOKS[standing].shape} {standing.value}".strip(),
    }


def _how_to_read(snapshot: Snapshot, cells: tuple[Group, ...], measure: Measure) -> str:
    few = snapshot.minimum_positives_shown
    return f"""
- A cell is coloured by how its limits lie against the protocol's floor, **never by its value**: a low figure on few
  cases is *not yet known*, and says so. The limits rest on closed weeks and hold however often one looks; the bars
  below are for reading and do not.
- Fewer than {few} cases print no figure: one case more would move it too far.
- **Many cells.** {sentences.multiplicity(cells, measure, few)}
- **Many looks.** {sentences.DAILY_LOOKS}
- Sensitivity counts a failed, late or missing result as a miss. Specificity counts a failure as a false alert.
- A shift follows the wall clock of the scanner's own site, daylight-saving time included.
- The dashed line in the lower chart is the protocol's floor. Bars are 95% Wilson intervals.
"""
