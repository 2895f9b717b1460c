"""Weekly detectors: has a cell fallen below its reference, and is a cell worse than the rest?

Counts come as whole weeks of closed cohorts, shape (..., weeks): leading dimensions are cells, computed at once.
Evidence is kept as natural logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlog1py, xlogy

Floats = NDArray[np.float64]

DROPS = (0.02, 0.04, 0.06, 0.09, 0.13, 0.20, 0.30)
"""Drops below the reference that the detector looks for, with equal weight."""
DEFICITS = (0.04, 0.08, 0.12, 0.20)
"""Deficits of a cell against the rest that the comparison looks for, with equal weight."""
REST_PRIOR = (9.0, 1.0)


def log_shiryaev_roberts(
    detected: ArrayLike, of: ArrayLike, reference: float, drops: Sequence[float] = DROPS, head_start: float = 0.0
) -> Floats:
    """Log of the Shiryaev-Roberts e-detector after each week; same shape as `detected`, (..., weeks).

    M_t = (M_{t-1} + 1) L_t for each drop, averaged over the drops; L_t is the week's likelihood ratio of
    `reference` - drop against `reference` (Shin, Ramdas & Rinaldo 2023, arXiv 2203.03532). While every case's
    chance of detection is at least the reference, the mean number of weeks until M >= A is at least A, and
    P(alarm within T weeks) <= T/A; with a head start r, (T + r)/A. Drops that reach zero are left out. A week
    without cases counts as a week.

    >>> np.exp(log_shiryaev_roberts([5, 4, 5], [5, 4, 6], 0.88)).round(4).tolist()
    [0.5456, 0.9938, 1.8841]

    Raises:
        ValueError: shapes differ, a count is impossible, the reference is no proportion strictly between 0 and 1,
            or no drop is smaller than it.
    """
    found, total = _weeks(detected, of)
    if not 0 < reference < 1:
        raise ValueError(f"reference is {reference}; expected a proportion strictly between 0 and 1")
    if head_start < 0:
        raise ValueError(f"head_start is {head_start}; expected at least 0")
    usable = np.array([drop for drop in drops if 0 < drop < reference])
    if usable.size == 0:
        raise ValueError(f"drops {tuple(drops)}: expected one between 0 and the reference {reference}")
    worse = reference - usable[:, None]
    state = np.full((usable.size, *found.shape[:-1]), math.log(head_start) if head_start else -np.inf)
    worse = worse.reshape(usable.size, *([1] * (found.ndim - 1)))
    log_hit, log_miss = np.log(worse / reference), np.log((1 - worse) / (1 - reference))
    path = np.empty(found.shape)
    for week in range(found.shape[-1]):
        hits, misses = found[..., week], total[..., week] - found[..., week]
        state = np.logaddexp(state, 0.0) + hits * log_hit + misses * log_miss
        path[..., week] = np.logaddexp.reduce(state, axis=0) - math.log(usable.size)
    return path


def alarm_threshold(horizon_weeks: float, alpha: float, weight: float = 1.0, head_start: float = 0.0) -> float:
    """The A of an e-detector whose chance of a false alarm within the horizon is at most alpha times weight.

    A = (T + r) / (alpha w); weights of a family add up to at most 1 (union bound).

    >>> round(alarm_threshold(52, 0.05, 0.1))
    10400

    Raises:
        ValueError: the horizon is not positive, or alpha or weight lies outside (0, 1].
    """
    if not horizon_weeks > 0 or head_start < 0:
        raise ValueError("horizon_weeks: expected a positive number; head_start: at least 0")
    if not 0 < alpha < 1 or not 0 < weight <= 1:
        raise ValueError(f"alpha {alpha}, weight {weight}: expected numbers above 0 and at most 1")
    return (horizon_weeks + head_start) / (alpha * weight)


def block_e_value(detected: tuple[int, int], of: tuple[int, int], alternative: tuple[float, float]) -> float:
    """E-value of one block of two groups for "both have the same chance of detection".

    prod q_g(y) q_r(y') / q_0(y, y') with q_0 = (n_g q_g + n_r q_r) / (n_g + n_r) (Turner, Ly & Grunwald 2024,
    J Stat Plan Inference 230:106116). Order: group, rest.

    >>> round(block_e_value((3, 18), (5, 20), (0.8, 0.92)), 6)
    2.506624

    Raises:
        ValueError: a count is impossible or an alternative is no proportion.
    """
    found, total = _weeks(detected, of)
    chances = np.asarray(alternative, float)
    if not ((chances >= 0) & (chances <= 1)).all():
        raise ValueError(f"alternative {alternative}: expected two proportions")
    return math.exp(float(_log_block(found[0], total[0], found[1], total[1], chances[0], chances[1])))


def log_two_sample_plug_in(
    detected: ArrayLike, of: ArrayLike, rest_detected: ArrayLike, rest_of: ArrayLike, prior: float = 0.18
) -> Floats:
    """Log e-process for "group and rest are equal", each group's chance predicted from its own past blocks.

    Beta(prior, prior) plug-in of Turner, Ly & Grunwald 2024; shape (..., weeks). Looks for any difference; for a
    deficit against the rest use `log_cell_below_rest`.

    >>> round(float(np.exp(log_two_sample_plug_in([1, 0, 1], [1] * 3, [1, 1, 1], [1] * 3)[-1])), 4)
    0.9114

    Raises:
        ValueError: shapes differ or a count is impossible.
    """
    (hits, total), (rest_hits, rest_total) = _weeks(detected, of), _weeks(rest_detected, rest_of)
    _check_shapes(hits, rest_hits)
    own, rest = (_predicted(hits, total, prior, prior), _predicted(rest_hits, rest_total, prior, prior))
    return np.asarray(np.cumsum(_log_block(hits, total, rest_hits, rest_total, own, rest), axis=-1), dtype=np.float64)


def log_cell_below_rest(
    detected: ArrayLike,
    of: ArrayLike,
    rest_detected: ArrayLike,
    rest_of: ArrayLike,
    deficits: Sequence[float] = DEFICITS,
) -> Floats:
    """Log e-process for "the cell is no worse than the rest" after each week; shape (..., weeks).

    The rest's chance is predicted from its past weeks, the cell's is that less a deficit; averaged over the
    deficits. Valid in every single week for any common chance, so also while everything drifts together, and
    one-sided: a cell that is better than the rest brings no evidence. A week in which one side has no case says
    nothing.

    >>> evidence = log_cell_below_rest([2] * 10, [5] * 10, [18] * 10, [20] * 10)
    >>> bool(evidence[-1] > np.log(20))
    True

    Raises:
        ValueError: shapes differ, a count is impossible, or a deficit is not between 0 and 1.
    """
    (hits, total), (rest_hits, rest_total) = _weeks(detected, of), _weeks(rest_detected, rest_of)
    _check_shapes(hits, rest_hits)
    steps = np.asarray(deficits, float)
    if steps.size == 0 or not ((steps > 0) & (steps < 1)).all():
        raise ValueError(f"deficits {tuple(deficits)}: expected proportions strictly between 0 and 1")
    rest = _predicted(rest_hits, rest_total, *REST_PRIOR)
    parts = [
        np.cumsum(_log_block(hits, total, rest_hits, rest_total, np.maximum(rest - step, 1e-3), rest), axis=-1)
        for step in steps
    ]
    return np.asarray(np.logaddexp.reduce(parts, axis=0) - math.log(steps.size), dtype=np.float64)


def risk_adjusted_scores(chance: ArrayLike, odds_ratio: float) -> tuple[Floats, Floats]:
    """CUSUM scores of a case without and with the event, by its own expected chance.

    -log(1 - p + R p) and log(R) - log(1 - p + R p) (Steiner, Cook, Farewell & Treasure 2000, Biostatistics 1:441).
    Shapes as `chance`.

    >>> [float(one.round(6)) for one in risk_adjusted_scores(0.08, 2.875)]
    [-0.139762, 0.916291]

    Raises:
        ValueError: a chance is not strictly between 0 and 1, or the odds ratio not positive.
    """
    p = np.asarray(chance, float)
    if not ((p > 0) & (p < 1)).all() or not odds_ratio > 0:
        raise ValueError("chance: expected proportions strictly between 0 and 1; odds_ratio: a positive number")
    spread = np.log1p(p * (odds_ratio - 1))
    return -spread, math.log(odds_ratio) - spread


def risk_adjusted_cusum(events: ArrayLike, chance: ArrayLike, odds_ratio: float) -> Floats:
    """S_t = max(0, S_{t-1} + W_t) after each case, shape (cases,); `events` is 1 where the model missed.

    >>> risk_adjusted_cusum([1, 0, 1], [0.08] * 3, 2.875).round(4).tolist()
    [0.9163, 0.7765, 1.6928]

    Raises:
        ValueError: as for `risk_adjusted_scores`; events and chances differ in length.
    """
    missed = np.atleast_1d(np.asarray(events, bool))
    without, with_event = risk_adjusted_scores(np.atleast_1d(np.asarray(chance, float)), odds_ratio)
    _check_shapes(missed, without)
    path, state = np.empty(missed.size), 0.0
    for case, score in enumerate(np.where(missed, with_event, without)):
        state = max(0.0, state + float(score))
        path[case] = state
    return path


def cusum_run_length(true_chance: float, chance: float, odds_ratio: float, limit: float, states: int = 20_000) -> float:
    """Mean number of cases until the CUSUM reaches `limit`, when events occur with `true_chance`.

    Markov chain of Brook & Evans 1972 (Biometrika 59:539) on `states` cells of [0, limit), each step shared between
    the two nearest cells so that its mean is exact.

    >>> round(cusum_run_length(0.2, 0.08, 2.875, 3.0), 1)
    34.5

    Raises:
        ValueError: as for `risk_adjusted_scores`; the limit is not positive.
    """
    from scipy.sparse import coo_matrix, identity
    from scipy.sparse.linalg import spsolve

    if not limit > 0 or not 0 <= true_chance <= 1:
        raise ValueError("limit: expected a positive number; true_chance: a proportion")
    width = limit / states
    here = np.arange(states)
    rows, columns, shares = [], [], []
    for score, share in zip(risk_adjusted_scores(chance, odds_ratio), (1 - true_chance, true_chance), strict=True):
        target = np.maximum(here + float(score) / width, 0.0)
        below = np.floor(target).astype(int)
        for column, part in ((below, 1 - (target - below)), (below + 1, target - below)):
            inside = (column < states) & (column * width < limit)
            rows.append(here[inside])
            columns.append(column[inside])
            shares.append(share * part[inside])
    moves = coo_matrix(
        (np.concatenate(shares), (np.concatenate(rows), np.concatenate(columns))), shape=(states, states)
    ).tocsc()
    return float(spsolve(identity(states, format="csc") - moves, np.ones(states))[0])


def _predicted(hits: Floats, total: Floats, a: float, b: float) -> Floats:
    """The Beta mean before each week, from the weeks before it."""
    before_hits = np.cumsum(hits, axis=-1) - hits
    before = np.cumsum(total, axis=-1) - total
    return np.asarray((a + before_hits) / (a + b + before), dtype=np.float64)


def _log_block(hits: Floats, of: Floats, rest_hits: Floats, rest_of: Floats, q_g: Floats, q_r: Floats) -> Floats:
    """Zero (no evidence) where one of the groups has no case: both chances are then the common one."""
    total = of + rest_of
    common = (of * q_g + rest_of * q_r) / np.where(total == 0, 1, total)

    def log_likelihood(found: Floats, count: Floats, chance: Floats) -> Floats:
        return np.asarray(xlogy(found, chance) + xlog1py(count - found, -chance), dtype=np.float64)

    evidence = (
        log_likelihood(hits, of, q_g)
        + log_likelihood(rest_hits, rest_of, q_r)
        - log_likelihood(hits + rest_hits, total, common)
    )
    return np.asarray(np.where((of == 0) | (rest_of == 0), 0.0, evidence), dtype=np.float64)


def _weeks(detected: ArrayLike, of: ArrayLike) -> tuple[Floats, Floats]:
    found, total = np.atleast_1d(np.asarray(detected, float)), np.atleast_1d(np.asarray(of, float))
    _check_shapes(found, total)
    if not ((found >= 0) & (found <= total)).all():
        raise ValueError("detected: expected counts from 0 to the week's cases")
    return found, total


def _check_shapes(one: NDArray[np.generic], other: NDArray[np.generic]) -> None:
    if one.shape != other.shape:
        raise ValueError(f"shapes {one.shape} and {other.shape}: expected the same")
