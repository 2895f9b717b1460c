"""Do groups differ, and how does each cell stand against the rest? One look, adjusted over the cells; no alarms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shadow.assessment.analysed import AnalysedCases, Booleans
from shadow.assessment.cohorts import FOUND, PRESENT, Cohorts
from shadow.assessment.evidence import BetweenGroups, CellComparison, Figure, GroupsDiffer
from shadow.assessment.snapshot import Group
from shadow.assessment.statistics.detectors import log_cell_below_rest
from shadow.assessment.statistics.funnel import funnel_limits, over_dispersion
from shadow.assessment.statistics.heterogeneity import permutation_chi_square, subgroup_versus_rest
from shadow.assessment.statistics.multiplicity import benjamini_hochberg, e_benjamini_hochberg, holm
from shadow.assessment.statistics.pooling import partial_pooling
from shadow.assessment.statistics.standardisation import Difference, standardised_difference

FEWEST_CELLS_FOR_DISPERSION = 10
PERMUTATIONS = 1999
AGE_BANDS = (18.0, 40.0, 60.0, 80.0)
ONE_LOOK = "over closed weeks, one study a patient"


def between_groups(
    cases: AnalysedCases, cohorts: Cohorts, groups: Sequence[Group], minimum: int, alpha: float
) -> BetweenGroups:
    """Tests of heterogeneity by dimension, and every cell beside the rest of the trial.

    `minimum` is the protocol's fewest positives for a figure: a smaller cell is counted, not compared.
    """
    counted = cases.closed & cases.first & cases.present
    by_dimension = {
        dimension: [one for one in groups if one.dimension == dimension and one.matured.present]
        for dimension in ("site", "scanner", "shift", "cell")
    }
    tests = tuple(_differ(dimension, members) for dimension, members in by_dimension.items())
    cells = [one for one in groups if one.dimension == "cell"]
    return BetweenGroups(
        tests, _cells(cells, cases, counted, cohorts, minimum, alpha), _dispersion(by_dimension["cell"])
    )


def _differ(dimension: str, members: Sequence[Group]) -> GroupsDiffer:
    detected = [one.matured.found for one in members]
    missed = [one.matured.present - one.matured.found for one in members]
    positives = sum(detected) + sum(missed)
    if len(members) < 2 or not sum(missed) or not sum(detected):
        return GroupsDiffer(dimension, len(members), positives, None)
    return GroupsDiffer(
        dimension, len(members), positives, permutation_chi_square(detected, missed, permutations=PERMUTATIONS)
    )


def _dispersion(cells: Sequence[Group]) -> float | None:
    found, present = sum(one.matured.found for one in cells), sum(one.matured.present for one in cells)
    if len(cells) < FEWEST_CELLS_FOR_DISPERSION or not 0 < found < present:
        return None
    target = found / present
    return over_dispersion([one.matured.found for one in cells], [one.matured.present for one in cells], target).factor


def _cells(
    cells: Sequence[Group], cases: AnalysedCases, counted: Booleans, cohorts: Cohorts, minimum: int, alpha: float
) -> tuple[CellComparison, ...]:
    everyone = cohorts.of(("all", "", "", ""))
    total_found, total = int(everyone[FOUND].sum()), int(everyone[PRESENT].sum())
    compared = [one for one in cells if minimum <= one.matured.present < total]
    worse = {
        one.label: subgroup_versus_rest(
            one.matured.found,
            one.matured.present - one.matured.found,
            total_found - one.matured.found,
            (total - total_found) - (one.matured.present - one.matured.found),
        ).p_worse
        for one in compared
    }
    names = list(worse)
    holms = dict(zip(names, holm([worse[name] for name in names]).tolist(), strict=True)) if names else {}
    bhs = dict(zip(names, benjamini_hochberg([worse[name] for name in names]).tolist(), strict=True)) if names else {}
    listed = _listed(cells, cohorts, alpha)
    pooled = (
        partial_pooling([one.matured.found for one in compared], [one.matured.present for one in compared]).cells
        if len(compared) > 1
        else ()
    )
    shrunken = dict(zip(names, pooled, strict=False))
    found = []
    for one in cells:
        name, matured = one.label, one.matured
        base = (name, matured.found, matured.present, name in listed)
        if name not in worse:
            found.append(CellComparison(*base))
            continue
        rest = (total_found - matured.found) / (total - matured.present)
        limits = funnel_limits(rest, matured.present) if 0 < rest < 1 else None
        inside = counted & (cases.site == one.site) & (cases.scanner == one.scanner) & (cases.shift == one.shift)
        difference = standardised_difference(
            cases.found[counted],
            inside[counted],
            {"age": np.digitize(np.nan_to_num(cases.age_years[counted], nan=-1.0), AGE_BANDS).astype(str).tolist()},
        )
        shown = shrunken.get(name)
        found.append(
            CellComparison(
                *base,
                lower_998=limits.alarm.lower if limits else None,
                lower_95=limits.warning.lower if limits else None,
                upper_95=limits.warning.upper if limits else None,
                upper_998=limits.alarm.upper if limits else None,
                p_worse=worse[name],
                holm_p=holms[name],
                bh_p=bhs[name],
                crude=_difference("crude", "Cell minus rest", difference.crude, difference.positives),
                standardised=_difference(
                    "standardised", "Within age bands", difference.standardised, difference.compared
                ),
                pooled=shown.mean if shown else None,
                pooled_lower=shown.limits.lower if shown else None,
                pooled_upper=shown.limits.upper if shown else None,
            )
        )
    return tuple(found)


def _listed(cells: Sequence[Group], cohorts: Cohorts, alpha: float) -> frozenset[str]:
    """Today's list by e-BH on each cell's evidence as it stands: it comes and goes, alarms do not."""
    if not cohorts.closed or not cells:
        return frozenset()
    mine = np.stack([cohorts.of(("cell", one.site, one.scanner, one.shift)) for one in cells])
    rest = cohorts.of(("all", "", "", ""))[None] - mine
    log_e = log_cell_below_rest(mine[:, FOUND], mine[:, PRESENT], rest[:, FOUND], rest[:, PRESENT])[:, -1]
    chosen = e_benjamini_hochberg(np.exp(np.minimum(log_e, 700.0)), alpha)
    return frozenset(one.label for one, yes in zip(cells, chosen, strict=True) if yes)


def _difference(identifier: str, name: str, found: Difference | None, of: int) -> Figure | None:
    if found is None:
        return None
    return Figure(identifier, name, "", found.estimate, found.lower, found.upper, True, None, of, ONE_LOOK)
