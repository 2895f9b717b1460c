"""Had the flags reordered the real worklist: minutes saved for positives and lost for negatives, by shift.

The readers keep their real reading slots: the k-th study is begun when it really was, only which study it is changes.
At each slot a flagged study whose flag was there in time goes first, else the worklist goes on in its real order.
Assumed: a flag changes the order and nothing else, readings take the time they took, and no one skips a flag.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shadow.assessment.statistics.proportions import DISPLAY_CONFIDENCE, Limits

Floats = NDArray[np.float64]
MINUTES_A_DAY = 1440.0


@dataclass(frozen=True, slots=True)
class MinutesSaved:
    """Minutes a study would have been begun earlier (below 0: later), over the studies of one kind in one shift.

    Attributes:
        shift: its name, or `all`. present: with the target condition, or without it.
        studies: how many. mean, median: minutes. limits: of the mean, whole days resampled; None below two days.
    """

    shift: str
    present: bool
    studies: int
    mean: float
    median: float
    limits: Limits | None


def replay_worklist(arrived: ArrayLike, begun: ArrayLike, flagged: ArrayLike, flag_available: ArrayLike) -> Floats:
    """When each study would have been begun, in the same minutes as the arguments; shapes (studies,).

    `arrived` and `begun` are the real worklist, `flag_available` when the flag was there, latency included (ignored
    where not flagged; NaN or infinite where it never came).

    >>> replay_worklist([0, 0, 0], [10, 20, 30], [False, False, True], [0, 0, 15]).tolist()
    [10.0, 30.0, 20.0]

    Raises:
        ValueError: lengths differ, a study was begun before it arrived, or a time is not known.
    """
    came, real, late = (np.asarray(one, dtype=np.float64) for one in (arrived, begun, flag_available))
    flag = np.asarray(flagged).astype(bool)
    if not came.shape == real.shape == late.shape == flag.shape or came.ndim != 1:
        raise ValueError("arrived, begun, flagged and flag_available: expected equal one-dimensional arrays")
    if not (np.isfinite(came).all() and np.isfinite(real).all() and (real >= came).all()):
        raise ValueError("begun: expected known times, none before the study arrived")
    usable = flag & np.isfinite(late)
    ready = np.maximum(came, np.where(usable, late, np.inf))
    in_turn = sorted(range(real.size), key=lambda one: (real[one], came[one]))
    place = {study: number for number, study in enumerate(in_turn)}
    by_arrival = iter(sorted(in_turn, key=lambda one: came[one]))
    by_flag = iter(sorted((one for one in in_turn if usable[one]), key=lambda one: ready[one]))
    flags: list[tuple[float, int]] = []
    worklist: list[tuple[float, int]] = []
    next_arrival, next_flag = next(by_arrival, None), next(by_flag, None)
    replayed, done = np.empty(real.size), np.zeros(real.size, dtype=np.bool_)
    for slot in np.sort(real, kind="stable"):
        while next_flag is not None and ready[next_flag] <= slot:
            heapq.heappush(flags, (float(came[next_flag]), next_flag))
            next_flag = next(by_flag, None)
        while next_arrival is not None and came[next_arrival] <= slot:
            heapq.heappush(worklist, (float(place[next_arrival]), next_arrival))
            next_arrival = next(by_arrival, None)
        for line in (flags, worklist):
            while line and done[line[0][1]]:
                heapq.heappop(line)
        # By any slot at least as many studies have arrived as slots have passed, so the worklist is never empty here.
        chosen = heapq.heappop(flags or worklist)[1]
        done[chosen] = True
        replayed[chosen] = slot
    return replayed


def minutes_saved(
    arrived: ArrayLike,
    begun: ArrayLike,
    flagged: ArrayLike,
    flag_available: ArrayLike,
    present: ArrayLike,
    shift: Sequence[str],
    generator: np.random.Generator,
    resamples: int = 1000,
    confidence: float = DISPLAY_CONFIDENCE,
) -> tuple[MinutesSaved, ...]:
    """Minutes saved over all and by shift, for studies with and without the target condition.

    The sum over all studies is 0: what positives gain others lose. Times in minutes; days are counted from their
    zero. The interval resamples days of arrival, because one busy night is one event.

    >>> found = minutes_saved([0, 0, 0], [10, 20, 30], [0, 0, 1], [0, 0, 15], [0, 0, 1], ["Night"] * 3,
    ...                       np.random.default_rng(1))
    >>> [(one.shift, one.present, one.mean) for one in found[:2]]
    [('all', True, 10.0), ('all', False, -5.0)]

    Raises:
        ValueError: as for `replay_worklist`; present or shift of another length.
    """
    replayed = replay_worklist(arrived, begun, flagged, flag_available)
    saved, truth, names = np.asarray(begun, float) - replayed, np.asarray(present).astype(bool), np.asarray(shift)
    if truth.shape != saved.shape or names.shape != saved.shape:
        raise ValueError("present and shift: expected one for each study")
    day = np.floor(np.asarray(arrived, float) / MINUTES_A_DAY).astype(np.int64)
    found = []
    for name in ("all", *dict.fromkeys(names.tolist())):
        for kind in (True, False):
            rows = (truth == kind) & ((names == name) | (name == "all"))
            if rows.any():
                limits = _by_day(saved[rows], day[rows], generator, resamples, confidence)
                mean, median = float(saved[rows].mean()), float(np.median(saved[rows]))
                found.append(MinutesSaved(str(name), kind, int(rows.sum()), mean, median, limits))
    return tuple(found)


def _by_day(
    saved: Floats, day: NDArray[np.int64], generator: np.random.Generator, resamples: int, confidence: float
) -> Limits | None:
    days, member = np.unique(day, return_inverse=True)
    if days.size < 2:
        return None
    totals, counts = np.bincount(member, weights=saved), np.bincount(member)
    drawn = generator.integers(0, days.size, (resamples, days.size))
    means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Limits(float(low), float(high))
