"""Reports that are still to come, and reports that err: what both could do to sensitivity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadow.assessment.analysed import AnalysedCases
from shadow.assessment.evidence import DelayedReports, PendingBounds, ReferenceWhatIf, ShiftTurnaround
from shadow.assessment.snapshot import Completeness, Group
from shadow.assessment.statistics.delayed_labels import Turnaround, turnaround, weighted_sensitivity
from shadow.assessment.statistics.reference_error import pending_bounds
from shadow.protocol.trial import TrialProtocol


def delayed_reports(
    cases: AnalysedCases, cells: Sequence[Group], protocol: TrialProtocol, arrived: Completeness | None = None
) -> DelayedReports:
    """Sensitivity weighted by turnaround, turnaround by shift, and bounds for the pending of each cell.

    A report that precedes its study is counted as there at once.
    """
    age = np.maximum(cases.age_days, 0.0)
    delay = np.minimum(np.maximum(cases.delay_days, 0.0), age)  # NaN, pending, stays NaN
    written = np.minimum(np.maximum(cases.turnaround_days, 0.0), age)
    days = protocol.monitoring.maturity_days
    shifts = []
    for shift in sorted(set(cases.shift)):
        rows = cases.shift == shift
        curve = turnaround(written[rows], age[rows])
        shifts.append(
            ShiftTurnaround(
                shift,
                int(rows.sum()),
                int((rows & cases.pending).sum()),
                _reached(curve, 0.5),
                _reached(curve, 0.9),
            )
        )
    bounds = tuple(
        _bounds(cell, cases, arrived.never_from(cell.site, cell.scanner, cell.shift) if arrived else 0)
        for cell in cells
    )
    if not len(cases):
        return DelayedReports(None, None, None, None, 0, 0.0, days, (), bounds)
    found = weighted_sensitivity(cases.found, cases.present, delay, age, days)
    return DelayedReports(
        found.estimate,
        found.limits.lower if found.limits else None,
        found.limits.upper if found.limits else None,
        found.unweighted,
        found.labelled_positives,
        found.effective_positives,
        days,
        tuple(shifts),
        bounds,
    )


def reference_what_ifs(found: int, present: int, shares: Sequence[float], limits: tuple[float, float]) -> tuple[
    ReferenceWhatIf, ...
]:  # fmt: skip
    """True sensitivity, did the reports find every positive that the model finds, but only a share of the others.

    Inverts S_apparent = S / (S + (1 - S) share) (design of the reference standard; `apparent_sensitivity`).
    """
    if not present:
        return ()
    return tuple(ReferenceWhatIf(share, *(_true(one, share) for one in (found / present, *limits))) for share in shares)


def _true(apparent: float, share: float) -> float:
    """The true sensitivity behind an apparent one.

    >>> round(_true(0.9, 0.5), 4)
    0.8182
    """
    return apparent * share / (apparent * share + 1 - apparent)


def _reached(curve: Turnaround, share: float) -> float | None:
    """The first day by which this share of the reports is there; None where it is not reached yet."""
    there = np.flatnonzero(curve.labelled >= share - 1e-12)
    return float(curve.days[there[0]]) if there.size else None


def _bounds(cell: Group, cases: AnalysedCases, never: int) -> PendingBounds:
    rows = (cases.site == cell.site) & (cases.scanner == cell.scanner) & (cases.shift == cell.shift)
    found, present = int((rows & cases.present & cases.found).sum()), int((rows & cases.present).sum())
    flagged = int((rows & cases.pending & cases.found).sum())
    pending = int((rows & cases.pending).sum())
    if not present:
        return PendingBounds(cell.label, found, present, pending, never, None, None)
    limits = pending_bounds(found, present - found, flagged, pending - flagged + never)
    return PendingBounds(cell.label, found, present, pending, never, limits.lower, limits.upper)
