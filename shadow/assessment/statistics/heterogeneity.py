"""Does sensitivity differ between cells? Pearson, exact and permutation tests, and one cell against the rest.

A cell is a group of reference-positive episodes (a scanner, a shift, their product): how many the index test
detected and how many it missed. All tests here look once, at counts locked beforehand; a screen that is looked at
every day takes the sequential methods instead. A small p-value says "not all alike", never which cell is bad, and the
worst of many observed cells looks bad by selection alone: 24 cells truly at .92 with 25 positives each show a
worst cell of .80 on average (tests/simulation/test_subgroups.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc

Counts = Sequence[int] | npt.NDArray[np.int_]

# fisher.test of R counts a table as no likelier than the observed one up to this relative difference.
_TIES = 10**7
_LARGEST_NETWORK = 100_000  # paths carried at once: about a second


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """A chi-square statistic with its degrees of freedom and the asymptotic p-value."""

    statistic: float
    degrees_of_freedom: int
    p_value: float


@dataclass(frozen=True, slots=True)
class SubgroupTest:
    """Fisher's exact p-values of one cell against the rest: worse, better, and two-sided."""

    p_worse: float
    p_better: float
    p_two_sided: float


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """Between-cell variation on the logit scale: Cochran's Q with its p-value, I-squared, and tau-squared.

    `i_squared` is the share of the total variation that is not chance, within 0..1; `tau_squared` is the
    between-cell variance of the logit (DerSimonian & Laird); `pooled` is the inverse-variance mean, as a proportion.
    """

    q: float
    degrees_of_freedom: int
    p_value: float
    i_squared: float
    tau_squared: float
    pooled: float


def chi_square(detected: Counts, missed: Counts) -> ChiSquare:
    """Pearson's chi-square of sensitivity across cells, no continuity correction (Pearson 1900).

    Sum of (observed - expected)^2 / expected over the 2 x k table, on k - 1 degrees of freedom. Cells without any
    positive say nothing and are left out. Without a miss, or without a detection, the table cannot vary: statistic
    0, p = 1. At high sensitivity and sparse cells (Se .97, 8 to 80 positives) the type I error is near .07, so
    `permutation_chi_square` is the one to report.

    Args:
        detected: per cell, reference-positive episodes that were detected.
        missed: per cell, those that were not.

    >>> round(chi_square([48, 47, 27, 45], [2, 3, 8, 5]).p_value, 6)
    0.022991

    Raises:
        ValueError: counts negative, not whole or of different length, or fewer than two cells with positives.
    """
    sizes, misses = _cells(detected, missed)
    statistic = float(_pearson(sizes, misses))
    degrees_of_freedom = sizes.size - 1
    return ChiSquare(statistic, degrees_of_freedom, float(chdtrc(degrees_of_freedom, statistic)))


def exact_heterogeneity(detected: Counts, missed: Counts) -> float:
    """The exact p-value of Freeman & Halton (1951, Biometrika 38:141) for a 2 x k table with both margins fixed.

    The probability of all tables no likelier than the observed one, ties counted with R's relative tolerance of
    1e-7. Computed in whole numbers by dynamic programming over the cells: tables that share what remains to be
    placed and their probability so far are carried as one, and branches that lie wholly on one side of the observed
    probability are settled at once (the network of Mehta & Patel 1983, JASA 78:427). Nothing is sampled.

    Args:
        detected: per cell, reference-positive episodes that were detected; cells without positives are left out.
        missed: per cell, those that were not.

    >>> round(exact_heterogeneity([48, 47, 27, 45], [2, 3, 8, 5]), 12)
    0.033777894542

    Raises:
        ValueError: as `chi_square`; or the table is too large to enumerate (use `permutation_chi_square`).
    """
    sizes, misses = _cells(detected, missed)
    # C(n, x) = C(n, n - x): place the rarer of the two outcomes.
    placed = misses if 2 * misses.sum() <= sizes.sum() else sizes - misses
    order = np.argsort(-sizes, kind="stable")
    cells, total = [int(one) for one in sizes[order]], int(placed.sum())
    observed = 1
    for size, count in zip(sizes, placed, strict=True):
        observed *= comb(int(size), int(count))
    bound = observed * (_TIES + 1)
    likeliest, unlikeliest = _completions(cells, total)
    # Paths through the network: (what remains, product of the binomials so far) -> number of ways to be there.
    paths: dict[tuple[int, int], int] = {(total, 1): 1}
    settled, after = 0, sum(cells)
    for stage, size in enumerate(cells):
        after -= size
        following: dict[tuple[int, int], int] = {}
        choices = [comb(size, count) for count in range(min(size, total) + 1)]
        for (remaining, product), ways in paths.items():
            for count in range(max(0, remaining - after), min(size, remaining) + 1):
                left, weight = remaining - count, product * choices[count]
                if weight * likeliest[stage + 1][left] * _TIES <= bound:
                    settled += ways * weight * comb(after, left)
                elif weight * unlikeliest[stage + 1][left] * _TIES <= bound:
                    following[left, weight] = following.get((left, weight), 0) + ways
            if len(following) > _LARGEST_NETWORK:
                raise ValueError("this table is too large to enumerate; permutation_chi_square samples it")
        paths = following
    return settled / comb(sum(cells), total)


def permutation_chi_square(detected: Counts, missed: Counts, permutations: int = 9_999, seed: int = 0) -> float:
    """The Monte Carlo p-value of Pearson's chi-square conditional on both margins, (b + 1) / (m + 1).

    Misses are dealt out to the positives at random (multivariate hypergeometric); b of the m tables have a
    statistic at least the observed one. The + 1 makes the p-value valid for any m (Phipson & Smyth 2010, Stat Appl
    Genet Mol Biol 9:39). The same seed gives the same p-value.

    Args:
        detected: per cell, reference-positive episodes that were detected; cells without positives are left out.
        missed: per cell, those that were not.
        permutations: m; the smallest possible p-value is 1 / (m + 1).
        seed: of the random generator; write it into the plan.

    >>> permutation_chi_square([10, 10], [0, 0])
    1.0

    Raises:
        ValueError: as `chi_square`, or no permutation is asked for.
    """
    if permutations < 1:
        raise ValueError(f"permutations {permutations} must be at least 1")
    sizes, misses = _cells(detected, missed)
    random = np.random.default_rng(seed)
    tables = random.multivariate_hypergeometric(sizes, int(misses.sum()), size=permutations, method="marginals")
    # A table equal to the observed one must count although its sum is added up in floats.
    reached = _pearson(sizes, tables) >= _pearson(sizes, misses) * (1 - 1e-9)
    return (int(np.count_nonzero(reached)) + 1) / (permutations + 1)


def subgroup_versus_rest(
    subgroup_detected: int, subgroup_missed: int, rest_detected: int, rest_missed: int
) -> SubgroupTest:
    """Fisher's exact test of one cell against the rest (Fisher 1934), conditional on both margins.

    `p_worse` is the probability of as few detections in the cell or fewer, `p_better` of as many or more;
    `p_two_sided` sums the tables no likelier than the observed one, with R's relative tolerance of 1e-7. Computed in
    whole numbers. An empty cell, or a table without misses, has p = 1.

    >>> found = subgroup_versus_rest(18, 4, 55, 5)
    >>> round(found.p_worse, 6), round(found.p_two_sided, 6)
    (0.189956, 0.240402)

    Raises:
        ValueError: a count is negative.
    """
    counts = (subgroup_detected, subgroup_missed, rest_detected, rest_missed)
    if min(counts) < 0:
        raise ValueError(f"counts {counts} must not be negative")
    cell, rest = subgroup_detected + subgroup_missed, rest_detected + rest_missed
    detections = subgroup_detected + rest_detected
    fewest, most = max(0, detections - rest), min(cell, detections)
    weights = [comb(cell, fewest) * comb(rest, detections - fewest)]
    for count in range(fewest, most):
        ratio_up = (cell - count) * (detections - count)
        weights.append(weights[-1] * ratio_up // ((count + 1) * (rest - detections + count + 1)))
    here, total = subgroup_detected - fewest, comb(cell + rest, detections)
    unlikely = sum(weight for weight in weights if weight * _TIES <= weights[here] * (_TIES + 1))
    return SubgroupTest(sum(weights[: here + 1]) / total, sum(weights[here:]) / total, unlikely / total)


def inconsistency(detected: Counts, missed: Counts) -> Inconsistency:
    """Cochran's Q and I-squared of the logit sensitivities (Cochran 1954; Higgins & Thompson 2002, Stat Med 21:1539).

    y = log(detected / missed) with variance 1 / detected + 1 / missed and weight w = 1 / variance; in a cell where
    one of the two counts is 0, and only there, 1/2 is added to both. Q = sum w (y - mean)^2 on k - 1 degrees of
    freedom; I-squared = max(0, (Q - df) / Q); tau-squared = max(0, (Q - df) / (sum w - sum w^2 / sum w)).
    Descriptive: with sparse cells Q is far from its chi-square, so the test to report is `permutation_chi_square`.

    Args:
        detected: per cell, reference-positive episodes that were detected; cells without positives are left out.
        missed: per cell, those that were not.

    >>> found = inconsistency([90, 80], [10, 20])
    >>> round(found.q, 4), round(found.i_squared, 4)
    (3.7878, 0.736)

    Raises:
        ValueError: as `chi_square`.
    """
    sizes, misses = _cells(detected, missed)
    added = np.where((misses == 0) | (misses == sizes), 0.5, 0.0)
    hits, missing = sizes - misses + added, misses + added
    logits, weights = np.log(hits / missing), hits * missing / (hits + missing)
    mean = float(np.sum(weights * logits) / np.sum(weights))
    q, degrees_of_freedom = float(np.sum(weights * (logits - mean) ** 2)), sizes.size - 1
    excess = max(0.0, q - degrees_of_freedom)
    scale = float(np.sum(weights) - np.sum(weights**2) / np.sum(weights))
    return Inconsistency(
        q=q,
        degrees_of_freedom=degrees_of_freedom,
        p_value=float(chdtrc(degrees_of_freedom, q)),
        i_squared=excess / q if excess > 0 else 0.0,
        tau_squared=excess / scale,
        pooled=float(1 / (1 + np.exp(-mean))),
    )


def _completions(cells: list[int], total: int) -> tuple[list[list[int]], list[list[int]]]:
    """The largest and the smallest product of binomials that can still follow: [stage][what remains].

    Where no completion exists the entries are 0; such a branch is never entered.
    """
    largest, smallest = [[1] + [0] * total], [[1] + [0] * total]
    behind = 0
    for size in reversed(cells):
        choices = [comb(size, count) for count in range(min(size, total) + 1)]
        best, worst = [0] * (total + 1), [0] * (total + 1)
        for remaining in range(min(total, behind + size) + 1):
            counts = range(max(0, remaining - behind), min(size, remaining) + 1)
            best[remaining] = max(choices[count] * largest[0][remaining - count] for count in counts)
            worst[remaining] = min(choices[count] * smallest[0][remaining - count] for count in counts)
        largest.insert(0, best)
        smallest.insert(0, worst)
        behind += size
    return largest, smallest


def _pearson(sizes: npt.NDArray[np.int64], misses: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Pearson's statistic of each table: misses (..., cells) with sizes (cells,)."""
    total, missed = int(sizes.sum()), misses.sum(axis=-1, keepdims=True)
    expected = sizes * missed / total
    # Both rows together: (o - e)^2 (1 / e + 1 / (n - e)), and 0 where a row is empty.
    spread = expected * (sizes - expected) / sizes
    squares = (misses - expected) ** 2
    return np.asarray(np.divide(squares, spread, out=np.zeros(squares.shape), where=spread > 0).sum(axis=-1))


def _cells(detected: Counts, missed: Counts) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sizes and misses of the cells that hold any positive."""
    hits, misses = np.asarray(detected), np.asarray(missed)
    if hits.ndim != 1 or hits.shape != misses.shape:
        raise ValueError("detected and missed must be lists of counts of the same length")
    for name, counts in (("detected", hits), ("missed", misses)):
        if counts.dtype.kind not in "iu" or bool(np.any(counts < 0)):
            raise ValueError(f"{name} must hold whole numbers, none negative")
    sizes = (hits + misses).astype(np.int64)
    held = sizes > 0
    if np.count_nonzero(held) < 2:
        raise ValueError("detected and missed must hold at least two cells with positives")
    return sizes[held], misses[held].astype(np.int64)
