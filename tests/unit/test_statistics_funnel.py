import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statistics_vectors import vector

from shadow.assessment.statistics.funnel import (
    funnel_limit,
    funnel_limits,
    over_dispersion,
    smallest_passing_cell,
)
from shadow.assessment.statistics.proportions import clopper_pearson


def test_published_funnel_limits() -> None:
    published = vector("funnel-01")
    for of, expected in zip(published["inputs"]["n"], published["expected"]["limits"], strict=True):
        found = [funnel_limit(published["inputs"]["target"], of, p) for p in published["inputs"]["p"]]
        assert found == pytest.approx(expected, abs=1e-9)
        both = funnel_limits(published["inputs"]["target"], of)
        assert [both.alarm.lower, both.warning.lower, both.warning.upper, both.alarm.upper] == found


@given(st.floats(0.02, 0.98), st.integers(1, 300))
def test_a_funnel_lies_within_0_to_1_and_the_alarm_lies_outside_the_warning(target: float, of: int) -> None:
    for factor in (1.0, 2.5):
        found = funnel_limits(target, of, factor)
        assert 0 <= found.alarm.lower <= found.warning.lower <= found.warning.upper <= found.alarm.upper <= 1


@given(st.floats(0.5, 0.98), st.integers(5, 300), st.sampled_from([0.001, 0.025]))
def test_a_cell_below_its_limit_is_as_rare_as_promised(target: float, of: int, probability: float) -> None:
    from scipy.stats import binom

    limit = funnel_limit(target, of, probability)
    counts = np.arange(of + 1)
    below = binom.pmf(counts, of, target)[counts < limit * of - 1e-9].sum()
    assert below <= probability * (1 + 1e-9)


def test_one_positive_can_breach_no_lower_limit() -> None:
    assert funnel_limits(0.92, 1).alarm.lower == 0.0


def test_over_dispersed_limits_are_wider_by_the_root_of_the_factor() -> None:
    found = funnel_limits(0.5, 100, over_dispersion=4.0)
    assert found.warning.lower == pytest.approx(0.5 - 1.959963984540054 * 0.1, abs=1e-12)
    assert found.warning.upper == pytest.approx(0.5 + 1.959963984540054 * 0.1, abs=1e-12)
    assert funnel_limits(0.5, 100, over_dispersion=0.7) == funnel_limits(0.5, 100)


def test_the_over_dispersion_factor_by_hand() -> None:
    # z^2 of 0.5 against 0.5 is 0, of 60 and 40 in 100 is 4.
    found = over_dispersion([50, 60, 40, 0], [100, 100, 100, 0], 0.5, winsorised=0.0)
    assert found.factor == pytest.approx(8 / 3, abs=1e-12)
    assert found.p_value == pytest.approx(0.046011705689231, abs=1e-10)
    # Of five z from -4 to 4 the quarters stand at -2 and 2: the extremes are drawn in to these.
    drawn_in = over_dispersion([30, 40, 50, 60, 70], [100] * 5, 0.5, winsorised=0.25)
    assert drawn_in.factor == pytest.approx((4 * 4 + 0) / 5, abs=1e-12)


def test_one_bad_cell_among_many_hardly_widens_a_winsorised_funnel() -> None:
    detected, of = [92] * 19 + [60], [100] * 20
    assert over_dispersion(detected, of, 0.92, winsorised=0.0).factor > 5
    assert over_dispersion(detected, of, 0.92).factor < 1


def test_cells_that_scatter_by_chance_have_a_factor_near_1() -> None:
    random = np.random.default_rng(5)
    of = random.integers(50, 200, 4_000)
    found = over_dispersion(random.binomial(of, 0.9), of, 0.9, winsorised=0.0)
    assert found.factor == pytest.approx(1, abs=0.08) and found.p_value > 0.001


def test_no_cell_passes_before_the_published_size() -> None:
    floors = (0.80, 0.85, 0.88, 0.90, 0.95)
    assert [smallest_passing_cell(floor) for floor in floors] == [17, 23, 29, 36, 72]


@given(st.floats(0.5, 0.97), st.integers(0, 6))
def test_the_smallest_passing_cell_passes_and_one_smaller_does_not(floor: float, misses: int) -> None:
    found = smallest_passing_cell(floor, misses)
    assert clopper_pearson(found - misses, found, 0.95).lower >= floor - 1e-12
    if found > misses + 1:
        assert clopper_pearson(found - 1 - misses, found - 1, 0.95).lower < floor


@pytest.mark.parametrize("wrong", [0.0, 1.0, float("nan")])
def test_a_target_or_level_outside_0_to_1_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="target"):
        funnel_limit(wrong, 10, 0.5)
    with pytest.raises(ValueError, match="target"):
        funnel_limits(wrong, 10, 2.0)
    with pytest.raises(ValueError, match="target"):
        over_dispersion([1], [2], wrong)
    with pytest.raises(ValueError, match="probability"):
        funnel_limit(0.9, 10, wrong)
    with pytest.raises(ValueError, match="floor"):
        smallest_passing_cell(wrong)


def test_impossible_counts_are_refused() -> None:
    for factor in (1.0, 2.0):
        with pytest.raises(ValueError, match="of 0"):
            funnel_limits(0.9, 0, factor)
    with pytest.raises(ValueError, match="over_dispersion"):
        funnel_limits(0.9, 10, -1.0)
    for detected, of, word in [([3], [2], "detected"), ([1], [2, 3], "detected"), ([0], [0], "no cell")]:
        with pytest.raises(ValueError, match=word):
            over_dispersion(detected, of, 0.9)
    with pytest.raises(ValueError, match="winsorised"):
        over_dispersion([1], [2], 0.9, winsorised=0.5)
    with pytest.raises(ValueError, match="misses"):
        smallest_passing_cell(0.9, -1)
