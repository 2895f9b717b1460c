"""How a group stands against the protocol, for a chart or a table: word, shape and colour together.

The verdict itself comes from the snapshot; nothing is judged here. A group with too few cases, and a group
that no rule of the protocol covers, carry no verdict and no colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shadow.assessment.snapshot import CriterionResult, Group, Proportion, Snapshot, Verdict

_SCOPE_OF_DIMENSION = {"all": "all", "cell": "scanner-and-shift"}


class Measure(StrEnum):
    """What is measured."""

    SENSITIVITY = "Sensitivity"
    SPECIFICITY = "Specificity"


class Standing(StrEnum):
    """A verdict, or why there is none."""

    MET = "Met"
    NOT_YET_KNOWN = "Not yet known"
    NOT_MET = "Not met"
    TOO_FEW = "Too few"
    NOT_JUDGED = "No rule"


@dataclass(frozen=True, slots=True)
class Look:
    """How a standing is drawn.

    Attributes:
        shape: one character that tells it apart without colour.
        fill: background behind dark text. ink: lines and points on white.
        icon: Material symbol for tables. table_colour: Streamlit's name of the colour there.
    """

    shape: str
    fill: str
    ink: str
    icon: str
    table_colour: str


LOOKS: dict[Standing, Look] = {
    Standing.MET: Look("●", "#BFD7EA", "#0072B2", "check_circle", "blue"),
    Standing.NOT_YET_KNOWN: Look("◇", "#E8EBEE", "#5F6670", "help", "gray"),
    Standing.NOT_MET: Look("▼", "#F4A582", "#D55E00", "arrow_drop_down_circle", "orange"),
    Standing.TOO_FEW: Look("", "#FFFFFF", "#7A7F87", "hourglass_empty", "gray"),
    Standing.NOT_JUDGED: Look("", "#F7F8F9", "#3E4750", "remove", "gray"),
}

OF_VERDICT = {
    Verdict.MET: Standing.MET,
    Verdict.NOT_YET_KNOWN: Standing.NOT_YET_KNOWN,
    Verdict.NOT_MET: Standing.NOT_MET,
}


def measured(group: Group, measure: Measure) -> Proportion:
    """The group's figure as the protocol judges it: failures are misses, and failures are false alerts."""
    return group.sensitivity if measure is Measure.SENSITIVITY else group.specificity_worst_case


def is_enough(group: Group, measure: Measure, minimum: int) -> bool:
    """Whether the group has enough cases of the measure for its figure to be shown."""
    return group.enough if measure is Measure.SENSITIVITY else group.specificity_worst_case.of >= minimum


def rule_for(snapshot: Snapshot, measure: Measure, dimension: str) -> CriterionResult | None:
    """The protocol's rule for this measure in groups of this dimension, or None."""
    scope = _SCOPE_OF_DIMENSION.get(dimension)
    wanted = (measure.value.lower(), scope)
    return next((one for one in snapshot.criteria if (one.measure, one.scope) == wanted), None)


def standing_of(snapshot: Snapshot, group: Group, measure: Measure) -> Standing:
    """How this group stands. Snapshots hold verdicts on sensitivity, and on specificity over all studies."""
    if not is_enough(group, measure, snapshot.minimum_positives_shown):
        return Standing.TOO_FEW
    rule = rule_for(snapshot, measure, group.dimension)
    if rule is None:
        return Standing.NOT_JUDGED
    if measure is Measure.SENSITIVITY:
        return OF_VERDICT[group.verdict]
    return OF_VERDICT[rule.verdict] if group.dimension == "all" else Standing.NOT_JUDGED
