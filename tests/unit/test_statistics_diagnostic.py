"""Fourfold tables against published figures, and what is not defined stays undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statistics_vectors import vector

from shadow.assessment.statistics.case_mix import episodes_of, standardised_proportion
from shadow.assessment.statistics.diagnostic import (
    Estimate,
    FourfoldTable,
    accuracy_of,
    intention_to_diagnose,
    predictive_values_at,
    proportion_estimate,
    ratio_of_proportions,
)


def figures(one: Estimate) -> tuple[float | None, float | None, float | None]:
    return one.value, one.lower, one.upper


def table_of(inputs: dict[str, int]) -> FourfoldTable:
    return FourfoldTable(inputs["tp"], inputs["fn"], inputs["fp"], inputs["tn"])


def test_a_published_table_is_reproduced_figure_by_figure() -> None:
    found, expected = accuracy_of(table_of(vector("acc-01")["inputs"])), vector("acc-01")["expected"]
    pairs = {
        "lr_pos": found.positive_likelihood_ratio,
        "lr_neg": found.negative_likelihood_ratio,
        "sens": found.sensitivity,
        "spec": found.specificity,
        "ppv": found.positive_predictive_value,
        "npv": found.negative_predictive_value,
    }
    for name, one in pairs.items():
        assert figures(one) == pytest.approx(expected[name], abs=1e-9), name
    odds = found.diagnostic_odds_ratio
    assert odds.value == pytest.approx(670 * 640 / (202 * 74))
    assert odds.lower is not None and odds.upper is not None
    assert math.log(odds.upper / odds.lower) / 2 == pytest.approx(
        1.959964 * math.sqrt(1 / 670 + 1 / 74 + 1 / 202 + 1 / 640)
    )
    assert found.youden.value == pytest.approx(670 / 744 + 640 / 842 - 1)
    assert found.accuracy.value == pytest.approx(1310 / 1586)


def test_predictive_values_at_a_target_prevalence_are_the_published_ones() -> None:
    inputs, expected = vector("ppv-01")["inputs"], vector("ppv-01")["expected"]
    positive, negative = predictive_values_at(table_of(inputs), inputs["prevalence"])
    assert figures(positive) == pytest.approx(expected["ppv"], abs=1e-10)
    assert figures(negative) == pytest.approx(expected["npv"], abs=1e-10)


def test_a_perfect_specificity_has_a_predictive_value_and_no_interval() -> None:
    positive, _ = predictive_values_at(FourfoldTable(9, 1, 0, 20), 0.1)
    assert figures(positive) == (1.0, None, None)
    assert predictive_values_at(FourfoldTable(0, 0, 3, 4), 0.1)[0] == Estimate(None, None, None)


def test_failures_count_by_intention_to_diagnose() -> None:
    inputs, expected = vector("itd-01")["inputs"], vector("itd-01")["expected"]
    found = intention_to_diagnose(table_of(inputs), inputs["failed_pos"], inputs["failed_neg"])
    assert figures(found.sensitivity_per_protocol) == pytest.approx(expected["sens_per_protocol"], abs=1e-9)
    assert figures(found.sensitivity) == pytest.approx(expected["sens_itd"], abs=1e-9)
    assert found.specificity_per_protocol.value == pytest.approx(expected["spec_per_protocol"])
    assert found.specificity_failed_as_false_positive.value == pytest.approx(expected["spec_itd_failed_as_fp"])
    assert found.specificity_failed_as_no_alert.value == pytest.approx(840 / 900)
    assert found.evaluable_fraction.value == pytest.approx(expected["evaluable_fraction"])


def test_a_ratio_with_an_empty_cell_gets_one_honest_end_and_nothing_added() -> None:
    infinite = ratio_of_proportions(9, 10, 0, 20)
    assert infinite.value == math.inf and infinite.upper is None and infinite.lower is not None and infinite.lower > 1
    none = ratio_of_proportions(0, 10, 5, 20)
    assert none.value == 0 and none.lower is None and none.upper is not None
    assert ratio_of_proportions(0, 10, 0, 20).value is None
    assert proportion_estimate(0, 0).value is None


def test_an_episode_is_all_of_a_patient_within_a_week_of_the_first() -> None:
    found = episodes_of(["b", "a", "a", "a", "a"], [5, 7, 0, 7.1, 20], [1, 1, 0, 1, 0])
    assert found.patient.tolist() == ["a", "a", "a", "b"]
    assert found.begins_at.tolist() == [0, 7.1, 20, 5]
    assert found.studies.tolist() == [2, 1, 1, 1]
    assert found.detected.tolist() == [1, 1, 0, 1]
    assert found.number.tolist() == [1, 2, 3, 1]
    assert episodes_of([], [], []).studies.size == 0


def test_a_standardised_figure_is_that_of_the_reference_mix() -> None:
    counts = {"large": (95, 100), "small": (10, 20)}
    same = standardised_proportion(counts, {"large": 100, "small": 20})
    assert same.value == pytest.approx(105 / 120)
    other = standardised_proportion(counts, {"large": 0.5, "small": 0.5})
    assert other.value == pytest.approx(0.725)
    assert other.lower is not None and other.upper is not None and 0 < other.lower < 0.725 < other.upper < 1
    one = standardised_proportion({"large": (20, 20)}, {"large": 1.0})
    assert one.upper == 1 and one.lower == pytest.approx(proportion_estimate(20, 20).lower)
    with pytest.raises(ValueError, match="small"):
        standardised_proportion({"large": (5, 5), "small": (0, 0)}, {"large": 0.5, "small": 0.5})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FourfoldTable(1, -1, 0, 0),
        lambda: predictive_values_at(FourfoldTable(1, 1, 1, 1), 1.0),
        lambda: intention_to_diagnose(FourfoldTable(1, 1, 1, 1), -1, 0),
        lambda: ratio_of_proportions(3, 2, 1, 2),
        lambda: episodes_of(["a"], [np.nan], [True]),
        lambda: standardised_proportion({"a": (1, 2)}, {"a": 0.0}),
    ],
)
def test_impossible_input_is_named(wrong: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        wrong()  # type: ignore[operator]
