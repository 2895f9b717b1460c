"""The protocol's acceptance rules as a table: figure, interval, counts and status in word, shape and colour."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import figures
from dashboards.standing import LOOKS, OF_VERDICT
from shadow.assessment.snapshot import CriterionResult, Snapshot, Verdict


def criteria_table(snapshot: Snapshot) -> None:
    """One row a criterion, in the protocol's order."""
    rows = [_row(one) for one in snapshot.criteria]
    st.table(pd.DataFrame(rows), hide_index=True, border="horizontal", alt="Acceptance criteria and their status")


def status_words(verdict: Verdict) -> str:
    """A verdict for a table cell: icon, word and colour."""
    standing = OF_VERDICT[verdict]
    look = LOOKS[standing]
    return f":{look.table_colour}[:material/{look.icon}: **{standing.value}**]"


def _limits(criterion: CriterionResult) -> str:
    """The limits that decide, with the cases of the closed weeks that they rest on."""
    if criterion.lower is None:
        return figures.NONE_YET
    return (
        f"{figures.interval(criterion.lower, criterion.upper)} (n\u00a0=\u00a0{figures.counted(criterion.matured_of)})"
    )


def _row(criterion: CriterionResult) -> dict[str, str]:
    judged_on = criterion.scope_label
    remark = f" ({criterion.remark})" if criterion.remark else ""
    return {
        "Criterion": criterion.title,
        "Rule": criterion.rule,
        "Judged on": judged_on,
        "Observed": figures.estimate(criterion.proportion),
        "Counts": figures.share(criterion.proportion),
        "Limits, closed weeks": _limits(criterion),
        "Status": status_words(criterion.verdict) + remark,
    }
