"""An exploratory scan: in which slice of the studies (kernel, slice thickness, software ...) do the misses gather?

Every slice of one attribute, or of two, is compared with all other reference-positive episodes, and the smallest
p-value is held against what the smallest of as many would be if misses fell at random. It looks for what the plan
did not foresee: it finds hypotheses, for new data to test, and decides nothing. An "overnight CT-2" deficit that
turns out to be "10 mm slices" is a finding of this kind.

Its power is low and must be said beside it: among 24 cells, one of 40 positives at .80 against .92 elsewhere is found
in about one trial in three. No adjusted p below .05 is not "no slice is bad".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from shadow.assessment.statistics.proportions import Limits, wilson
from shadow.assessment.statistics.standardisation import StandardisedDifference, standardised_difference

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Values = Sequence[str | float | None] | npt.NDArray[np.generic]

UNKNOWN = "unknown"
_BATCH = 250


@dataclass(frozen=True, slots=True)
class Condition:
    """One attribute at one level, as in `slice thickness` at `10`."""

    attribute: str
    level: str


@dataclass(frozen=True, slots=True)
class Part:
    """Misses among the reference-positive episodes of a part, and its sensitivity with a 95 % Wilson interval."""

    missed: int
    positives: int
    sensitivity: float
    limits: Limits


@dataclass(frozen=True, slots=True)
class Explanation:
    """How much of a target cell's deficit lies in a slice.

    `missed_inside` of the target's `missed` misses and `positives_inside` of its `positives` episodes are in the
    slice; `outside` is the target without the slice (None where nothing is left). `difference` is target minus rest,
    crude beside standardised for being in the slice; where the target is all but the slice, `standardised` is near 0.
    """

    missed_inside: int
    missed: int
    positives_inside: int
    positives: int
    outside: Part | None
    difference: StandardisedDifference


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice of the studies: one or two conditions, its misses against all others', raw and adjusted p-value."""

    conditions: tuple[Condition, ...]
    inside: Part
    outside: Part
    p_value: float
    adjusted_p: float
    explains: Explanation | None


def scan(
    missed: Sequence[bool] | Booleans,
    attributes: Mapping[str, Values],
    *,
    cut_points: Mapping[str, Sequence[float]] | None = None,
    pairs: bool = False,
    minimum_positives: int = 10,
    strata: Sequence[str | None] | None = None,
    target: Sequence[bool] | Booleans | None = None,
    permutations: int = 1_999,
    seed: int = 0,
) -> tuple[Slice, ...]:
    """All slices, the most striking first, with p-values adjusted for having looked at all of them.

    A slice's `p_value` is the exact chance of as many misses in it or more, were the misses dealt out at random to
    the positives (hypergeometric; with `strata`, within each stratum, whose distributions are convolved). Its
    `adjusted_p` is (b + 1) / (m + 1), where b of m such deals have a smallest p over all slices that is no larger:
    single-step min-p (Westfall & Young 1993, Resampling-based multiple testing, section 2.3). The chance of any
    adjusted p <= alpha is at most alpha if misses are exchangeable (within strata), however the slices overlap.

    Args:
        missed: per reference-positive episode, one per patient, whether the index test missed it.
        attributes: name -> value per episode: a word, or a number. None and NaN are a level, "unknown".
        cut_points: name -> increasing cuts for a number; a value at a cut belongs above it. A number without cuts
            is taken as a level as it stands.
        pairs: also the slices of two attributes. One that holds the same episodes as one of its halves is left out.
        minimum_positives: in a slice; smaller ones are not looked at.
        strata: per episode, a level that misses are not exchanged across, such as the scanner: then only slices
            within scanners can stand out. None (unknown) is a level.
        target: per episode, whether it belongs to a cell of interest; adds what each slice explains of it.
        permutations: m; the smallest possible adjusted p is 1 / (m + 1).
        seed: of the random generator.

    >>> thickness, missed = [10.0] * 15 + [1.25] * 85, [True] * 9 + [False] * 86 + [True] * 5
    >>> first = scan(missed, {"slice thickness": thickness})[0]
    >>> first.conditions[0].level, first.inside.missed, first.adjusted_p < 0.01
    ('10', 9, True)

    Raises:
        ValueError: no episode, lists of different length, a target that is empty or everything, cuts that do not
            increase or are of no attribute, or fewer than one permutation or minimum positive.
    """
    misses = np.asarray(missed)
    if misses.ndim != 1 or misses.size == 0 or misses.dtype != np.bool_:
        raise ValueError("missed must be a list of true or false, one for each reference-positive episode")
    if permutations < 1 or minimum_positives < 1:
        raise ValueError("permutations and minimum_positives must be at least 1")
    cell = None if target is None else np.asarray(target)
    if cell is not None and (cell.shape != misses.shape or cell.dtype != np.bool_ or not 0 < cell.sum() < cell.size):
        raise ValueError(f"target must be true for some of the {misses.size} episodes and false for the others")
    levels = _levels(attributes, cut_points or {}, misses.size)
    groups = _groups(strata, misses.size)
    candidates = list(_candidates(levels, pairs, minimum_positives))
    if not candidates:
        return ()
    members = np.array([inside for _, inside in candidates])
    tails = _tails(misses, members, groups)
    rows = np.arange(len(candidates))
    p_values = tails[rows, np.count_nonzero(members & misses, axis=1)]
    smallest = _smallest_p(misses, members, groups, tails, permutations, np.random.default_rng(seed))
    # A deal that gives the observed p must count although the two may differ in the last digit.
    reached = np.searchsorted(np.sort(smallest), p_values * (1 + 1e-9), side="right")
    found = [
        Slice(
            conditions,
            _part(misses[inside]),
            _part(misses[~inside]),
            float(p_value),
            (int(count) + 1) / (permutations + 1),
            None if cell is None else _explanation(misses, inside, cell),
        )
        for (conditions, inside), p_value, count in zip(candidates, p_values, reached, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (one.p_value, len(one.conditions), -one.inside.positives)))


def _candidates(
    levels: Mapping[str, npt.NDArray[np.str_]], pairs: bool, minimum_positives: int
) -> Iterator[tuple[tuple[Condition, ...], Booleans]]:
    singles: dict[str, list[tuple[Condition, Booleans]]] = {}
    for name, labels in levels.items():
        singles[name] = [(Condition(name, str(level)), labels == level) for level in np.unique(labels)]
    for condition, inside in (one for same in singles.values() for one in same):
        if minimum_positives <= np.count_nonzero(inside) < inside.size:
            yield (condition,), inside
    for first, second in combinations(singles.values(), 2) if pairs else ():
        for (one, inside_one), (other, inside_other) in product(first, second):
            both = inside_one & inside_other
            held = np.count_nonzero(both)
            if held >= minimum_positives and held < min(np.count_nonzero(inside_one), np.count_nonzero(inside_other)):
                yield (one, other), both


def _tails(misses: Booleans, members: Booleans, groups: Sequence[Booleans]) -> Floats:
    """P(at least k misses in the slice) for every k: (slices, misses + 2)."""
    tails = np.zeros((len(members), int(np.count_nonzero(misses)) + 2))
    known: dict[tuple[int, ...], Floats] = {}
    sizes = np.array([np.count_nonzero(members[:, group], axis=1) for group in groups]).T
    for row, inside in enumerate(sizes.tolist()):
        if tuple(inside) not in known:
            chances = np.ones(1)
            for size, group in zip(inside, groups, strict=True):
                chances = np.convolve(chances, _hypergeometric(size, misses[group]))
            # Summed from the far end, where the terms are small.
            known[tuple(inside)] = np.cumsum(chances[::-1])[::-1]
        tail = known[tuple(inside)]
        tails[row, : tail.size] = np.minimum(1.0, tail)
    return tails


def _hypergeometric(size: int, misses: Booleans) -> Floats:
    """The chance of k = 0, 1, ... misses among `size` episodes drawn from these."""
    episodes, missed = misses.size, int(np.count_nonzero(misses))
    counts = np.arange(max(0, size + missed - episodes), min(size, missed) + 1)
    logs = -(
        gammaln(counts + 1)
        + gammaln(missed - counts + 1)
        + gammaln(size - counts + 1)
        + gammaln(episodes - missed - size + counts + 1)
    )
    chances = np.zeros(min(size, missed) + 1)
    chances[counts] = np.exp(logs - logs.max())
    return chances / float(chances.sum())


def _smallest_p(
    misses: Booleans,
    members: Booleans,
    groups: Sequence[Booleans],
    tails: Floats,
    permutations: int,
    random: np.random.Generator,
) -> Floats:
    """The smallest p over all slices in each random deal of the misses."""
    weights = members.T.astype(np.float32)  # whole numbers below 2^24 stay exact in float32, at twice the speed
    rows, smallest = np.arange(len(members)), []
    for start in range(0, permutations, _BATCH):
        deals = min(_BATCH, permutations - start)
        dealt = np.empty((deals, misses.size), dtype=np.float32)
        for group in groups:
            within = np.tile(misses[group].astype(np.float32), (deals, 1))
            dealt[:, group] = random.permuted(within, axis=1)
        counts = (dealt @ weights).astype(np.intp)
        smallest.append(tails[rows, counts].min(axis=1))
    return np.concatenate(smallest)


def _explanation(misses: Booleans, inside: Booleans, target: Booleans) -> Explanation:
    outside = misses[target & ~inside]
    labels = ["inside" if one else "outside" for one in inside]
    return Explanation(
        missed_inside=int(np.count_nonzero(misses & inside & target)),
        missed=int(np.count_nonzero(misses & target)),
        positives_inside=int(np.count_nonzero(inside & target)),
        positives=int(np.count_nonzero(target)),
        outside=_part(outside) if outside.size else None,
        difference=standardised_difference(~misses, target, {"slice": labels}),
    )


def _part(misses: Booleans) -> Part:
    missed, positives = int(np.count_nonzero(misses)), misses.size
    return Part(missed, positives, (positives - missed) / positives, wilson(positives - missed, positives))


def _groups(strata: Sequence[str | None] | None, episodes: int) -> tuple[Booleans, ...]:
    if strata is None:
        return (np.ones(episodes, dtype=np.bool_),)
    if len(strata) != episodes:
        raise ValueError(f"strata must hold one level for each of the {episodes} episodes")
    labels = np.array([UNKNOWN if one is None else str(one) for one in strata])
    return tuple(labels == level for level in np.unique(labels))


def _levels(
    attributes: Mapping[str, Values], cut_points: Mapping[str, Sequence[float]], episodes: int
) -> dict[str, npt.NDArray[np.str_]]:
    for name in cut_points:
        if name not in attributes:
            raise ValueError(f"cut_points names {name!r}, which is no attribute")
    found = {}
    for name, values in attributes.items():
        if len(values) != episodes:
            raise ValueError(f"attributes[{name!r}] must hold one value for each of the {episodes} episodes")
        cuts = cut_points.get(name)
        found[name] = np.array([_level(name, value, cuts) for value in values])
    return found


def _level(name: str, value: object, cuts: Sequence[float] | None) -> str:
    # A missing value is its own level: NaN is the one value that is unlike itself.
    if value is None or value != value:
        return UNKNOWN
    if cuts is None:
        return f"{value:g}" if isinstance(value, float) else str(value)
    if not cuts or any(low >= high for low, high in pairwise(cuts)):
        raise ValueError(f"cut_points[{name!r}] must be at least one number, increasing")
    if not isinstance(value, (int, float, np.number)):
        raise ValueError(f"attributes[{name!r}] has cut points but holds {type(value).__name__}, no number")
    place = int(np.searchsorted(np.asarray(cuts, dtype=np.float64), float(value), side="right"))
    if place == 0:
        return f"< {cuts[0]:g}"
    return f">= {cuts[-1]:g}" if place == len(cuts) else f"{cuts[place - 1]:g} to < {cuts[place]:g}"
