"""The risk-adjusted CUSUM of misses, where the protocol asks for it: beside the family, without its guarantee."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from shadow.assessment.analysed import AnalysedCases, Booleans, Floats
from shadow.assessment.evidence import CusumPath
from shadow.assessment.snapshot import Group
from shadow.assessment.statistics.detectors import cusum_run_length, risk_adjusted_cusum
from shadow.protocol.analysis import RiskAdjustedCusum

STATES = 1000
LARGEST_LIMIT = 20.0
MOST_POINTS = 200


def risk_adjusted_paths(
    cases: AnalysedCases, groups: Sequence[Group], rule: RiskAdjustedCusum | None
) -> tuple[CusumPath, ...]:
    """One path for all studies and one a scanner with positives; over closed weeks, one study a patient."""
    if rule is None:
        return ()
    counted = cases.closed & cases.first & cases.present
    paths = []
    for group in groups:
        if group.dimension not in ("all", "scanner"):
            continue
        rows = counted if group.dimension == "all" else counted & (cases.scanner == group.scanner)
        if rows.any():
            paths.append(_path(group.label, cases, rows, rule))
    return tuple(paths)


def _path(label: str, cases: AnalysedCases, rows: Booleans, rule: RiskAdjustedCusum) -> CusumPath:
    chance = _chances(cases.age_years[rows], rule)
    missed = ~cases.found[rows]
    mean = round(float(chance.mean()), 3)
    limit = limit_for(mean, rule.odds_ratio, float(rule.cases_between_false_signals))
    path = risk_adjusted_cusum(missed, chance, rule.odds_ratio)
    above = np.flatnonzero(path >= limit)
    worse = rule.odds_ratio * mean / (1 - mean + rule.odds_ratio * mean)
    thin = np.unique(np.linspace(0, path.size - 1, min(MOST_POINTS, path.size)).astype(int))
    return CusumPath(
        label=label,
        odds_ratio=rule.odds_ratio,
        cases=int(path.size),
        missed=int(missed.sum()),
        expected_missed=float(chance.sum()),
        value=float(path[-1]),
        limit=limit,
        signalled_case=int(above[0]) + 1 if above.size else None,
        run_length=cusum_run_length(mean, mean, rule.odds_ratio, limit, STATES),
        run_length_worse=cusum_run_length(worse, mean, rule.odds_ratio, limit, STATES),
        path=tuple(float(path[one]) for one in thin),
    )


def _chances(age_years: Floats, rule: RiskAdjustedCusum) -> Floats:
    """Chance of a miss of each positive."""
    chance = np.full(age_years.size, float(np.mean([1 - one.sensitivity for one in rule.expected])))
    for band in rule.expected:
        chance[(age_years >= band.from_years) & (age_years < band.below_years)] = 1 - band.sensitivity
    return chance


@lru_cache(maxsize=64)
def limit_for(chance: float, odds_ratio: float, run_length: float) -> float:
    """The smallest limit, in steps of 0.05, whose mean run length without change is at least so many positives.

    >>> limit_for(0.1, 2.0, 100.0) < limit_for(0.1, 2.0, 400.0)
    True
    """
    low, high = 1, round(LARGEST_LIMIT / 0.05)
    while low < high:
        middle = (low + high) // 2
        if cusum_run_length(chance, chance, odds_ratio, middle * 0.05, STATES) >= run_length:
            high = middle
        else:
            low = middle + 1
    return round(low * 0.05, 2)
