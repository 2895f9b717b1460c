"""Weekly detectors against brute force, an independent implementation and published run lengths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statistics_vectors import vector

from shadow.assessment.statistics.detectors import (
    alarm_threshold,
    block_e_value,
    cusum_run_length,
    log_cell_below_rest,
    log_shiryaev_roberts,
    log_two_sample_plug_in,
    risk_adjusted_cusum,
    risk_adjusted_scores,
)


def test_the_detector_is_the_sum_over_every_week_of_change() -> None:
    inputs = vector("sr-01")["inputs"]
    found = log_shiryaev_roberts(inputs["detected"], inputs["n"], inputs["p0"], inputs["deltas"])
    assert np.exp(found) == pytest.approx(vector("sr-01")["expected"]["M"], abs=1e-9)


def test_many_cells_at_once_are_each_cell_alone() -> None:
    generator = np.random.default_rng(3)
    of = generator.integers(0, 6, (4, 3, 20))
    detected = generator.binomial(of, 0.85)
    together = log_shiryaev_roberts(detected, of, 0.88)
    for row, column in itertools.product(range(4), range(3)):
        alone = log_shiryaev_roberts(detected[row, column], of[row, column], 0.88)
        assert together[row, column] == pytest.approx(alone)


def test_a_week_without_cases_still_counts_as_a_week() -> None:
    assert np.exp(log_shiryaev_roberts([0, 0, 0], [0, 0, 0], 0.9)) == pytest.approx([1, 2, 3])
    assert np.exp(log_shiryaev_roberts([0], [0], 0.9, head_start=4.0)) == pytest.approx([5])


def test_the_threshold_pays_for_horizon_family_and_head_start() -> None:
    assert alarm_threshold(52, 0.05, 0.1, head_start=8) == pytest.approx(60 / 0.005)


@pytest.mark.parametrize("identifier", ["e2x2-01"])
def test_one_block_is_that_of_its_authors(identifier: str) -> None:
    inputs = vector(identifier)["inputs"]
    (hits, of), (rest_hits, rest_of) = inputs["sub"], inputs["rest"]
    found = block_e_value((hits, rest_hits), (of, rest_of), tuple(inputs["alt"]))
    assert found == pytest.approx(vector(identifier)["expected"]["e"], abs=1e-10)


def test_the_plug_in_process_is_that_of_its_authors() -> None:
    inputs = vector("e2x2-02")["inputs"]
    ones = np.ones(10)
    path = log_two_sample_plug_in(inputs["a"], ones, inputs["b"], ones, inputs["prior"])
    assert math.exp(path[-1]) == pytest.approx(vector("e2x2-02")["expected"]["e"], abs=1e-9)


@given(st.floats(0.3, 0.99), st.integers(1, 4), st.integers(1, 6))
def test_a_week_of_equal_groups_brings_at_most_one_expected(chance: float, of: int, rest_of: int) -> None:
    mean = 0.0
    for hits, rest_hits in itertools.product(range(of + 1), range(rest_of + 1)):
        weight = math.comb(of, hits) * math.comb(rest_of, rest_hits)
        weight *= chance ** (hits + rest_hits) * (1 - chance) ** (of + rest_of - hits - rest_hits)
        mean += weight * math.exp(log_cell_below_rest([hits], [of], [rest_hits], [rest_of])[-1])
    assert mean <= 1 + 1e-12


def test_a_cell_better_than_the_rest_brings_no_evidence_and_one_below_does() -> None:
    tens = np.full(30, 10)
    assert log_cell_below_rest(tens, tens, np.full(30, 7), tens)[-1] < 0
    assert log_cell_below_rest(np.full(30, 7), tens, np.full(30, 9), tens)[-1] > math.log(1000)


def test_a_week_with_only_one_side_says_nothing() -> None:
    assert log_cell_below_rest([0, 0], [3, 0], [0, 5], [0, 5]).tolist() == [0, 0]


def test_run_lengths_are_the_published_ones() -> None:
    inputs, expected = vector("arl-01")["inputs"], vector("arl-01")["expected"]
    ratio, chance = inputs["odds_ratio"], inputs["p0"]
    for limit, arl0, arl1 in zip(inputs["h"], expected["arl0"], expected["arl1"], strict=True):
        assert cusum_run_length(chance, chance, ratio, limit) == pytest.approx(arl0, abs=0.3)
        assert cusum_run_length(0.2, chance, ratio, limit) == pytest.approx(arl1, abs=0.02)


def test_scores_cost_nothing_on_average_only_under_the_alternative() -> None:
    without, with_event = (float(one) for one in risk_adjusted_scores(0.08, 2.875))
    assert 0.92 * math.exp(without) + 0.08 * math.exp(with_event) == pytest.approx(1)  # a likelihood ratio
    path = risk_adjusted_cusum([0, 0, 1, 0], [0.08] * 4, 2.875)
    assert path == pytest.approx([0, 0, with_event, with_event + without])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: log_shiryaev_roberts([1], [1, 2], 0.9),
        lambda: log_shiryaev_roberts([3], [2], 0.9),
        lambda: log_shiryaev_roberts([1], [2], 1.0),
        lambda: log_shiryaev_roberts([1], [2], 0.01, drops=(0.02,)),
        lambda: log_shiryaev_roberts([1], [2], 0.9, head_start=-1),
        lambda: alarm_threshold(0, 0.05),
        lambda: alarm_threshold(52, 0.05, 0),
        lambda: block_e_value((1, 1), (2, 2), (0.5, 1.5)),
        lambda: log_cell_below_rest([1], [2], [1], [2], deficits=()),
        lambda: risk_adjusted_scores(0.0, 2),
        lambda: risk_adjusted_cusum([1], [0.1, 0.2], 2),
        lambda: cusum_run_length(0.1, 0.1, 2, 0),
    ],
)
def test_impossible_input_is_named(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        wrong()
