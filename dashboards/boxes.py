"""The boxes of the study flow (STARD 2015, item 19): which studies each holds, and which may be listed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from shadow.assessment.snapshot import Flow, IndexState, Reason, ReferenceState

NO_RESULT = (IndexState.LATE, IndexState.FAILED, IndexState.AWAITING)
FINAL = (ReferenceState.PRESENT, ReferenceState.ABSENT, ReferenceState.INDETERMINATE)


@dataclass(frozen=True, slots=True)
class Box:
    """Eligible studies in one place of the flow.

    Attributes:
        key: names the box in the address and in the drawing.
        stage: the question that the box's row answers.
        title: what the box says.
        index_states, reference_states: the studies in it; both must hold.
    """

    key: str
    stage: str
    title: str
    index_states: tuple[IndexState, ...]
    reference_states: tuple[ReferenceState, ...]

    def count(self, flow: Flow) -> int:
        """How many studies are in the box."""
        return sum(
            flow.count(index_state, reference_state)
            for index_state in self.index_states
            for reference_state in self.reference_states
        )

    def listed_count(self, flow: Flow) -> int:
        """How many of them have a final report; no other study is ever listed."""
        return sum(
            flow.count(index_state, reference_state)
            for index_state in self.index_states
            for reference_state in self.reference_states
            if reference_state in FINAL
        )


INDEX_STAGE = "Did the AI lock a result in time?"
REFERENCE_STAGE = "What did the first final report say?"
BOTH_STAGE = "Both together"

_EVERY_INDEX = tuple(IndexState)
_EVERY_REFERENCE = tuple(ReferenceState)
_PRESENT, _ABSENT = (ReferenceState.PRESENT,), (ReferenceState.ABSENT,)

BY_INDEX = (
    Box("ai-positive", INDEX_STAGE, "AI positive", (IndexState.POSITIVE,), _EVERY_REFERENCE),
    Box("ai-negative", INDEX_STAGE, "AI negative", (IndexState.NEGATIVE,), _EVERY_REFERENCE),
    Box("late", INDEX_STAGE, "Late result", (IndexState.LATE,), _EVERY_REFERENCE),
    Box("failed", INDEX_STAGE, "AI failed", (IndexState.FAILED,), _EVERY_REFERENCE),
    Box("awaiting", INDEX_STAGE, "Awaiting the AI", (IndexState.AWAITING,), _EVERY_REFERENCE),
)
BY_REFERENCE = (
    Box("present", REFERENCE_STAGE, "Present", _EVERY_INDEX, _PRESENT),
    Box("absent", REFERENCE_STAGE, "Absent", _EVERY_INDEX, _ABSENT),
    Box("indeterminate", REFERENCE_STAGE, "Indeterminate", _EVERY_INDEX, (ReferenceState.INDETERMINATE,)),
    Box("pending", REFERENCE_STAGE, "Pending", _EVERY_INDEX, (ReferenceState.PENDING,)),
)
OF_PRESENT = (
    Box("found", BOTH_STAGE, "Found", (IndexState.POSITIVE,), _PRESENT),
    Box("missed", BOTH_STAGE, "Missed", (IndexState.NEGATIVE,), _PRESENT),
    Box("present-no-result", BOTH_STAGE, "No result", NO_RESULT, _PRESENT),
)
OF_ABSENT = (
    Box("cleared", BOTH_STAGE, "Cleared", (IndexState.NEGATIVE,), _ABSENT),
    Box("flagged", BOTH_STAGE, "Flagged", (IndexState.POSITIVE,), _ABSENT),
    Box("absent-no-result", BOTH_STAGE, "No result", NO_RESULT, _ABSENT),
)

ALL_BOXES = BY_INDEX + BY_REFERENCE + OF_PRESENT + OF_ABSENT
LISTABLE = tuple(box for box in ALL_BOXES if set(box.reference_states) & set(FINAL))


def box_named(key: str) -> Box | None:
    """The listable box with this key, or None."""
    return next((box for box in LISTABLE if box.key == key), None)


def reasons_of(box: Box, flow: Flow) -> tuple[Reason, ...]:
    """Why the studies of a box are there, where reasons are counted."""
    if box.key == "failed":
        return flow.failures
    return flow.pending if box.key == "pending" else ()


@dataclass(frozen=True, slots=True)
class Case:
    """One study with a final report. `study_key` is a surrogate; nothing here identifies a patient."""

    study_key: str
    site: str
    scanner: str
    shift: str
    acquired_at: datetime
    index_state: IndexState
    reference_state: ReferenceState
    withheld: bool


def read_cases(cases: Path, box: Box) -> tuple[Case, ...]:
    """The studies of a box whose report is final, in order of acquisition.

    Those withheld are drawn for blinded reading and not settled: a page counts them and does not name them.

    Args:
        cases: the case list beside the snapshot.
        box: which studies.
    """
    final = [state.value for state in box.reference_states if state in FINAL]
    table = pq.read_table(
        cases,
        columns=list(Case.__slots__),
        filters=[
            ("index_state", "in", [state.value for state in box.index_states]),
            ("reference_state", "in", final),
        ],
    )
    rows = table.sort_by([("acquired_at", "ascending"), ("study_key", "ascending")]).to_pylist()
    return tuple(
        Case(
            study_key=row["study_key"],
            site=row["site"],
            scanner=row["scanner"],
            shift=row["shift"],
            acquired_at=row["acquired_at"],
            index_state=IndexState(row["index_state"]),
            reference_state=ReferenceState(row["reference_state"]),
            withheld=row["withheld"],
        )
        for row in rows
    )
