"""Whose cases are counted: patient episodes, and a proportion standardised to a reference case mix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shadow.assessment.statistics.diagnostic import Estimate
from shadow.assessment.statistics.proportions import DISPLAY_CONFIDENCE, wilson

EPISODE_DAYS = 7.0


@dataclass(frozen=True, slots=True)
class Episodes:
    """One row a patient episode, in order of patient and begin; shape (episodes,).

    Attributes:
        patient: the patient. begins_at: day of the first reference-positive study.
        studies, detected: reference-positive studies of the episode, and how many of them were detected.
        number: 1 for a patient's first episode: the only one that monitors are fed.
    """

    patient: NDArray[np.object_]
    begins_at: NDArray[np.float64]
    studies: NDArray[np.int64]
    detected: NDArray[np.int64]
    number: NDArray[np.int64]


def episodes_of(patient: ArrayLike, index_day: ArrayLike, detected: ArrayLike, days: float = EPISODE_DAYS) -> Episodes:
    """Reference-positive studies gathered into episodes: all of a patient within `days` of the first.

    Arrays of shape (studies,), one row a reference-positive study; `index_day` in days.

    >>> found = episodes_of(["a", "a", "a", "b"], [0, 3, 20, 1], [False, True, True, False])
    >>> found.studies.tolist(), found.detected.tolist(), found.number.tolist()
    ([2, 1, 1], [1, 1, 0], [1, 2, 1])

    Raises:
        ValueError: the arrays differ in length, or a day is not finite.
    """
    who, day, hit = np.asarray(patient, dtype=object), np.asarray(index_day, float), np.asarray(detected, bool)
    if not who.shape == day.shape == hit.shape or day.ndim != 1 or not np.isfinite(day).all():
        raise ValueError("patient, index_day and detected: expected three equal one-dimensional arrays of known days")
    rows: list[tuple[object, float, int, int, int]] = []
    for row in sorted(range(day.size), key=lambda one: (str(who[one]), day[one])):
        if rows and rows[-1][0] == who[row] and day[row] - rows[-1][1] <= days:
            last = rows[-1]
            rows[-1] = (last[0], last[1], last[2] + 1, last[3] + int(hit[row]), last[4])
        else:
            number = rows[-1][4] + 1 if rows and rows[-1][0] == who[row] else 1
            rows.append((who[row], float(day[row]), 1, int(hit[row]), number))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    return Episodes(
        np.array(columns[0], dtype=object),
        np.array(columns[1], dtype=np.float64),
        np.array(columns[2], dtype=np.int64),
        np.array(columns[3], dtype=np.int64),
        np.array(columns[4], dtype=np.int64),
    )


def standardised_proportion(
    counts: Mapping[str, tuple[int, int]], weights: Mapping[str, float], confidence: float = DISPLAY_CONFIDENCE
) -> Estimate:
    """Directly standardised proportion: strata of `counts` (count, of) weighted to a reference case mix.

    The interval is that of Newcombe's square-and-add (MOVER) on the strata's Wilson limits (Zou & Donner 2008, Stat
    Med 27:1693), which does not collapse where a stratum is all found.

    >>> found = standardised_proportion({"large": (45, 50), "small": (6, 10)}, {"large": 0.5, "small": 0.5})
    >>> round(found.value, 3)
    0.75

    Raises:
        ValueError: a weighted stratum has no case or is not counted, or the weights do not add up to more than 0.
    """
    total = sum(weights.values())
    if not total > 0 or min(weights.values()) < 0:
        raise ValueError("weights: expected shares of at least 0 that add up to more than 0")
    empty = [name for name, weight in weights.items() if weight > 0 and not counts.get(name, (0, 0))[1]]
    if empty:
        raise ValueError(
            f"no case in the strata {', '.join(empty)}; give them no weight or report no standardised figure"
        )
    value = below = above = 0.0
    for name, weight in weights.items():
        if weight == 0:
            continue
        count, of = counts[name]
        share, limits = count / of, wilson(count, of, confidence)
        value += weight / total * share
        below += (weight / total * (share - limits.lower)) ** 2
        above += (weight / total * (limits.upper - share)) ** 2
    return Estimate(value, max(0.0, value - math.sqrt(below)), min(1.0, value + math.sqrt(above)))
