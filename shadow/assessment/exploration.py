"""In which slice of the studies do the misses gather? Attributes of scanner and patient, with honest error."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import duckdb
import numpy as np

from shadow.assessment.snapshot import Exploration, ExploredSlice, Group
from shadow.assessment.statistics.scan import Slice, scan
from shadow.domain.project import sql
from shadow.protocol.trial import TrialProtocol

ATTRIBUTES = {
    "manufacturer": "manufacturer {}",
    "manufacturer_model_name": "model {}",
    "convolution_kernel": "kernel {}",
    "kvp": "{} kVp",
    "slice_thickness_mm": "slices of {} mm",
    "patient_age_years": "age {}",
    "patient_sex": "sex {}",
    "software_versions": "software {}",
    "patient_class": "setting {}",
}
AGE_CUTS = (40.0, 60.0, 80.0)
SHOWN = 5
NOTHING = Exploration(0, ())


def explore(
    connection: duckdb.DuckDBPyConnection, groups: Sequence[Group], worst: str, protocol: TrialProtocol
) -> Exploration:
    """Scan the attributes of all confirmed positives; `cohorts.weekly_cohorts` has run on `connection`."""
    result = connection.execute(sql("queries/assessment/explored_positives.sql"))
    names = [column[0] for column in result.description]
    rows = result.fetchall()
    if not rows:
        return NOTHING
    columns = {name: [row[number] for row in rows] for number, name in enumerate(names)}
    missed = np.array(columns["missed"], dtype=bool)
    found = scan(
        missed,
        {name: columns[name] for name in ATTRIBUTES},
        cut_points={"patient_age_years": AGE_CUTS},
        minimum_positives=protocol.minimum_positives_shown,
        target=_target(columns, groups, worst),
    )
    same = [tuple(one) for _, one in groupby(found, key=_whose)]
    return Exploration(len(found), tuple(_explored(one) for one in same[:SHOWN]))


def _target(columns: dict[str, list[object]], groups: Sequence[Group], worst: str) -> np.ndarray | None:
    """Which positives belong to the worst cell; None where there is no such cell, or nothing beside it."""
    cell = next((one for one in groups if one.dimension == "cell" and one.label == worst), None)
    if cell is None:
        return None
    places = zip(columns["site"], columns["scanner"], columns["shift"], strict=True)
    inside = np.array([place == (cell.site, cell.scanner, cell.shift) for place in places])
    return inside if 0 < inside.sum() < inside.size else None


def _whose(one: Slice) -> tuple[float, int, int]:
    """Slices of one scanner's settings hold the very same studies; equal figures side by side are taken for that."""
    return one.p_value, one.inside.missed, one.inside.positives


def _explored(same: tuple[Slice, ...]) -> ExploredSlice:
    first = same[0]
    return ExploredSlice(
        conditions=tuple(ATTRIBUTES[one.conditions[0].attribute].format(one.conditions[0].level) for one in same),
        missed=first.inside.missed,
        positives=first.inside.positives,
        rest_missed=first.outside.missed,
        rest_positives=first.outside.positives,
        adjusted_p=first.adjusted_p,
        worst_missed_inside=first.explains.missed_inside if first.explains else 0,
        worst_missed=first.explains.missed if first.explains else 0,
    )
