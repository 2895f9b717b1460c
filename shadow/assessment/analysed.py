"""The eligible studies of the index window as columns, for everything that needs more than counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb
import numpy as np
from numpy.typing import NDArray

from shadow.assessment.snapshot import IndexState, ReferenceState
from shadow.domain.project import sql
from shadow.protocol.trial import TrialProtocol

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Texts = NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class AnalysedCases:
    """One entry a study in index order; every array has shape (studies,) but `summary`, (studies, features).

    Attributes:
        study, patient, site, scanner, shift: keys; the patient is the study where it has no patient key.
        found: positive result in time; failures, late and missing results are not found (intention to diagnose).
        evaluable: has a result in time. answered: has a result at all.
        present, absent, pending: what the first final report says. All are False where it is indeterminate.
        indeterminate: what it says cannot be told. not_mentioned: it says nothing of the condition.
        latest_present, latest_absent: what the latest final version says.
        score: NaN without one. summary: of the model's input, NaN without one.
        age_years, thickness_mm, kvp: NaN where unknown. kernel: empty where unknown.
        week: since the window's first week. closed: whether the week is closed.
        index_day, age_days: days. delay_days: until the first final report had come here; turnaround_days: until it was
            written, by its own time; both NaN while pending.
        reported_after, locked_after: minutes from acquisition to the first report, from study closed to locked; NaN
            where there is none.
        first: the patient's first study with, or first without, the target condition.
        mentions_model: a version of its report mentions the model or another AI.
    """

    study: Texts
    patient: Texts
    site: Texts
    scanner: Texts
    shift: Texts
    found: Booleans
    evaluable: Booleans
    answered: Booleans
    present: Booleans
    absent: Booleans
    pending: Booleans
    indeterminate: Booleans
    not_mentioned: Booleans
    latest_present: Booleans
    latest_absent: Booleans
    score: Floats
    summary: Floats
    age_years: Floats
    thickness_mm: Floats
    kvp: Floats
    kernel: Texts
    week: NDArray[np.int64]
    closed: Booleans
    index_day: Floats
    age_days: Floats
    delay_days: Floats
    turnaround_days: Floats
    reported_after: Floats
    locked_after: Floats
    first: Booleans
    mentions_model: Booleans

    def __len__(self) -> int:
        """How many studies."""
        return int(self.study.size)


def analysed_cases(
    connection: duckdb.DuckDBPyConnection, protocol: TrialProtocol, data_until: datetime, closed_weeks: int
) -> AnalysedCases:
    """Read them. `cohorts.weekly_cohorts` has run on `connection`; it said how many weeks are closed."""
    window = {"window_start": protocol.index_window_start, "window_end": protocol.index_window_end}
    columns = connection.execute(
        sql("queries/assessment/analysed_case.sql"), {**window, "until": data_until}
    ).fetchnumpy()
    index_state, reference_state = _texts(columns["index_state"]), _texts(columns["reference_state"])
    positive, negative = index_state == IndexState.POSITIVE.value, index_state == IndexState.NEGATIVE.value
    week = np.asarray(columns["week"], dtype=np.int64)
    return AnalysedCases(
        study=_texts(columns["study_key"]),
        patient=_texts(columns["patient"]),
        site=_texts(columns["site"]),
        scanner=_texts(columns["scanner"]),
        shift=_texts(columns["shift"]),
        found=positive,
        evaluable=positive | negative,
        answered=positive | negative | (index_state == IndexState.LATE.value),
        present=reference_state == ReferenceState.PRESENT.value,
        absent=reference_state == ReferenceState.ABSENT.value,
        pending=reference_state == ReferenceState.PENDING.value,
        indeterminate=reference_state == ReferenceState.INDETERMINATE.value,
        not_mentioned=np.asarray(columns["not_mentioned"], dtype=bool),
        latest_present=_texts(columns["latest_reference_state"]) == ReferenceState.PRESENT.value,
        latest_absent=_texts(columns["latest_reference_state"]) == ReferenceState.ABSENT.value,
        score=_floats(columns["score"]),
        summary=_vectors(columns["input_summary"]),
        age_years=_floats(columns["patient_age_years"]),
        thickness_mm=_floats(columns["slice_thickness_mm"]),
        kvp=_floats(columns["kvp"]),
        kernel=_texts(columns["convolution_kernel"]),
        week=week,
        closed=week < closed_weeks,
        index_day=_floats(columns["index_day"]),
        age_days=_floats(columns["age_days"]),
        delay_days=_floats(columns["delay_days"]),
        turnaround_days=_floats(columns["turnaround_days"]),
        reported_after=_floats(columns["reported_after_minutes"]),
        locked_after=_floats(columns["locked_after_minutes"]),
        first=np.asarray(columns["first"], dtype=bool),
        mentions_model=np.asarray(columns["mentions_model"], dtype=bool),
    )


def _floats(column: NDArray[np.generic]) -> Floats:
    filled = column.filled(np.nan) if isinstance(column, np.ma.MaskedArray) and column.dtype.kind == "f" else column
    if isinstance(filled, np.ma.MaskedArray):
        filled = np.ma.filled(filled.astype(np.float64), np.nan)
    return np.asarray(filled, dtype=np.float64)


def _texts(column: NDArray[np.generic]) -> Texts:
    if isinstance(column, np.ma.MaskedArray):
        column = np.where(np.ma.getmaskarray(column), "", column.data)
    return np.array([one or "" for one in column.tolist()], dtype=object)


def _vectors(column: NDArray[np.generic]) -> Floats:
    values = list(column)
    masked = np.ma.getmaskarray(column) if isinstance(column, np.ma.MaskedArray) else np.zeros(len(values), bool)
    given = [None if hidden or one is None else np.ma.getdata(one) for one, hidden in zip(values, masked, strict=True)]
    width = max((len(one) for one in given if one is not None), default=0)
    rows = np.full((len(given), width), np.nan)
    for number, one in enumerate(given):
        if one is not None and len(one) == width:
            rows[number] = one
    return rows
