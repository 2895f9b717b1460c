"""The replayed worklist: slots are kept, nobody is read before arrival, what one gains others lose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.assessment.statistics.triage import minutes_saved, replay_worklist

WORKLISTS = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def worklist(generator: np.random.Generator, studies: int = 60) -> tuple[np.ndarray, np.ndarray]:
    arrived = np.sort(generator.uniform(0, 3000, studies))
    begun, free = np.empty(studies), 0.0
    for one in range(studies):
        free = max(free + generator.exponential(40), arrived[one])
        begun[one] = free
    return arrived, begun


@given(WORKLISTS)
def test_slots_are_kept_and_no_study_is_begun_before_it_arrived(generator: np.random.Generator) -> None:
    arrived, begun = worklist(generator)
    flagged = generator.random(60) < 0.3
    available = arrived + generator.exponential(10, 60)
    replayed = replay_worklist(arrived, begun, flagged, available)
    assert np.sort(replayed) == pytest.approx(np.sort(begun))
    assert (replayed >= arrived - 1e-9).all()
    assert (begun[flagged] - replayed[flagged]).sum() >= -1e-6


@given(WORKLISTS)
def test_without_a_flag_in_time_nothing_moves(generator: np.random.Generator) -> None:
    arrived, begun = worklist(generator)
    none = replay_worklist(arrived, begun, np.zeros(60), np.zeros(60))
    late = replay_worklist(arrived, begun, np.ones(60), np.full(60, np.nan))
    assert none == pytest.approx(begun) and late == pytest.approx(begun)


def test_a_flag_that_comes_after_the_reading_saves_nothing() -> None:
    assert replay_worklist([0, 0], [10, 20], [False, True], [0, 11]).tolist() == [10, 20]
    assert replay_worklist([0, 0], [10, 20], [False, True], [0, 10]).tolist() == [20, 10]


def test_what_positives_gain_others_lose_and_nights_are_told_apart() -> None:
    generator = np.random.default_rng(1)
    arrived, begun = worklist(generator, 400)
    present = generator.random(400) < 0.15
    flagged = np.where(present, generator.random(400) < 0.9, generator.random(400) < 0.05)
    shift = ["Night" if one % 2 else "Day" for one in range(400)]
    found = minutes_saved(arrived, begun, flagged, arrived + 2, present, shift, generator)
    of = {(one.shift, one.present): one for one in found}
    assert set(of) == {(name, kind) for name in ("all", "Day", "Night") for kind in (True, False)}
    gained, lost = of["all", True], of["all", False]
    assert gained.mean > 0 > lost.mean
    assert gained.mean * gained.studies + lost.mean * lost.studies == pytest.approx(0, abs=1e-6)
    assert gained.limits is not None and gained.limits.lower < gained.mean < gained.limits.upper


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: replay_worklist([0], [1, 2], [0], [0]),
        lambda: replay_worklist([5], [1], [0], [0]),
        lambda: minutes_saved([0], [1], [0], [0], [1, 0], ["Day"], np.random.default_rng(1)),
    ],
)
def test_impossible_input_is_named(wrong: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        wrong()  # type: ignore[operator]
