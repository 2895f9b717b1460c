"""AUROC against pROC's and the FDA's figures, and against counting pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from statistics_vectors import vector

from shadow.assessment.statistics.roc import area_under_curve, compare_areas, curve, stratified_area


def test_delong_is_that_of_an_independent_implementation() -> None:
    inputs, expected = vector("auc-D1-delong")["inputs"], vector("auc-D1-delong")["expected"]
    found = compare_areas(inputs["y"], inputs["score1"], inputs["score2"])
    assert found.first.area == pytest.approx(expected["auc1"], abs=1e-12)
    assert (found.first.limits.lower, found.first.limits.upper) == pytest.approx(expected["auc1_ci"], abs=1e-12)
    assert found.first.variance == pytest.approx(expected["var1"], abs=1e-14)
    assert (found.second.area, found.second.variance) == pytest.approx((expected["auc2"], expected["var2"]), abs=1e-12)
    assert found.covariance == pytest.approx(expected["cov12"], abs=1e-14)
    assert (-found.statistic, found.p_value) == pytest.approx((expected["z"], expected["p"]), abs=1e-10)


def test_clusters_are_those_of_the_published_formula() -> None:
    inputs, expected = vector("auc-D1-clustered")["inputs"], vector("auc-D1-clustered")["expected"]
    found = compare_areas(inputs["y"], inputs["score1"], inputs["score2"], inputs["patient"])
    assert (found.first.variance, found.second.variance, found.covariance) == pytest.approx(
        (expected["var1"], expected["var2"], expected["cov12"]), abs=1e-14
    )
    assert (-found.statistic, found.p_value) == pytest.approx((expected["z"], expected["p"]), abs=1e-10)


SCORES = arrays.arrays(float, 24, elements=st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.9]))


@given(SCORES)
def test_the_area_is_the_share_of_pairs_in_order(score: np.ndarray) -> None:
    present = np.arange(24) % 3 == 0
    pairs = score[present][:, None] - score[~present][None, :]
    by_hand = float(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    found = area_under_curve(present, score)
    assert found.area == pytest.approx(by_hand)
    _, sensitivity, false_alarm = curve(present, score)
    assert float(np.trapezoid(sensitivity, false_alarm)) == pytest.approx(by_hand)
    alone = area_under_curve(present, score, cluster=np.arange(24))
    assert alone.variance == pytest.approx(found.variance, abs=1e-12)


def test_a_perfect_score_has_no_zero_width() -> None:
    found = area_under_curve([1] * 10 + [0] * 30, [0.9] * 10 + [0.1] * 30)
    assert (found.area, found.variance) == (1.0, 0.0)
    assert found.logit_limits.upper == 1 and found.logit_limits.lower == pytest.approx(0.025 ** (1 / 10))
    assert area_under_curve([0] * 10 + [1] * 30, [0.9] * 10 + [0.1] * 30).logit_limits.lower == 0


def test_equal_scores_do_not_differ() -> None:
    score = [0.1, 0.4, 0.35, 0.8]
    found = compare_areas([0, 0, 1, 1], score, score)
    assert (found.difference, found.p_value) == (0.0, 1.0)


def test_a_shift_of_one_sites_scores_spoils_the_pooled_area_and_not_the_stratified_one() -> None:
    generator = np.random.default_rng(8)
    present = generator.random(400) < 0.3
    site = np.repeat(["a", "b"], 200)
    score = generator.normal(present * 1.5) + np.where(site == "b", 5.0, 0.0)
    assert stratified_area(present, score, site) > area_under_curve(present, score).area + 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: area_under_curve([1, 1, 0], [0.1, 0.2, 0.3]),
        lambda: area_under_curve([1, 1, 0, 0], [0.1, 0.2, 0.3]),
        lambda: area_under_curve([1, 1, 0, 0], [0.1, 0.2, np.nan, 0.4]),
        lambda: area_under_curve([1, 1, 0, 0], [1, 2, 3, 4], cluster=[1, 1, 1, 1]),
        lambda: stratified_area([1, 1, 0, 0], [1, 2, 3, 4], ["a", "a"]),
        lambda: stratified_area([1, 1, 0, 0], [1, 2, 3, 4], ["a", "a", "b", "b"]),
    ],
)
def test_impossible_input_is_named(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"expected|no stratum"):
        wrong()  # type: ignore[operator]
