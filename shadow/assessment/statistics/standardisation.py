"""One cell against the rest, crude beside standardised: what its patients get, and what the cell itself adds.

The crude difference is the safety statement: the sensitivity that patients of this cell receive. The standardised
one is for attribution: what is left when the rest is given the cell's own case mix (indication, size, age). A crude
deficit that standardisation takes away is case mix, and still a deficit for those patients.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtri

Labels = Sequence[str | None]
Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_UNBOUNDED_LOGIT = 15.0  # a fitted chance beyond 1 - 3e-7 is a coefficient on its way to infinity


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of sensitivities, cell minus rest, with its interval; below 0 the cell is worse."""

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class StandardisedDifference:
    """Cell minus rest, crude and at the cell's own case mix.

    `standardised` is None where no stratum holds positives of both; `compared` of the cell's `positives` lie in
    strata that the rest shares, and only these enter the standardised difference.
    """

    crude: Difference
    standardised: Difference | None
    compared: int
    positives: int


def standardised_difference(
    detected: Sequence[bool] | Booleans,
    in_cell: Sequence[bool] | Booleans,
    strata: Mapping[str, Labels],
    confidence: float = 0.95,
) -> StandardisedDifference:
    """Cell minus rest, crude and directly standardised to the cell's own case mix (Breslow & Day 1987, IARC 82).

    sum over strata s of w_s (cell_s - rest_s), w_s being the share of the cell's positives in stratum s. A stratum is
    a combination of one level of each attribute; None (unknown) is a level of its own. The interval is normal with
    the variance of the Jeffreys posterior of each proportion, so that a stratum without misses does not count as
    known for certain; the crude difference is the same with a single stratum. It is held within -1..1.

    Args:
        detected: per reference-positive episode, whether the index test found it.
        in_cell: per episode, whether it belongs to the cell.
        strata: attribute name -> level per episode; without any attribute, crude and standardised are one.
        confidence: of the intervals.

    >>> detected = [True, False, True, True, False, True, True, True]
    >>> in_cell = [True, True, True, False, False, False, False, False]
    >>> size = ["small", "small", "large", "small", "small", "large", "large", "large"]
    >>> found = standardised_difference(detected, in_cell, {"size": size})
    >>> round(found.crude.estimate, 4), round(found.standardised.estimate, 4)
    (-0.1333, 0.0)

    Raises:
        ValueError: lists of different length, an empty cell or an empty rest, or confidence outside 0..1.
    """
    found, cell = _checked(detected, in_cell, strata, confidence)
    everyone = np.zeros(found.size, dtype=np.intp)
    crude = _standardised(found, cell, everyone, confidence)
    assert crude is not None  # neither the cell nor the rest is empty
    groups = _combinations(strata, found.size)
    shared = np.isin(groups, groups[cell]) & np.isin(groups, groups[~cell])
    return StandardisedDifference(
        crude=crude,
        standardised=_standardised(found[shared], cell[shared], groups[shared], confidence),
        compared=int(np.count_nonzero(shared & cell)),
        positives=int(np.count_nonzero(cell)),
    )


def regression_difference(
    detected: Sequence[bool] | Booleans,
    in_cell: Sequence[bool] | Booleans,
    strata: Mapping[str, Labels],
    confidence: float = 0.95,
) -> Difference | None:
    """Cell minus rest at the cell's own case mix by logistic regression (marginal standardisation).

    Logit of detection on the cell and, without interactions, on the levels of each attribute; the difference is the
    mean over the cell's positives of the fitted chance in the cell minus that in the rest, its interval by the delta
    method (Lane & Nelder 1982, Biometrics 38:613). Reaches further than strata where these are many and thin, at
    the price of its model.

    Returns:
        None where there is no estimate: the attributes determine the cell, or the maximum likelihood is not finite
        because a level or the cell has no miss (or no detection).

    >>> detected = [True, False, True, True, False, True, True, False, True, True, False, True]
    >>> in_cell = [True] * 4 + [False] * 8
    >>> round(regression_difference(detected, in_cell, {}).estimate, 6)
    0.125

    Raises:
        ValueError: as `standardised_difference`.
    """
    from statsmodels.api import GLM, families

    found, cell = _checked(detected, in_cell, strata, confidence)
    columns: list[npt.NDArray[np.generic]] = [np.ones(found.size, dtype=np.bool_)]
    for labels in strata.values():
        codes = _combinations({"": labels}, found.size)
        columns += [codes == level for level in range(1, int(codes.max()) + 1)]
    others = np.column_stack(columns).astype(np.float64)
    design = np.column_stack([others, cell])
    if np.linalg.matrix_rank(design) == np.linalg.matrix_rank(others):
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # separation is looked for below
        fit = GLM(found.astype(np.float64), design, family=families.Binomial()).fit()
    coefficients, covariance = np.asarray(fit.params), np.asarray(fit.cov_params())
    if not fit.converged or float(np.max(np.abs(design @ coefficients))) > _UNBOUNDED_LOGIT:
        return None
    within, without = design[cell], np.column_stack([others[cell], np.zeros(int(cell.sum()))])
    here, there = expit(within @ coefficients), expit(without @ coefficients)
    slope = np.mean((here * (1 - here))[:, None] * within - (there * (1 - there))[:, None] * without, axis=0)
    return _difference(float(np.mean(here - there)), float(slope @ covariance @ slope), confidence)


def _standardised(
    detected: Booleans, in_cell: Booleans, groups: npt.NDArray[np.intp], confidence: float
) -> Difference | None:
    if not in_cell.any():
        return None
    estimate = variance = 0.0
    for group in np.unique(groups):
        here, there = (groups == group) & in_cell, (groups == group) & ~in_cell
        share = float(np.mean(groups[in_cell] == group))
        estimate += share * float(np.mean(detected[here]) - np.mean(detected[there]))
        variance += share**2 * (_jeffreys_variance(detected[here]) + _jeffreys_variance(detected[there]))
    return _difference(estimate, variance, confidence)


def _jeffreys_variance(detected: Booleans) -> float:
    hits, misses = int(np.count_nonzero(detected)) + 0.5, int(np.count_nonzero(~detected)) + 0.5
    return hits * misses / ((hits + misses) ** 2 * (hits + misses + 1))


def _difference(estimate: float, variance: float, confidence: float) -> Difference:
    half = float(ndtri((1 + confidence) / 2)) * math.sqrt(variance)
    return Difference(estimate, max(-1.0, estimate - half), min(1.0, estimate + half))


def _combinations(strata: Mapping[str, Labels], episodes: int) -> npt.NDArray[np.intp]:
    """A number for each combination of levels, counted in the order of their names."""
    rows = list(zip(*strata.values(), strict=True)) if strata else [()] * episodes
    numbers = {row: i for i, row in enumerate(sorted(set(rows), key=repr))}
    return np.array([numbers[row] for row in rows], dtype=np.intp)


def _checked(
    detected: Sequence[bool] | Booleans,
    in_cell: Sequence[bool] | Booleans,
    strata: Mapping[str, Labels],
    confidence: float,
) -> tuple[Booleans, Booleans]:
    found, cell = np.asarray(detected), np.asarray(in_cell)
    if found.ndim != 1 or found.dtype != np.bool_ or cell.dtype != np.bool_ or found.shape != cell.shape:
        raise ValueError("detected and in_cell must be lists of true or false of the same length")
    for name, labels in strata.items():
        if len(labels) != found.size:
            raise ValueError(f"strata[{name!r}] must hold one level for each of the {found.size} episodes")
    if not cell.any() or cell.all():
        raise ValueError("in_cell must leave positives both in the cell and in the rest")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1")
    return found, cell
