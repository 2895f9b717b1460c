"""Intervals of one proportion against printed digits, their definition, and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import bdtr, bdtrc
from statistics_vectors import VECTORS, vector

from shadow.assessment.statistics.proportions import (
    agresti_coull,
    blaker,
    clopper_pearson,
    clopper_pearson_many,
    jeffreys,
    mid_p,
    wilson,
    wilson_many,
)

COUNTS = st.integers(1, 120).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))
JEFFREYS = [one for one in VECTORS.values() if "jeffreys" in one["expected"]]


@pytest.mark.parametrize("one", JEFFREYS, ids=[one["id"] for one in JEFFREYS])
def test_jeffreys_agrees_with_printed_digits_and_its_endpoint_rule(one: dict[str, dict[str, float]]) -> None:
    found = jeffreys(*(one["inputs"][name] for name in ("x", "n", "conf")))
    assert (found.lower, found.upper) == pytest.approx(one["expected"]["jeffreys"], abs=1e-9)


def test_jeffreys_mirrors() -> None:
    assert jeffreys(20, 20, 0.95).upper == 1
    assert jeffreys(20, 20, 0.95).lower == pytest.approx(1 - jeffreys(0, 20, 0.95).upper)


@given(COUNTS)
def test_half_of_the_observed_value_makes_the_mid_p_limits(case: tuple[int, int]) -> None:
    count, of = case
    found = mid_p(count, of, 0.95)

    def tail(p: float) -> float:
        return float((bdtrc(count - 1, of, p) if count else 1.0) + bdtrc(count, of, p)) / 2

    if count > 0:
        assert tail(found.lower) == pytest.approx(0.025, abs=1e-9)
    if count < of:
        assert tail(found.upper) == pytest.approx(0.975, abs=1e-9)


def acceptability(count: int, of: int, p: float) -> float:
    values = np.arange(of + 1)
    at_most = bdtr(values, of, p)
    at_least = np.concatenate([[1.0], bdtrc(values[:-1], of, p)])
    smaller, others = min((at_most[count], at_least), (at_least[count], at_most), key=lambda pair: float(pair[0]))
    fitting = others[others <= smaller * (1 + 1e-12)]
    return min(1.0, float(smaller + (fitting.max() if fitting.size else 0.0)))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40).flatmap(lambda of: st.tuples(st.integers(1, of - 1), st.just(of))))
def test_blakers_limits_are_where_the_acceptable_values_begin_and_end(case: tuple[int, int]) -> None:
    count, of = case
    found, exact = blaker(count, of, 0.95), clopper_pearson(count, of, 0.95)
    assert exact.lower - 1e-12 <= found.lower < found.upper <= exact.upper + 1e-12
    outside = [*np.linspace(exact.lower, found.lower - 1e-7, 60), *np.linspace(found.upper + 1e-7, exact.upper, 60)]
    assert all(acceptability(count, of, p) < 0.05 + 1e-9 for p in outside if 0 < p < 1)
    assert acceptability(count, of, found.lower + 1e-9) >= 0.05 - 1e-6


def test_blaker_on_a_grid_is_that_of_the_published_software() -> None:
    low, high = vector("rg-01")["expected"]["ci"]
    found = blaker(4, 80, 0.95, step=1e-4)
    assert (found.lower, found.upper) == pytest.approx((low * 0.89 + 0.01, high * 0.89 + 0.01), abs=1e-9)
    sharp = blaker(4, 80, 0.95)
    assert found.lower <= sharp.lower < found.lower + 1e-4 and found.upper - 1e-4 < sharp.upper <= found.upper


def test_many_groups_at_once_are_each_alone() -> None:
    counts, of = np.array([0, 3, 20, 46]), np.array([20, 20, 20, 50])
    for many, alone in (
        (wilson_many(counts, of, 0.95), wilson),
        (clopper_pearson_many(counts, of, 0.95), clopper_pearson),
    ):
        for row, (count, total) in enumerate(zip(counts, of, strict=True)):
            single = alone(int(count), int(total), 0.95)
            assert (many[0][row], many[1][row]) == pytest.approx((single.lower, single.upper), abs=1e-12)


@given(COUNTS)
def test_agresti_and_coull_share_the_wilson_midpoint_and_are_no_shorter(case: tuple[int, int]) -> None:
    count, of = case
    found, score = agresti_coull(count, of, 0.95), wilson(count, of)
    assert found.lower <= score.lower + 1e-12 and found.upper >= score.upper - 1e-12


def test_impossible_counts_are_refused() -> None:
    for interval in (mid_p, jeffreys, blaker, agresti_coull):
        with pytest.raises(ValueError, match="5 of 4"):
            interval(5, 4, 0.95)
    for many in (wilson_many, clopper_pearson_many):
        with pytest.raises(ValueError, match="counts"):
            many(np.array([1]), np.array([0]), 0.95)
