"""Model comparison: is the challenger better on the same scans?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import figures
from dashboards.access import EVERYONE, require
from dashboards.components.figure_table import number, p_value, points, points_interval
from dashboards.components.page_frame import opening
from shadow.assessment.evidence import Comparison, PairedFigure
from shadow.assessment.snapshot import Snapshot

QUESTION = "Is a challenger better on the same scans?"


def as_page() -> st.Page:
    """The page for the menu."""
    return st.Page(page, title="Model comparison", icon=":material/compare_arrows:", url_path="model-comparison")


def page() -> None:
    """The page as the menu runs it."""
    require(*EVERYONE)
    published = opening(QUESTION)
    if published is not None:
        render(published.snapshot)


def render(snapshot: Snapshot) -> None:
    """Draw the page for a snapshot."""
    comparisons = snapshot.evidence.comparisons
    if not comparisons:
        st.info("The protocol names no challenger. A second model, or a vendor's product, is added by a new version.")
        return
    for one in comparisons:
        _comparison(one, snapshot)
    unread = snapshot.evidence.unread_results
    if unread:
        reasons = ", ".join(f"{figures.counted(one.count)} {figures.code_in_words(one.reason)}" for one in unread)
        st.markdown(f"Results of vendors' products that could not be read, counted and kept: {reasons}.")
    with st.expander("How to read this"):
        st.markdown(_how_to_read(snapshot))


def _comparison(one: Comparison, snapshot: Snapshot) -> None:
    st.subheader(f"{one.product} beside {snapshot.model}", anchor=False)
    if one.vendor:
        st.markdown(
            "A vendor's product that runs elsewhere; only its results come here. It answered "
            f"{figures.counted(one.answered)} of {figures.counted(one.eligible)} studies of closed weeks in time."
        )
    sensitivity = one.sensitivity
    if not sensitivity.of:
        st.markdown(f"No {snapshot.target_plural} in a closed week yet: nothing to compare.")
        return
    st.markdown(
        f"Of {figures.positives(sensitivity.of, snapshot.target_plural)} **both found {sensitivity.both}, only the "
        f"challenger {sensitivity.challenger_only}, only the champion {sensitivity.champion_only}, neither "
        f"{sensitivity.neither}**. {_verdict(one)}"
    )
    rows = [_row("Sensitivity", one.sensitivity), _row("Specificity", one.specificity)]
    st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt=f"{one.product} beside the champion")
    _more(one, snapshot)


def _verdict(one: Comparison) -> str:
    if one.margin is None or one.sensitivity.non_inferior is None:
        return "The protocol sets no margin, so there is no verdict."
    words = []
    for name, figure in (("sensitivity", one.sensitivity), ("specificity", one.specificity)):
        if figure.non_inferior is not None:
            words.append(f"{name} is {'non-inferior' if figure.non_inferior else 'not shown to be non-inferior'}")
    return f"By the protocol's margin of {points(one.margin)} the challenger's {' and its '.join(words)}."


def _row(name: str, figure: PairedFigure) -> dict[str, str]:
    champion, challenger = figure.both + figure.champion_only, figure.both + figure.challenger_only
    of = figures.counted(figure.of)
    return {
        "": name,
        "Champion": f"{figures.counted(champion)} of {of}",
        "Challenger": f"{figures.counted(challenger)} of {of}",
        "Difference": figures.NONE_YET if figure.difference is None else points(figure.difference),
        "95% CI (Tango)": points_interval(figure.lower, figure.upper),
        "p, one look": p_value(figure.p_value),
        "p, any day": p_value(figure.anytime_p),
    }


def _more(one: Comparison, snapshot: Snapshot) -> None:
    with st.expander("By shift and scanner, predictive values, ranking"):
        groups = [
            {
                "Group": group.label,
                "Both found": group.both,
                "Only champion": group.champion_only,
                "Only challenger": group.challenger_only,
                "Neither": group.neither,
            }
            for group in one.groups
        ]
        if groups:
            st.table(pd.DataFrame(groups), hide_index=True, border="horizontal", alt="Who found what, by group")
        rows = [
            {
                "Predictive value": value.name,
                "Champion": figures.percent(value.champion),
                "Challenger": figures.percent(value.challenger),
                "Ratio": "" if value.ratio is None else number(value.ratio),
                "95% CI": (
                    ""
                    if value.lower is None or value.upper is None
                    else f"{number(value.lower)} to {number(value.upper)}"
                ),
                "p": p_value(value.p_value),
            }
            for value in one.predictive
        ]
        if rows:
            st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Predictive values compared")
        area = one.area
        if area is None:
            st.markdown("No ranking: it takes scores of both on studies with and without the condition.")
        else:
            st.markdown(
                f"Area under the ROC curve on {figures.counted(area.positives)} {snapshot.target_plural} and "
                f"{figures.counted(area.negatives)} others that both scored: champion {number(area.champion)}, "
                f"challenger {number(area.challenger)}, difference {area.difference:+.3f} "
                f"(95% CI {area.lower:+.3f} to {area.upper:+.3f}; p {p_value(area.p_value)})."
            )


def _how_to_read(snapshot: Snapshot) -> str:
    return f"""
- Both models are judged on the same studies of closed weeks, one a patient, by the same rules: a result that is
  late, failed or missing found nothing and raised no alert, whoever owed it.
- Only the studies on which they differ speak. **p, one look** (McNemar mid-p) holds for one planned look;
  **p, any day** stays true however often one looks, and needs more cases.
- "Not shown to be non-inferior" is not "inferior": it may only mean that there are too few {snapshot.target_plural}.
- A vendor's version is part of its name: another version is another model, and starts anew.
"""
