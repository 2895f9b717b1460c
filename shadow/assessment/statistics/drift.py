"""Has what the model sees changed? Explanation and early warning, never proof of performance.

Order of reading: data quality, then scores and alert rates by scanner and shift, then embeddings, then label shift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, chdtrc, chdtri, ndtri

from shadow.assessment.statistics.multiplicity import p_to_e

Floats = NDArray[np.float64]

CAVEAT = "A shift says that inputs changed, not that the model got worse; no shift does not say that it did not."
LARGEST_SAMPLE = 2000
WATCH_WEEKS = 260
SAME = 1e-12
"""What two statistics of the same cases may differ by: sums of numbers of order one, in another order."""


@dataclass(frozen=True, slots=True)
class Shift:
    """A distance between reference and current values, with the p of no change; None where only a distance is asked."""

    distance: float
    p_value: float | None
    caveat: str = CAVEAT


def kolmogorov_smirnov(reference: ArrayLike, current: ArrayLike) -> Shift:
    """Largest gap of the two distribution functions with its exact p for small samples; shapes (cases,).

    >>> found = kolmogorov_smirnov([0.1, 0.2, 0.3, 0.4], [0.3, 0.5, 0.6, 0.7])
    >>> found.distance
    0.75

    Raises:
        ValueError: a sample is empty or holds no finite numbers.
    """
    from scipy.stats import ks_2samp

    one, two = _sample("reference", reference), _sample("current", current)
    found = ks_2samp(one, two, method="exact" if one.size * two.size <= 10_000 else "auto")
    return Shift(float(found.statistic), float(found.pvalue))


def wasserstein(reference: ArrayLike, current: ArrayLike, in_reference_spread: bool = False) -> float:
    """Wasserstein-1 distance, the area between the two distribution functions; on demand in reference SDs.

    >>> round(wasserstein([0, 1], [1, 2]), 6)
    1.0

    Raises:
        ValueError: as for `kolmogorov_smirnov`; the reference has no spread.
    """
    one, two = np.sort(_sample("reference", reference)), np.sort(_sample("current", current))
    every = np.sort(np.concatenate([one, two]))
    steps = np.diff(every)
    first = np.searchsorted(one, every[:-1], side="right") / one.size
    second = np.searchsorted(two, every[:-1], side="right") / two.size
    distance = float((np.abs(first - second) * steps).sum())
    if not in_reference_spread:
        return distance
    if one.size < 2 or one.std(ddof=1) == 0:
        raise ValueError("reference has no spread; expected at least two different values")
    return distance / float(one.std(ddof=1))


def maximum_mean_discrepancy(
    reference: ArrayLike,
    current: ArrayLike,
    bandwidth: float | None = None,
    generator: np.random.Generator | None = None,
    permutations: int = 500,
) -> Shift:
    """Unbiased MMD^2 with a Gaussian kernel exp(-d^2 / (2 bandwidth^2)) (Gretton et al. 2012, JMLR 13:723).

    Shapes (cases,) or (cases, features), each at most 2,000 cases. Without a bandwidth the median distance within the
    reference; fix it for a trial. With a generator also a permutation p.

    >>> maximum_mean_discrepancy([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], bandwidth=1.0).distance < 0
    True

    Raises:
        ValueError: sizes do not fit, or the bandwidth is not positive.
    """
    one, two = (np.asarray(x, float).reshape(len(np.asarray(x)), -1) for x in (reference, current))
    if one.shape[1] != two.shape[1] or not min(len(one), len(two)) >= 2 or max(len(one), len(two)) > LARGEST_SAMPLE:
        raise ValueError(f"expected from 2 to {LARGEST_SAMPLE} cases a side with the same features")
    both = np.concatenate([one, two])
    squared = ((both[:, None, :] - both[None, :, :]) ** 2).sum(axis=2) if both.shape[1] < 8 else _squared(both)
    if bandwidth is None:
        inside = squared[: len(one), : len(one)][np.triu_indices(len(one), 1)]
        bandwidth = float(np.sqrt(np.median(inside)))
    if not bandwidth > 0:
        raise ValueError(f"bandwidth is {bandwidth}; expected a positive number")
    kernel = np.exp(-squared / (2 * bandwidth**2))
    np.fill_diagonal(kernel, 0.0)
    first = np.arange(len(both)) < len(one)
    if generator is None:
        return Shift(float(_mmd(kernel, first[None, :])[0]), None)
    return _permuted(_mmd(kernel, _labels(first, generator, permutations)))


def classifier_two_sample(
    reference: ArrayLike,
    current: ArrayLike,
    generator: np.random.Generator,
    folds: int = 5,
    permutations: int = 200,
    ridge: float = 1.0,
) -> Shift:
    """Can a classifier tell reference from current? Its cross-fitted AUC, 0.5 without a shift (Lopez-Paz & Oquab 2017).

    A linear discriminant with a ridge on standardised features stands for the logistic classifier: on two samples of
    one spread they are the same rule, and it is solved once a fold. The p permutes the labels of the samples over the
    whole cross-fit. Shapes (cases, features), each at most 2,000 cases.

    >>> generator = np.random.default_rng(1)
    >>> found = classifier_two_sample(generator.normal(0, 1, (80, 2)), generator.normal(1, 1, (80, 2)), generator)
    >>> found.distance > 0.7, found.p_value < 0.01
    (True, True)

    Raises:
        ValueError: sizes do not fit, a side has fewer cases than folds, or a feature is not finite.
    """
    one, two = (np.asarray(x, float).reshape(len(np.asarray(x)), -1) for x in (reference, current))
    both = np.concatenate([one, two]) if one.shape[1] == two.shape[1] else np.empty((0, 0))
    if not folds <= min(len(one), len(two)) or max(len(one), len(two)) > LARGEST_SAMPLE or not both.size:
        raise ValueError(f"expected from {folds} to {LARGEST_SAMPLE} cases a side with the same features")
    if not np.isfinite(both).all():
        raise ValueError("expected finite features")
    spread = both.std(axis=0)
    both = (both - both.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    fold = generator.permutation(np.arange(len(both)) % folds)
    from scipy.stats import rankdata

    labels = _labels(np.arange(len(both)) >= len(one), generator, permutations)
    total, weight = np.zeros(len(labels)), np.zeros(len(labels))
    for number in range(folds):
        train, test = both[fold != number], both[fold == number]
        inverse = np.linalg.inv(train.T @ train / len(train) + ridge / len(train) * np.eye(both.shape[1]))
        trained, tested = labels[:, fold != number], labels[:, fold == number]
        later, earlier = trained.sum(axis=1), (~trained).sum(axis=1)
        positives, negatives = tested.sum(axis=1), (~tested).sum(axis=1)
        of_later = trained @ train
        between = (
            of_later / np.maximum(later, 1)[:, None] - (train.sum(axis=0) - of_later) / np.maximum(earlier, 1)[:, None]
        )
        ranks = rankdata(between @ inverse @ test.T, axis=1)
        pairs = positives * negatives * ((later > 0) & (earlier > 0))
        total += np.where(pairs > 0, (ranks * tested).sum(axis=1) - positives * (positives + 1) / 2, 0.0)
        weight += pairs
    return _permuted(np.where(weight > 0, total / np.maximum(weight, 1), 0.5))


def category_shift(reference: ArrayLike, current: ArrayLike) -> Shift:
    """Chi-square of two rows of counts, one column a category; its distance is Cramer's V.

    >>> round(category_shift([50, 50], [30, 70]).p_value, 4)
    0.0039

    Raises:
        ValueError: shapes differ, a count is negative or a row empty.
    """
    table = _counts(reference, current)
    table = table[:, table.sum(axis=0) > 0]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    freedom = table.shape[1] - 1
    return Shift(float(np.sqrt(statistic / table.sum())), float(chdtrc(freedom, statistic)) if freedom else 1.0)


def population_stability_index(reference: ArrayLike, current: ArrayLike) -> float:
    """PSI over fixed bins, sum (c - r) log(c / r) of the shares; infinite where one side of a bin is empty.

    For samples add half a case to each bin first: `stability_limit` then holds its level (S16).

    >>> round(population_stability_index([0.5, 0.5], [0.4, 0.6]), 6)
    0.040547

    Raises:
        ValueError: as for `category_shift`.
    """
    table = _counts(reference, current)
    one, two = table / table.sum(axis=1, keepdims=True)
    used = (one > 0) | (two > 0)
    with np.errstate(divide="ignore"):
        return float(((two - one)[used] * (np.log(two[used]) - np.log(one[used]))).sum())


def stability_limit(reference_cases: int, current_cases: int, bins: int, level: float = 0.95) -> float:
    """The PSI that no change exceeds in 1 - level of samples of these sizes: chi2(level, bins - 1) (1/n + 1/m).

    Fixed limits of .1 and .25 have no basis: with 100 cases a PSI above .1 occurs in a third of unchanged samples
    (Potgieter 2023, arXiv 2307.11878; S16).

    >>> round(stability_limit(1000, 100, 10), 4)
    0.1861

    Raises:
        ValueError: a size is not positive, or there are fewer than two bins.
    """
    if reference_cases < 1 or current_cases < 1 or bins < 2 or not 0 < level < 1:
        raise ValueError("expected at least one case a side, at least two bins and a level between 0 and 1")
    return float(chdtri(bins - 1, 1 - level)) * (1 / reference_cases + 1 / current_cases)


def permute_weeks(
    distance: Callable[[Floats, Floats], float],
    weeks: Sequence[ArrayLike],
    current: int,
    generator: np.random.Generator,
    permutations: int = 500,
) -> Shift:
    """The newest `current` weeks against the rest, calibrated by permuting whole weeks, not cases.

    Patients and scanners make cases of one week alike, which breaks tests that take them for independent.

    >>> weeks = [[0.0, 1.0]] * 9 + [[8.0, 9.0]]
    >>> found = permute_weeks(lambda one, two: abs(one.mean() - two.mean()), weeks, 1, np.random.default_rng(1))
    >>> float(found.distance), bool(found.p_value < 0.2)
    (8.0, True)

    Raises:
        ValueError: fewer than two weeks on one of the sides.
    """
    blocks = [np.asarray(week, float) for week in weeks]
    if current < 1 or len(blocks) - current < 2:
        raise ValueError("expected at least two reference weeks and one current week")

    def between(order: NDArray[np.intp]) -> float:
        chosen = [blocks[one] for one in order]
        return distance(np.concatenate(chosen[:-current]), np.concatenate(chosen[-current:]))

    observed = between(np.arange(len(blocks)))
    above = sum(between(generator.permutation(len(blocks))) >= observed for _ in range(permutations))
    return Shift(observed, (above + 1) / (permutations + 1))


def log_drift_detector(weekly_p: ArrayLike) -> Floats:
    """Log of a Shiryaev-Roberts detector on weekly p-values turned to e-values, kappa p^(kappa - 1) with kappa = 1/2.

    Without drift it stays below log(260) for a mean of at least 260 weeks (`WATCH_WEEKS`). Shape (weeks,).

    >>> bool(log_drift_detector([0.5] * 10 + [1e-4] * 2)[-1] > np.log(WATCH_WEEKS))
    True

    Raises:
        ValueError: a p-value is not within [0, 1].
    """
    evidence = p_to_e(np.asarray(weekly_p, float))
    path, state = np.empty(evidence.size), -np.inf
    with np.errstate(divide="ignore"):
        for week, one in enumerate(np.log(evidence)):
            state = float(np.logaddexp(state, 0.0) + one)
            path[week] = state
    return path


def rate_limits(reference: tuple[int, int], cases: int, tail: float = 0.001) -> tuple[float, float]:
    """Limits for a rate of failures, missing tags or missing series among `cases`, given a reference (count, of).

    Prediction limits: the Jeffreys posterior of the reference rate at each tail, widened by the current sample's own
    binomial spread (normal approximation).

    >>> lower, upper = rate_limits((20, 1000), 200)
    >>> round(lower, 4), round(upper, 4)
    (0.0, 0.0556)

    Raises:
        ValueError: the reference is no proportion, or there is no case.
    """
    count, of = reference
    if not 0 <= count <= of or of < 1 or cases < 1 or not 0 < tail < 0.5:
        raise ValueError("expected a reference proportion, at least one case and a tail below one half")
    z = float(ndtri(1 - tail))
    ends = []
    for side, chance in ((-1.0, tail), (1.0, 1 - tail)):
        rate = float(betaincinv(count + 0.5, of - count + 0.5, chance))
        middle = (count + 0.5) / (of + 1)
        reach = np.hypot(rate - middle, z * np.sqrt(middle * (1 - middle) / cases))
        ends.append(min(1.0, max(0.0, middle + side * float(reach))))
    return ends[0], ends[1]


def _mmd(kernel: Floats, first: NDArray[np.bool_]) -> Floats:
    """The unbiased MMD^2 for each row of labels, shape (rows,); the kernel's diagonal is zero."""
    n, m = int(first[0].sum()), int((~first[0]).sum())
    rows = first.astype(np.float64)
    inside = ((rows @ kernel) * rows).sum(axis=1)
    across = rows @ kernel.sum(axis=1) - inside
    other = kernel.sum() - inside - 2 * across
    return np.asarray(inside / (n * (n - 1)) + other / (m * (m - 1)) - 2 * across / (n * m))


def _labels(observed: NDArray[np.bool_], generator: np.random.Generator, permutations: int) -> NDArray[np.bool_]:
    """The labels as they are in the first row, and as often permuted below it."""
    return np.stack([observed, *(generator.permutation(observed) for _ in range(permutations))])


def _permuted(statistics: Floats) -> Shift:
    """The first statistic, and the share of all that reach it; what differs by rounding alone is the same."""
    observed = float(statistics[0])
    return Shift(observed, float((statistics >= observed - SAME).mean()))


def _squared(points: Floats) -> Floats:
    norms = (points**2).sum(axis=1)
    return np.asarray(np.maximum(norms[:, None] + norms[None, :] - 2 * points @ points.T, 0.0))


def _sample(name: str, values: ArrayLike) -> Floats:
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected at least one finite number")
    return array


def _counts(reference: ArrayLike, current: ArrayLike) -> Floats:
    one, two = np.asarray(reference, float), np.asarray(current, float)
    if one.ndim != 1 or one.shape != two.shape or one.size < 2 or min(one.min(), two.min()) < 0:
        raise ValueError("reference and current: expected equal rows of at least two counts of at least 0")
    if one.sum() == 0 or two.sum() == 0:
        raise ValueError("reference and current: expected at least one case each")
    return np.stack([one, two])
