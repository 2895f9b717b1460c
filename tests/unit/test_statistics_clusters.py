"""Studies nested in patients: R survey's digits, the naive limit, and intervals that never collapse."""

from __future__ import annotations

import numpy as np
import pytest
from statistics_vectors import vector

from shadow.assessment.statistics.clusters import (
    cluster_bootstrap,
    clustered_difference,
    clustered_proportion,
    logit_sandwich_error,
)
from shadow.assessment.statistics.proportions import clopper_pearson, wilson

INPUTS = vector("clus-01")["inputs"]
DETECTED, POSITIVES = INPUTS["detected_per_patient"], INPUTS["positives_per_patient"]


def test_the_ratio_estimator_is_that_of_the_survey_package() -> None:
    found, expected = clustered_proportion(DETECTED, POSITIVES), vector("clus-01")["expected"]
    assert (found.proportion, found.standard_error) == pytest.approx((expected["p"], expected["se"]), abs=1e-12)
    assert (found.limits.lower, found.limits.upper) == pytest.approx(expected["logit_t_ci"], abs=1e-9)
    assert found.method == "logit-t" and (found.patients, found.studies) == (20, 37)
    assert found.per_patient == pytest.approx(17 / 20)


def test_the_sandwich_is_that_of_a_gee_with_working_independence() -> None:
    expected = vector("clus-02")["expected"]
    assert logit_sandwich_error(DETECTED, POSITIVES) == pytest.approx(
        (expected["logit"], expected["robust_se"]), abs=1e-9
    )


def test_patients_without_a_positive_study_change_nothing() -> None:
    assert clustered_proportion([*DETECTED, 0, 0], [*POSITIVES, 0, 0]) == clustered_proportion(DETECTED, POSITIVES)


def test_when_all_are_detected_the_interval_is_that_of_the_patients_and_not_of_zero_width() -> None:
    found = clustered_proportion([2, 3, 1, 1], [2, 3, 1, 1])
    exact = clopper_pearson(4, 4, 0.95)
    assert found.method == "exact-patients" and (found.limits.lower, found.limits.upper) == (exact.lower, 1.0)
    none = clustered_proportion([0, 0, 0], [1, 2, 1])
    assert none.limits.lower == 0 and none.limits.upper == pytest.approx(clopper_pearson(0, 3, 0.95).upper)


def test_near_one_the_interval_is_wilsons_at_the_effective_number() -> None:
    detected, positives = np.ones(100), np.ones(100)
    detected[0] = 0
    found = clustered_proportion(detected, positives)
    assert found.method == "wilson-effective"
    assert found.design_effect is not None
    assert found.limits.upper < 1 and abs(found.limits.lower - wilson(99, 100).lower) < 0.003


def test_two_models_on_the_same_patients_differ_by_the_difference_of_their_estimates() -> None:
    generator = np.random.default_rng(4)
    positives = generator.integers(1, 4, 60)
    first, second = generator.binomial(positives, 0.7), generator.binomial(positives, 0.9)
    found = clustered_difference(first, second, positives)
    gap = clustered_proportion(second, positives).proportion - clustered_proportion(first, positives).proportion
    assert found.difference == pytest.approx(gap) and found.limits.lower < gap < found.limits.upper
    assert found.p_value < 0.01
    assert clustered_difference(first, first, positives).p_value == 1.0


def test_resampling_patients_gives_wider_limits_than_resampling_studies() -> None:
    generator = np.random.default_rng(5)
    patient = np.repeat(np.arange(60), 6)
    outcome = np.repeat(generator.random(60) < 0.7, 6).astype(float)
    by_patient = cluster_bootstrap(lambda rows: float(outcome[rows].mean()), patient, np.random.default_rng(1), 800)
    by_study = cluster_bootstrap(
        lambda rows: float(outcome[rows].mean()), np.arange(patient.size), np.random.default_rng(1), 800
    )
    assert by_patient.upper - by_patient.lower > 2 * (by_study.upper - by_study.lower)


def test_the_bootstrap_of_a_skewed_mean_leans_as_bca_should() -> None:
    values = np.random.default_rng(6).exponential(1.0, 40)
    found = cluster_bootstrap(lambda rows: float(values[rows].mean()), np.arange(40), np.random.default_rng(2), 4000)
    mean = float(values.mean())
    assert found.upper - mean > mean - found.lower > 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: clustered_proportion([2], [1]),
        lambda: clustered_proportion([1], [1]),
        lambda: clustered_proportion([1, 1], [1, 1, 1]),
        lambda: logit_sandwich_error([1, 1], [1, 1]),
        lambda: cluster_bootstrap(lambda _: 1.0, [1, 1], np.random.default_rng(1)),
        lambda: cluster_bootstrap(lambda _: float("nan"), [1, 2], np.random.default_rng(1)),
    ],
)
def test_impossible_input_is_named(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"expected|not finite|not a number"):
        wrong()  # type: ignore[operator]
