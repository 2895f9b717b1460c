"""Bands and e-processes against an independent implementation, numerical integration and their own definition."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaln
from statistics_vectors import vector

from shadow.assessment.statistics.sequential import (
    acceptance_lower_limit,
    confidence_sequence,
    log_acceptance_e_value,
    log_betting_process,
    log_episode_floor_process,
    log_floor_e_value,
    log_mixture_e_value,
    tuned_confidence_sequence,
)

COUNTS = st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


@pytest.mark.parametrize("identifier", ["cs-01", "cs-02"])
def test_the_band_is_that_of_an_independent_implementation(identifier: str) -> None:
    inputs, expected = vector(identifier)["inputs"], vector(identifier)["expected"]
    for prior, name in (((1.0, 1.0), "cs_beta11"), ((0.5, 0.5), "cs_beta_half")):
        band = confidence_sequence(inputs["s"], inputs["n"], inputs["alpha"], prior)
        assert (band.lower, band.upper) == pytest.approx(expected[name], abs=1e-10)
    found = log_mixture_e_value(inputs["s"], inputs["n"] - inputs["s"], inputs["p0"])
    assert found == pytest.approx(expected["log_e"], abs=1e-10)


def test_the_tuned_band_is_that_of_its_authors() -> None:
    inputs, expected = vector("cs-06")["inputs"], vector("cs-06")["expected"]
    band = tuned_confidence_sequence(inputs["s"], inputs["n"], inputs["alpha"], inputs["t_opt"])
    assert (band.lower, band.upper) == pytest.approx(expected["ci"], abs=1e-10)


@pytest.mark.parametrize(
    ("identifier", "process"),
    [
        ("efloor-01", log_floor_e_value),
        ("efloor-02", log_floor_e_value),
        ("eacc-01", log_acceptance_e_value),
    ],
)
def test_evidence_about_a_floor_is_the_integral_it_stands_for(
    identifier: str, process: Callable[..., np.ndarray]
) -> None:
    inputs = vector(identifier)["inputs"]
    prior = (inputs["a"], inputs["b"])
    found = process(inputs["detected"], inputs["missed"], inputs["p0"], prior)
    assert float(found) == pytest.approx(vector(identifier)["expected"]["log_e"], abs=1e-10)


@given(COUNTS, st.floats(0.05, 0.95))
def test_the_band_holds_the_estimate_and_every_p_that_it_should(case: tuple[int, int], p: float) -> None:
    detected, of = case
    band = confidence_sequence(detected, of)
    assert 0 <= band.lower <= detected / of <= band.upper <= 1
    inside = float(log_mixture_e_value(detected, of - detected, p, (9, 1))) < math.log(20)
    assert inside == (band.lower < p < band.upper)


def test_without_cases_the_band_is_everything_and_no_evidence_speaks() -> None:
    assert confidence_sequence(0, 0).lower == 0 and confidence_sequence(0, 0).upper == 1
    assert float(log_floor_e_value(0, 0, 0.8)) == 0 and float(log_acceptance_e_value(0, 0, 0.8)) == 0
    assert acceptance_lower_limit(0, 0) == 0


@given(COUNTS)
def test_the_acceptance_limit_is_where_the_evidence_reaches_one_in_forty(case: tuple[int, int]) -> None:
    detected, of = case
    limit = acceptance_lower_limit(detected, of)
    assert 0 <= limit <= detected / of
    if 0.01 < limit < detected / of:
        assert float(log_acceptance_e_value(detected, of - detected, limit)) == pytest.approx(math.log(40), abs=1e-6)


def test_the_expected_evidence_at_the_floor_is_one_and_below_one_above_it() -> None:
    for chance, most in ((0.88, 1.0), (0.95, 0.999)):
        hits = np.arange(13)
        weights = np.array([math.comb(12, k) * chance**k * (1 - chance) ** (12 - k) for k in hits])
        mean = float(weights @ np.exp(log_floor_e_value(hits, 12 - hits, 0.88)))
        assert mean <= most + 1e-12
    hits = np.arange(13)
    weights = np.array([math.comb(12, k) * 0.88**k * 0.12 ** (12 - k) for k in hits])
    assert float(weights @ np.exp(log_floor_e_value(hits, 12 - hits, 0.88))) == pytest.approx(1)
    assert float(weights @ np.exp(log_acceptance_e_value(hits, 12 - hits, 0.88))) == pytest.approx(1)


def test_evidence_stays_finite_with_ten_million_cases() -> None:
    many = float(log_acceptance_e_value(9_900_000, 100_000, 0.1))
    assert many == pytest.approx(1e7 * (0.99 * math.log(0.99 / 0.1) + 0.01 * math.log(0.01 / 0.9)), rel=1e-5)


def test_evidence_against_acceptance_is_right_where_its_mass_is_below_the_smallest_float() -> None:
    detected, missed, floor = 1_000, 99_000, 0.95

    def relative(p: float) -> float:  # the integrand as a multiple of its value at the floor
        return math.exp((detected + 8) * math.log(p / floor) + missed * (math.log1p(-p) - math.log1p(-floor)))

    mass = quad(relative, floor, 0.951, epsabs=0, epsrel=1e-10)[0]
    prior = betaln(9, 1) + math.log1p(-(floor**9))
    expected = math.log(mass) + 8 * math.log(floor) - prior
    assert float(log_acceptance_e_value(detected, missed, floor)) == pytest.approx(expected, abs=1e-6)


def test_one_study_an_episode_is_the_plain_process() -> None:
    hits = np.array([1, 1, 0, 1, 0, 0, 1, 1])
    path = log_episode_floor_process(hits, np.ones(8), 0.9)
    plain = log_floor_e_value(np.cumsum(hits), np.cumsum(1 - hits), 0.9)
    assert path == pytest.approx(plain, abs=1e-9)


def test_a_patient_scanned_six_times_counts_as_one_and_not_as_six() -> None:
    six_scans_of_one = float(log_episode_floor_process([0], [6], 0.9)[-1])
    one_scan = float(log_episode_floor_process([0], [1], 0.9)[-1])
    assert six_scans_of_one == pytest.approx(one_scan)
    assert one_scan < float(log_floor_e_value(0, 6, 0.9))


def test_bets_on_halves_are_the_average_over_stakes() -> None:
    stakes = (np.arange(20) + 0.5) / 20 / 0.2
    by_hand = np.mean([(1 - s * (0.5 - 0.8)) * (1 - s * (1 - 0.8)) for s in stakes])
    assert float(np.exp(log_betting_process([0.5, 1.0], 0.8)[-1])) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: confidence_sequence(5, 4),
        lambda: confidence_sequence(1, 4, alpha=0),
        lambda: confidence_sequence(1, 4, prior=(0, 1)),
        lambda: tuned_confidence_sequence(1, 4, tuned_for=0),
        lambda: log_floor_e_value(-1, 4, 0.8),
        lambda: log_floor_e_value(1, 4, 1.0),
        lambda: log_episode_floor_process([2], [1], 0.8),
        lambda: log_betting_process([1.2], 0.8),
        lambda: acceptance_lower_limit(1, 4, alpha=1),
    ],
)
def test_impossible_input_is_named(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"proportion|alpha|prior|tuned_for|count|floor|episode|outcomes"):
        wrong()
