"""Adjudication: how right are the reports, and the AI, when people read again without knowing either?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import figures
from dashboards.access import EVERYONE, require
from dashboards.components.figure_table import figure_table, number, value_of
from dashboards.components.page_frame import opening
from dashboards.reading_room import READERS
from shadow.assessment.evidence import Adjudicated, Figure, ReaderAgreement
from shadow.assessment.snapshot import Snapshot
from shadow.store.accounts import Role

QUESTION = "How right are the reports themselves?"
_KIND = {"positive": "AI positive", "negative": "AI negative", "none": "No AI result in time"}


def as_page() -> st.Page:
    """The page for the menu."""
    return st.Page(page, title="Adjudication", icon=":material/balance:", url_path="adjudication")


def page() -> None:
    """The page as the menu runs it."""
    session = require(*EVERYONE)
    published = opening(QUESTION)
    if published is not None:
        render(published.snapshot, session.role)


def render(snapshot: Snapshot, role: Role) -> None:
    """Draw the page for a snapshot."""
    found = snapshot.evidence.adjudicated
    if found is None:
        st.info(
            "The protocol plans no blinded reading, so all figures are agreement with the reports: where reports miss "
            "what the AI misses, sensitivity is too high."
        )
        return
    st.markdown(_answer(found, snapshot))
    _progress(found)
    if found.agreement:
        st.subheader("Do two readers agree?", anchor=False)
        rows = [_agreement(one) for one in found.agreement]
        st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Agreement of two readers")
    by_name = {one.identifier: one for one in found.figures}
    for about, title in (("model", "The AI against the readers"), ("report", "The reports against the readers")):
        rows = _accuracy(about, by_name, found)
        if rows:
            st.subheader(title, anchor=False)
            st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt=title)
    common = [one for one in found.figures if one.identifier.startswith("adjudicated-prevalence-")]
    if common:
        st.subheader(f"How common are {snapshot.target_plural}?", anchor=False)
        figure_table(common, "Prevalence")
    if found.missing:
        with st.expander(f"Why {figures.number_of(len(found.missing), 'figure waits', 'figures wait')}"):
            st.markdown("\n".join(f"- {one}" for one in found.missing))
    st.subheader("The sample", anchor=False)
    if role in READERS and found.settled < found.drawn:
        st.markdown("Who reads does not see which studies were drawn, until all of them are settled.")
    else:
        st.table(pd.DataFrame(_kinds(found)), hide_index=True, border="horizontal", alt="The sample by kind of study")
    with st.expander("How to read this"):
        st.markdown(_how_to_read(snapshot))


def _answer(found: Adjudicated, snapshot: Snapshot) -> str:
    by_name = {one.identifier: one for one in found.figures}
    model, report = (by_name.get(f"adjudicated-{one}-sensitivity-All") for one in ("model", "report"))
    if model is None or report is None or model.value is None or report.value is None:
        return (
            f"Two people have settled **{figures.counted(found.settled)} of {figures.counted(found.drawn)}** studies "
            "drawn. Until each kind of study has been read, there is no figure that speaks for all of them."
        )
    against = snapshot.overall.sensitivity
    compared = "" if against.estimate is None else (
        f" Against the reports alone it looks like {figures.percent(against.estimate)}."
    )  # fmt: skip
    return (
        f"Of all {snapshot.target_plural} that blinded readers see, the reports name "
        f"**{figures.percent(report.value)}** (95% CI {figures.interval(report.lower, report.upper)}) and the AI finds "
        f"**{figures.percent(model.value)}** ({figures.interval(model.lower, model.upper)}), resting on "
        f"{figures.positives(model.of, snapshot.target_plural)} that were read.{compared}"
    )


def _accuracy(about: str, by_name: dict[str, Figure], found: Adjudicated) -> list[dict[str, str]]:
    """One row a shift: both figures, and what they would be were every unsure study positive."""
    rows = []
    for label in ("All", *sorted({one.shift for one in found.kinds})):
        row = {"Shift": label}
        for measure in ("sensitivity", "specificity"):
            figure = by_name.get(f"adjudicated-{about}-{measure}-{label}")
            other = by_name.get(f"adjudicated-{about}-{measure}-{label}-unsure-present", figure)
            if figure is None or other is None:
                break
            row |= {
                measure.capitalize(): value_of(figure),
                "95% CI" if measure == "sensitivity" else "95% CI ": figures.interval(figure.lower, figure.upper),
                "Read" if measure == "sensitivity" else "Read ": figures.counted(figure.of),
                "If unsure are positive" if measure == "sensitivity" else "If unsure are positive ": value_of(other),
            }
        else:
            rows.append(row)
    return rows


def _progress(found: Adjudicated) -> None:
    cards = (
        ("Drawn", found.drawn, f"of {figures.counted(found.eligible)}"),
        ("Under embargo", found.under_embargo, "too fresh"),
        ("Not read yet", found.unread, "by anybody"),
        ("Read once", found.read_once, "one to go"),
        ("Readers differ", found.differ, "a third decides"),
        ("Settled", found.settled, "by two or three"),
    )
    for column, (label, count, remark) in zip(st.columns(len(cards)), cards, strict=True):
        column.metric(label, figures.counted(count), delta=remark, delta_color="off", delta_arrow="off", border=True)
    st.caption(f"About {found.minutes_left / 60:.1f} hours of reading are left, third persons' reads aside.")


def _agreement(one: ReaderAgreement) -> dict[str, str]:
    return {
        "Shift": one.label,
        "Studies": figures.counted(one.cases),
        "Same answer": figures.percent(one.observed),
        "Kappa (95% CI)": _coefficient(one.kappa, one.kappa_lower, one.kappa_upper),
        "AC1 (95% CI)": _coefficient(one.ac1, one.ac1_lower, one.ac1_upper),
    }


def _coefficient(value: float | None, lower: float | None, upper: float | None) -> str:
    if value is None:
        return "not defined"
    return number(value) if lower is None or upper is None else f"{number(value)} ({number(lower)} to {number(upper)})"


def _kinds(found: Adjudicated) -> list[dict[str, str]]:
    return [
        {
            "The AI said": _KIND[one.index_test],
            "The report said": one.report,
            "Shift": one.shift,
            "Share read": figures.percent(one.share),
            "Studies": figures.counted(one.studies),
            "Drawn": figures.counted(one.drawn),
            "Settled": figures.counted(one.settled),
            "Seen": figures.counted(one.present),
            "Unsure": figures.counted(one.unsure),
        }
        for one in found.kinds
    ]


def _how_to_read(snapshot: Snapshot) -> str:
    return f"""
- The protocol fixes which share of which studies is read, by what AI and report said and by shift. Studies on which
  both agree are read too: whoever reads only disagreements finds only the errors that one of them noticed.
- The sample is drawn by a hash of the study's key, and read in an order that says nothing about it. Readers see
  images alone; where two differ, a third person reads without knowing that it is the third.
- Each study that was read stands for all of its kind. The interval draws the unread ones from what the read ones leave
  possible, so a kind with few reads makes it wide.
- The figures weigh each read by the share drawn (Hajek); their limits come from a Jeffreys posterior of each stratum.
- **Unsure**: the images do not tell, or readers still differ. It is counted both ways.
- **Kappa** corrects agreement for chance and misleads where {snapshot.target_plural} are rare; **AC1** stands beside it
  for that. Both are about the two first answers.
- Shifts differ because reports do: errors are more frequent at night.
"""
