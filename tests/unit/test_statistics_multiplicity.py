from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statistics_vectors import vector

from shadow.assessment.statistics.multiplicity import (
    benjamini_hochberg,
    benjamini_yekutieli,
    bonferroni,
    e_benjamini_hochberg,
    e_to_p,
    hochberg,
    holm,
    mean_e_value,
    p_to_e,
    weighted_bonferroni,
    weighted_holm,
)

ADJUSTMENTS = [bonferroni, holm, hochberg, benjamini_hochberg, benjamini_yekutieli]
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(("adjust", "name"), [(holm, "holm"), (benjamini_hochberg, "bh"), (benjamini_yekutieli, "by")])
def test_adjusted_p_values_of_a_published_family(adjust: Callable[..., np.ndarray], name: str) -> None:
    published = vector("mult-01")
    assert adjust(published["inputs"]["p"]) == pytest.approx(published["expected"][name], abs=1e-9)


@pytest.mark.parametrize(
    ("adjust", "method"),
    [
        (bonferroni, "bonferroni"),
        (holm, "holm"),
        (hochberg, "simes-hochberg"),
        (benjamini_hochberg, "fdr_bh"),
        (benjamini_yekutieli, "fdr_by"),
    ],
)
def test_an_independent_implementation_agrees_with_ties_and_in_any_order(
    adjust: Callable[..., np.ndarray], method: str
) -> None:
    from statsmodels.stats.multitest import multipletests

    random = np.random.default_rng(7)
    for size in (1, 2, 5, 40):
        p_values = np.round(random.beta(0.4, 1.5, size), 2)
        assert adjust(p_values) == pytest.approx(multipletests(p_values, method=method)[1], abs=1e-12)


@given(P_VALUES)
def test_the_answer_follows_its_hypothesis_through_any_reordering(p_values: list[float]) -> None:
    order = np.random.default_rng(len(p_values)).permutation(len(p_values))
    for adjust in ADJUSTMENTS:
        assert adjust(np.array(p_values)[order]) == pytest.approx(adjust(p_values)[order], abs=1e-15)


@given(P_VALUES)
def test_methods_are_ordered_by_what_they_promise(p_values: list[float]) -> None:
    by_bonferroni, by_holm, by_hochberg, by_bh, by_by = (adjust(p_values) for adjust in ADJUSTMENTS)
    slack = 1e-12
    assert np.all(np.asarray(p_values) <= by_bh + slack) and np.all(by_bh <= by_hochberg + slack)
    assert np.all(by_hochberg <= by_holm + slack) and np.all(by_holm <= by_bonferroni + slack)
    assert np.all(by_bh <= by_by + slack) and np.all(by_bonferroni <= 1)


@given(P_VALUES)
def test_equal_weights_change_nothing(p_values: list[float]) -> None:
    weights = [3.0] * len(p_values)
    assert weighted_bonferroni(p_values, weights) == pytest.approx(bonferroni(p_values), abs=1e-12)
    assert weighted_holm(p_values, weights) == pytest.approx(holm(p_values), abs=1e-12)


@given(st.data())
def test_weighted_holm_rejects_what_the_closed_weighted_bonferroni_test_rejects(data: st.DataObject) -> None:
    from itertools import chain, combinations

    size = data.draw(st.integers(1, 5))
    p_values = data.draw(st.lists(st.floats(1e-6, 1), min_size=size, max_size=size))
    weights = data.draw(st.lists(st.floats(0.05, 1), min_size=size, max_size=size))
    found = weighted_holm(p_values, weights)
    subsets = list(chain.from_iterable(combinations(range(size), k) for k in range(1, size + 1)))
    for one in range(size):
        # Closure: each intersection that holds the hypothesis, tested by Bonferroni with its weights renormalised.
        closed = max(
            min(1.0, min(p_values[i] * sum(weights[j] for j in subset) / weights[i] for i in subset))
            for subset in subsets
            if one in subset
        )
        assert found[one] == pytest.approx(closed, rel=1e-9)


def test_a_hypothesis_without_weight_gets_no_alpha() -> None:
    assert weighted_bonferroni([0.0, 0.01], [0, 1]).tolist() == [1.0, 0.01]
    assert weighted_holm([0.0, 0.01], [0, 1]).tolist() == [1.0, 0.01]


def test_a_p_value_of_zero_stays_zero() -> None:
    for adjust in ADJUSTMENTS:
        assert adjust([0.0, 1.0]).tolist() == [0.0, 1.0]


def test_the_e_bh_list_of_an_independent_implementation() -> None:
    published = vector("ebh-01")
    found = e_benjamini_hochberg(published["inputs"]["e"], published["inputs"]["alpha"])
    assert found.astype(int).tolist() == published["expected"]["reject"]


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=12))
def test_e_bh_is_bh_on_inverse_e_values(e_values: list[float]) -> None:
    by_p = benjamini_hochberg(np.minimum(1, 1 / np.array(e_values)))
    # Where BH meets alpha to the last digits either answer is right.
    if not np.any(np.isclose(by_p, 0.1, rtol=1e-9)):
        assert e_benjamini_hochberg(e_values, 0.1).tolist() == (by_p <= 0.1).tolist()


def test_an_e_value_exactly_at_its_bound_is_on_the_list() -> None:
    assert e_benjamini_hochberg([30.0, 1.0, 1.0], 0.1).tolist() == [True, False, False]
    assert e_benjamini_hochberg([29.999, 1.0, 1.0], 0.1).tolist() == [False, False, False]
    # 43 x 0.07 is no exact float: 1 / 0.07 = 14.2857... must still count as reached.
    assert e_benjamini_hochberg([1 / 0.07] * 43, 0.07).all()


def test_an_e_value_without_bound_is_a_p_value_of_zero() -> None:
    assert e_to_p([np.inf, 0.0, 1.0, 40.0]).tolist() == [0.0, 1.0, 1.0, 0.025]
    assert e_benjamini_hochberg([np.inf, 0.0], 0.05).tolist() == [True, False]


def test_the_calibrator_has_mean_one_under_the_null() -> None:
    for kappa in (0.2, 0.5, 0.9):
        grid = (np.arange(200_000) + 0.5) / 200_000
        assert float(np.mean(p_to_e(grid**4, kappa) * 4 * grid**3)) == pytest.approx(1, abs=2e-3)
    assert p_to_e([0.0]).tolist() == [np.inf]


def test_a_mean_of_e_values_keeps_the_weights_of_the_plan() -> None:
    assert mean_e_value([10.0, 1.0, 4.0]) == 5.0
    assert mean_e_value([10.0, 1.0], [1, 3]) == 3.25
    assert mean_e_value([np.inf, 1.0], [0, 1]) == 1.0


@pytest.mark.parametrize("wrong", [[], [0.5, -0.1], [1.1], [float("nan")], [[0.1]]])
def test_what_is_no_p_value_is_refused(wrong: list[float]) -> None:
    for adjust in [*ADJUSTMENTS, p_to_e]:
        with pytest.raises(ValueError, match="p_values"):
            adjust(wrong)


@pytest.mark.parametrize("wrong", [[], [-1.0], [float("nan")]])
def test_what_is_no_e_value_is_refused(wrong: list[float]) -> None:
    for use in (e_to_p, mean_e_value):
        with pytest.raises(ValueError, match="e_values"):
            use(wrong)
    with pytest.raises(ValueError, match="e_values"):
        e_benjamini_hochberg(wrong, 0.1)


@pytest.mark.parametrize("wrong", [[1.0], [0.0, 0.0], [1.0, -1.0], [1.0, float("inf")]])
def test_what_is_no_weight_is_refused(wrong: list[float]) -> None:
    for adjust in (weighted_bonferroni, weighted_holm):
        with pytest.raises(ValueError, match="weights"):
            adjust([0.1, 0.2], wrong)
    with pytest.raises(ValueError, match="weights"):
        mean_e_value([1.0, 2.0], wrong)


def test_a_level_or_calibrator_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        e_benjamini_hochberg([1.0], 0.0)
    with pytest.raises(ValueError, match="kappa"):
        p_to_e([0.1], 1.0)
