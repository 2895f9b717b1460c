"""Shrunken cell estimates, FOR DISPLAY ONLY: empirical-Bayes and fully Bayesian partial pooling.

Never for an alarm, a watch, PASS or FAIL. Shrinkage makes the *average* error of many cells smaller (root mean
square .067 to .039 in simulation) by pulling each cell to the others, and so hides the very cell that a trial looks
for: one truly bad cell (.75, 15 positives) among good ones shows an empirical-Bayes mean of .893. Plug-in
empirical-Bayes intervals cover .71 instead of .95 because they take the estimated variance between cells for
known, and that estimate is often 0; so none are offered here. Where partial pooling is shown it is the full-Bayes
one, whose intervals carry the uncertainty of the variance, and always beside the raw count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, gammaln, log_expit, ndtr

from shadow.assessment.statistics.proportions import Limits

Counts = Sequence[int] | npt.NDArray[np.int_]
Floats = npt.NDArray[np.float64]

# The grid of the full-Bayes integration, in logits; fine enough for cells of up to about 20 000 positives.
_EDGE, _STEP, _EVERY = 15.0, 0.02, 2
_SD_NODES, _SD_REACH = 64, 4.0
_RATIOS = 40


@dataclass(frozen=True, slots=True)
class BetaBinomial:
    """A beta distribution of cells' sensitivities by maximum likelihood, and each cell drawn towards its mean.

    `intraclass_correlation` is 1 / (1 + M) with the prior size M = a + b; `means` are the posterior means
    (detected + M mean) / (of + M). M is infinite where the cells scatter no more than by chance: then all means are
    one. `log_likelihood` includes the binomial coefficients.
    """

    mean: float
    intraclass_correlation: float
    prior_size: float
    log_likelihood: float
    means: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PooledCell:
    """A cell's raw count beside its partially pooled sensitivity: posterior mean and central credible limits."""

    detected: int
    of: int
    mean: float
    limits: Limits


@dataclass(frozen=True, slots=True)
class PartialPooling:
    """Full-Bayes partial pooling: the cells, the typical cell's sensitivity, and the SD between cells in logits.

    All are posterior means; `sd_lower` and `sd_upper` are the central credible limits of the SD.
    """

    cells: tuple[PooledCell, ...]
    typical: float
    sd_between: float
    sd_lower: float
    sd_upper: float


def beta_binomial(detected: Counts, of: Counts) -> BetaBinomial:
    """The beta-binomial maximum likelihood and its empirical-Bayes means. Display only, never for an alarm.

    (Williams 1975, Biometrics 31:949.) With t = 1 / M the log-likelihood is, but for the binomial coefficients, the
    sum over cells of sum_{j < detected} log(mean + j t) + sum_{j < missed} log(1 - mean + j t)
    - sum_{j < of} log(1 + j t). It is concave in the mean, and is maximised over t >= 0 along the best mean for each
    t. Without any miss (or any detection) every t fits alike, and t = 0 is returned.

    Args:
        detected: per cell, reference-positive episodes that were detected.
        of: per cell, all of them; a cell without any has the overall mean.

    >>> found = beta_binomial([48, 20, 30, 60, 10], [50, 25, 34, 95, 15])
    >>> round(found.mean, 4), [round(one, 3) for one in found.means]
    (0.7924, [0.931, 0.798, 0.861, 0.647, 0.718])

    Raises:
        ValueError: counts negative, not whole, beyond their cell or of different length, or no cell with two
            positives.
    """
    hits, sizes = _cells(detected, of)
    misses = sizes - hits
    if sizes.max() < 2:
        raise ValueError("of must hold a cell with at least two positives: single ones show no correlation")
    if not misses.any() or not hits.any():
        mean, ratio = float(hits.any()), 0.0
    elif not np.any((hits > 0) & (misses > 0)):
        return _all_or_none(hits, sizes)
    else:
        mean, ratio = _most_likely(hits, misses)
    return BetaBinomial(
        mean=mean,
        intraclass_correlation=ratio / (1 + ratio),
        prior_size=1 / ratio if ratio > 0 else math.inf,
        log_likelihood=_log_likelihood(hits, misses, mean, ratio),
        means=tuple(float(one) for one in (hits * ratio + mean) / (sizes * ratio + 1)),
    )


def partial_pooling(detected: Counts, of: Counts, sd_scale: float = 1.0, confidence: float = 0.95) -> PartialPooling:
    """Full-Bayes partial pooling of cells' sensitivities on the logit scale. Display only, beside the raw count.

    detected_i ~ Binomial(of_i, s_i); logit s_i ~ Normal(m, SD^2); expit m uniform on 0..1; SD half-normal with
    scale `sd_scale` (Gelman 2006, Bayesian Anal 1:515; half-normal after Roever 2021, Res Synth Methods 12:448).
    Integrated on a grid of (m, SD, logit s): no sampling, so the same counts give the same figures. The limits
    are too narrow for a cell that does not belong to the others: a normal population draws it in all the same.

    Args:
        detected: per cell, reference-positive episodes that were detected.
        of: per cell, all of them; a cell without any shows what is expected of a new cell.
        sd_scale: scale of the half-normal prior, in logits; 1 lets cells at .92 scatter between about .6 and .99.
        confidence: of the central credible limits.

    >>> found = partial_pooling([46, 47, 44, 11], [50, 50, 50, 15])
    >>> [round(cell.mean, 3) for cell in found.cells], round(found.cells[3].limits.lower, 2)
    ([0.902, 0.911, 0.883, 0.83], 0.62)

    Raises:
        ValueError: counts negative, not whole, beyond their cell or of different length, no cell, a scale that is
            not positive, or confidence outside 0..1.
    """
    hits, sizes = _cells(detected, of)
    if not 0 < sd_scale < math.inf or not 0 < confidence < 1:
        raise ValueError(f"sd_scale {sd_scale} must be positive and confidence {confidence} lie between 0 and 1")
    logits = np.arange(-_EDGE, _EDGE + _STEP / 2, _STEP)
    centres = logits[::_EVERY]
    edges = np.linspace(0, 1, _SD_NODES + 1) ** 2 * _SD_REACH * sd_scale
    spreads = ((np.arange(_SD_NODES) + 0.5) / _SD_NODES) ** 2 * _SD_REACH * sd_scale
    log_chances = hits[:, None] * log_expit(logits) + (sizes - hits)[:, None] * log_expit(-logits)
    chances = np.exp(log_chances - log_chances.max(axis=1, keepdims=True)).T
    # The integral of each cell's chance over its population, for every SD and centre: (spreads, centres, cells).
    marginal = np.stack([_population(logits.size, spread) @ chances for spread in spreads])
    marginal = np.maximum(marginal, np.finfo(np.float64).tiny)
    log_posterior = (
        np.log(marginal).sum(axis=2)
        + (log_expit(centres) + log_expit(-centres))
        + (np.log(np.sqrt(spreads)) - (spreads / sd_scale) ** 2 / 2)[:, None]
    )
    posterior = np.exp(log_posterior - log_posterior.max())
    posterior /= posterior.sum()
    density = chances * sum(
        _population(logits.size, spread).T @ (weight[:, None] / held)
        for spread, weight, held in zip(spreads, posterior, marginal, strict=True)
    )
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    of_sd = posterior.sum(axis=1)
    lower, upper = np.interp(tails, np.cumsum([0.0, *of_sd]), edges)
    return PartialPooling(
        cells=tuple(
            _pooled_cell(int(count), int(size), logits, column, tails)
            for count, size, column in zip(hits, sizes, density.T, strict=True)
        ),
        typical=float(posterior.sum(axis=0) @ expit(centres)),
        sd_between=float(of_sd @ spreads),
        sd_lower=float(lower),
        sd_upper=float(upper),
    )


def _pooled_cell(detected: int, of: int, logits: Floats, density: Floats, tails: tuple[float, float]) -> PooledCell:
    chances = density / density.sum()
    lower, upper = np.interp(tails, np.cumsum([0.0, *chances]), np.append(logits - _STEP / 2, logits[-1] + _STEP / 2))
    return PooledCell(detected, of, float(chances @ expit(logits)), Limits(float(expit(lower)), float(expit(upper))))


def _population(grid: int, spread: float) -> Floats:
    """The normal population's mass in each step of the grid: (centres, logits). It stays right where SD < step."""
    beyond = ndtr(-(np.arange(grid + 1) - 0.5) * _STEP / spread)
    mass = beyond[:-1] - beyond[1:]
    windows = np.lib.stride_tricks.sliding_window_view(np.append(mass[:0:-1], mass), grid)
    return np.asarray(windows[::-1][::_EVERY])


def _most_likely(hits: Floats, misses: Floats) -> tuple[float, float]:
    """The mean and t = 1 / M at the maximum: the likeliest of t = 0 and the peaks of the profile in t.

    A profile that starts downhill may rise to a higher peak: one of 1 missed beside 23 of 24 detected is such a case.
    """
    from scipy.optimize import brentq

    # How many cells have more than j detections, misses, positives: each term of the likelihood once.
    steps = np.arange(int((hits + misses).max()))
    hit, miss, both = (np.array([np.sum(counts > j) for j in steps]) for counts in (hits, misses, hits + misses))

    def best_mean(ratio: float) -> float:
        def slope(mean: float) -> float:
            return float(np.sum(hit / (mean + steps * ratio)) - np.sum(miss / (1 - mean + steps * ratio)))

        return float(brentq(slope, 1e-300, 1 - 1e-16, xtol=1e-16, rtol=1e-15))

    def slope(ratio: float) -> float:
        mean = best_mean(ratio)
        ways = hit / (mean + steps * ratio) + miss / (1 - mean + steps * ratio) - both / (1 + steps * ratio)
        return float(np.sum(steps * ways))

    found = [(best_mean(0.0), 0.0)]
    ratios = [0.0, *np.geomspace(1e-6, 1e6, _RATIOS)]
    slopes = [slope(ratio) for ratio in ratios]
    for number in range(_RATIOS):
        if slopes[number] > 0 >= slopes[number + 1]:
            ratio = float(brentq(slope, ratios[number], ratios[number + 1], xtol=1e-15, rtol=1e-14))
            found.append((best_mean(ratio), ratio))
    return max(found, key=lambda one: _log_likelihood(hits, misses, *one))


def _all_or_none(hits: Floats, sizes: Floats) -> BetaBinomial:
    """Every cell wholly detected or wholly missed: the likelihood rises up to a correlation of 1."""
    whole = hits[sizes > 0] > 0
    mean, found = float(np.mean(whole)), int(np.count_nonzero(whole))
    log_likelihood = found * math.log(mean) + (whole.size - found) * math.log(1 - mean)
    means = tuple(float(hit / size) if size else mean for hit, size in zip(hits, sizes, strict=True))
    return BetaBinomial(mean, 1.0, 0.0, log_likelihood, means)


def _log_likelihood(hits: Floats, misses: Floats, mean: float, ratio: float) -> float:
    total = float(np.sum(gammaln(hits + misses + 1) - gammaln(hits + 1) - gammaln(misses + 1)))
    for hit, miss in zip(hits, misses, strict=True):
        total += float(
            np.sum(np.log(mean + ratio * np.arange(hit)))
            + np.sum(np.log(1 - mean + ratio * np.arange(miss)))
            - np.sum(np.log1p(ratio * np.arange(hit + miss)))
        )
    return total


def _cells(detected: Counts, of: Counts) -> tuple[Floats, Floats]:
    hits, sizes = np.asarray(detected), np.asarray(of)
    if hits.ndim != 1 or hits.size == 0 or hits.shape != sizes.shape:
        raise ValueError("detected and of must be lists of counts of the same length, at least one")
    if hits.dtype.kind not in "iu" or sizes.dtype.kind not in "iu" or bool(np.any((hits < 0) | (hits > sizes))):
        raise ValueError("detected must be whole numbers from 0 to `of`")
    return hits.astype(np.float64), sizes.astype(np.float64)
