"""Many cells, one error rate: adjusted p-values, and e-values for a family of cells.

Which guarantee belongs to which list:

* an alarm at the analysis lock controls the family-wise error: `holm`, or `weighted_holm` with the plan's weights;
* a ranked list of cells to look at controls the false discovery rate: `benjamini_hochberg`, or
  `benjamini_yekutieli` where the dependence of overlapping cells is a concern;
* a latched sequential alarm takes p = 1 / max E (`e_to_p`, Ville) into `weighted_bonferroni` or `weighted_holm`;
* a criterion that must hold together with all others (activation) needs no correction: it is an intersection.

A cell that was declared in the plan stays in its family: one without data enters with p = 1 or E = 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

_ROUNDING = 1e-12  # an e-value that meets its bound but for the last digits of a float has met it


def bonferroni(p_values: Sequence[float] | Floats) -> Floats:
    """Bonferroni-adjusted p-values, min(1, m p), in the order given; any dependence.

    >>> bonferroni([0.01, 0.04, 0.5]).tolist()
    [0.03, 0.12, 1.0]

    Raises:
        ValueError: no p-value, or one that is no number within 0..1.
    """
    given = _p_values(p_values)
    return np.minimum(1.0, given * given.size)


def weighted_bonferroni(p_values: Sequence[float] | Floats, weights: Sequence[float] | Floats) -> Floats:
    """Weighted Bonferroni: min(1, p / w), the weights being shares of one alpha (Rosenthal & Rubin 1983).

    Args:
        p_values: one per hypothesis.
        weights: one per hypothesis, fixed in the plan; only their ratios matter, they are divided by their sum.
            A weight of 0 gives its hypothesis no alpha: its adjusted p is 1.

    >>> weighted_bonferroni([0.01, 0.01], [4, 1]).round(4).tolist()
    [0.0125, 0.05]

    Raises:
        ValueError: p-values outside 0..1, weights negative, all zero or of another length.
    """
    given = _p_values(p_values)
    shares = _shares(weights, given.size)
    return np.minimum(1.0, _per_share(given, shares))


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Holm's step-down adjusted p-values (Holm 1979, Scand J Statist 6:65), in the order given; any dependence.

    The j-th smallest p becomes max over l <= j of min(1, (m - l + 1) p_(l)).

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]

    Raises:
        ValueError: no p-value, or one that is no number within 0..1.
    """
    given = _p_values(p_values)
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(given.size, 0, -1))
    return _restored(np.minimum(1.0, stepped), order)


def weighted_holm(p_values: Sequence[float] | Floats, weights: Sequence[float] | Floats) -> Floats:
    """Holm's step-down with weights (Holm 1979; Benjamini & Hochberg 1997, Scand J Statist 24:407); any dependence.

    With the hypotheses ordered by p / w, the j-th becomes the maximum over l <= j of
    min(1, p_(l) / w_(l) times the weight of those not yet rejected at step l). Equal weights give `holm`.

    Args:
        p_values: one per hypothesis.
        weights: as in `weighted_bonferroni`.

    >>> weighted_holm([0.01, 0.04], [1, 3]).round(4).tolist()
    [0.04, 0.04]

    Raises:
        ValueError: p-values outside 0..1, weights negative, all zero or of another length.
    """
    given = _p_values(p_values)
    shares = _shares(weights, given.size)
    ratios = _per_share(given, shares)
    order = np.argsort(ratios, kind="stable")
    remaining = np.cumsum(shares[order][::-1])[::-1]
    # What has no share is never tested: its ratio is infinite and no weight remains when its turn comes.
    products = np.where(shares[order] > 0, np.where(np.isfinite(ratios[order]), ratios[order], 1.0) * remaining, 1.0)
    return _restored(np.minimum(1.0, np.maximum.accumulate(products)), order)


def hochberg(p_values: Sequence[float] | Floats) -> Floats:
    """Hochberg's step-up adjusted p-values (Hochberg 1988, Biometrika 75:800), in the order given.

    The j-th smallest p becomes min over l >= j of min(1, (m - l + 1) p_(l)). Needs independent or positively
    dependent (MTP2) p-values, so `holm` remains the default.

    >>> hochberg([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.04, 0.04]

    Raises:
        ValueError: no p-value, or one that is no number within 0..1.
    """
    given = _p_values(p_values)
    return _step_up(given, np.arange(given.size, 0, -1, dtype=np.float64))


def benjamini_hochberg(p_values: Sequence[float] | Floats) -> Floats:
    """BH-adjusted p-values for the false discovery rate (Benjamini & Hochberg 1995, JRSS B 57:289), in the order given.

    The j-th smallest p becomes min over l >= j of min(1, m p_(l) / l). Valid for independent and for positively
    regression-dependent p-values.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(4).tolist()
    [0.03, 0.04, 0.04]

    Raises:
        ValueError: no p-value, or one that is no number within 0..1.
    """
    given = _p_values(p_values)
    return _step_up(given, given.size / np.arange(1, given.size + 1))


def benjamini_yekutieli(p_values: Sequence[float] | Floats) -> Floats:
    """BY-adjusted p-values: BH times 1 + 1/2 + ... + 1/m (Benjamini & Yekutieli 2001, Ann Stat 29:1165).

    Controls the false discovery rate under any dependence.

    >>> benjamini_yekutieli([0.01, 0.04]).round(4).tolist()
    [0.03, 0.06]

    Raises:
        ValueError: no p-value, or one that is no number within 0..1.
    """
    given = _p_values(p_values)
    ranks = np.arange(1, given.size + 1)
    return _step_up(given, float(np.sum(1 / ranks)) * given.size / ranks)


def e_benjamini_hochberg(e_values: Sequence[float] | Floats, alpha: float) -> Booleans:
    """The e-BH list (Wang & Ramdas 2022, JRSS B 84:822): true where a hypothesis is rejected.

    Controls the false discovery rate at alpha under any dependence: the k largest are rejected, k being the largest
    with k E_[k] >= m / alpha.

    Only for a list "as of today" that does not latch: E is today's value of each e-process, all read at one
    instant, and a cell may leave the list tomorrow. NEVER on running maxima: a supremum of an e-process is no
    e-value (its expectation is unbounded; only P(sup E >= c) <= 1/c holds), and Tavyrikov, Goeman & de Heide
    (arXiv 2501.19360) show that the false discovery rate is then lost. A latched alarm takes 1 / max E as a p-value
    (`e_to_p`) into `weighted_holm`. A data-dependent day also needs each e-process valid in the filtration of all.

    >>> e_benjamini_hochberg([100, 2, 60], 0.05).tolist()
    [True, False, True]

    Raises:
        ValueError: no e-value, a negative one or NaN; alpha outside 0..1.
    """
    given = _e_values(e_values)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha} must lie between 0 and 1")
    order = np.argsort(-given, kind="stable")
    ranks = np.arange(1, given.size + 1)
    reached = np.flatnonzero(given[order] * ranks * alpha >= given.size * (1 - _ROUNDING))
    rejected = np.zeros(given.size, dtype=np.bool_)
    if reached.size:
        rejected[order[: reached[-1] + 1]] = True
    return rejected


def e_to_p(e_values: Sequence[float] | Floats) -> Floats:
    """The p-values min(1, 1/E): by Markov for an e-value, by Ville also for the running maximum of an e-process.

    >>> e_to_p([0.5, 20.0]).tolist()
    [1.0, 0.05]

    Raises:
        ValueError: no e-value, a negative one or NaN.
    """
    return 1 / np.maximum(1.0, _e_values(e_values))


def p_to_e(p_values: Sequence[float] | Floats, kappa: float = 0.5) -> Floats:
    """The e-values kappa p^(kappa - 1) (Vovk & Wang 2021, Ann Stat 49:1736); p = 0 becomes infinite.

    Args:
        p_values: each within 0..1.
        kappa: between 0 and 1, fixed before the p-values are seen; 0.5 gives 1 / (2 sqrt(p)).

    >>> p_to_e([0.0001, 1.0]).tolist()
    [50.0, 0.5]

    Raises:
        ValueError: p-values outside 0..1, or kappa not strictly between 0 and 1.
    """
    given = _p_values(p_values)
    if not 0 < kappa < 1:
        raise ValueError(f"kappa {kappa} must lie between 0 and 1")
    with np.errstate(divide="ignore"):
        return np.asarray(kappa * given ** (kappa - 1))


def mean_e_value(e_values: Sequence[float] | Floats, weights: Sequence[float] | Floats | None = None) -> float:
    """The (weighted) arithmetic mean: an e-value for the global null under any dependence (Vovk & Wang 2021).

    Args:
        e_values: of one hypothesis each.
        weights: fixed in the plan, divided by their sum; None weighs all alike.

    >>> mean_e_value([40.0, 0.0])
    20.0

    Raises:
        ValueError: no e-value, a negative one or NaN; weights negative, all zero or of another length.
    """
    given = _e_values(e_values)
    if weights is None:
        return float(np.mean(given))
    shares = _shares(weights, given.size)
    return float(np.sum(given[shares > 0] * shares[shares > 0]))


def _step_up(given: Floats, factors: Floats) -> Floats:
    order = np.argsort(given, kind="stable")
    stepped = np.minimum.accumulate((given[order] * factors)[::-1])[::-1]
    return _restored(np.minimum(1.0, stepped), order)


def _restored(sorted_values: Floats, order: npt.NDArray[np.intp]) -> Floats:
    found = np.empty_like(sorted_values)
    found[order] = sorted_values
    return found


def _per_share(p_values: Floats, shares: Floats) -> Floats:
    ratios = np.full(p_values.size, np.inf)
    np.divide(p_values, shares, out=ratios, where=shares > 0)
    return ratios


def _p_values(p_values: Sequence[float] | Floats) -> Floats:
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or given.size == 0 or not bool(np.all((given >= 0) & (given <= 1))):
        raise ValueError("p_values must be a list of at least one number, each within 0..1")
    return given


def _e_values(e_values: Sequence[float] | Floats) -> Floats:
    given = np.asarray(e_values, dtype=np.float64)
    if given.ndim != 1 or given.size == 0 or not bool(np.all(given >= 0)):
        raise ValueError("e_values must be a list of at least one number, none negative")
    return given


def _shares(weights: Sequence[float] | Floats, hypotheses: int) -> Floats:
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (hypotheses,) or not bool(np.all((given >= 0) & np.isfinite(given))) or not given.any():
        raise ValueError(f"weights must be {hypotheses} finite numbers, none negative and at least one positive")
    return np.asarray(given / given.sum())
