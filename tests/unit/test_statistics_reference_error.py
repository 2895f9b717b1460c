"""Errors of the reference standard: published corrections, R survey's digits, sharp bounds."""

from __future__ import annotations

import numpy as np
import pytest
from statistics_vectors import vector

from shadow.assessment.statistics.reference_error import (
    AdjudicatedStratum,
    VerifiedTable,
    adjudicated_accuracy,
    apparent_sensitivity,
    begg_greenes,
    missing_bounds,
    pending_bounds,
    prevalence,
    prevalence_with_uncertain_test,
)


def test_unadjudicated_reports_flatter_a_model_that_misses_what_readers_miss() -> None:
    inputs = vector("appse-01")["inputs"]
    found = apparent_sensitivity(*inputs.values())
    assert found == pytest.approx(vector("appse-01")["expected"]["apparent"], abs=1e-12)
    assert apparent_sensitivity(0.8, 0.9, 0.9) == pytest.approx(0.8)


def test_rogan_and_gladen_with_blakers_interval() -> None:
    inputs, expected = vector("rg-01")["inputs"], vector("rg-01")["expected"]
    found = prevalence(inputs["pos"], inputs["n"], inputs["se"], inputs["sp"], inputs["conf"], "blaker")
    assert found.value == pytest.approx(expected["prev"], abs=1e-12)
    assert (found.lower, found.upper) == pytest.approx(expected["ci"], abs=1e-9)
    assert prevalence(0, 80, 0.9, 0.95).value == 0.0
    assert prevalence(4, 80, 0.9, 0.99, interval="clopper-pearson").lower == pytest.approx(
        (0.013789393976461808 - 0.01) / 0.89
    )


def test_an_uncertain_test_widens_the_interval() -> None:
    sure, unsure = (prevalence_with_uncertain_test((60, 400), (9 * k, 10 * k), (19 * k, 20 * k)) for k in (1000, 5))
    assert sure.lower is not None and sure.upper is not None and unsure.lower is not None and unsure.upper is not None
    assert unsure.upper - unsure.lower > sure.upper - sure.lower
    assert sure.value == pytest.approx(prevalence(60, 400, 0.9, 0.95).value)


def test_partial_verification_is_corrected_as_published() -> None:
    x, expected = vector("bg-01")["inputs"], vector("bg-01")["expected"]
    table = VerifiedTable(x["tp"], x["fp"], x["fn"], x["tn"], x["unverified_testpos"], x["unverified_testneg"])
    found, held = begg_greenes(table)
    assert (found.value, held.value) == pytest.approx((expected["sens"], expected["spec"]), abs=1e-12)
    whole = begg_greenes(VerifiedTable(231, 32, 27, 54, 0, 0))[0]
    assert whole.value == pytest.approx(expected["naive_sens"], abs=1e-12)
    assert begg_greenes(VerifiedTable(10, 2, 0, 20, 5, 5))[0].value == 1.0


def test_begg_and_greenes_interval_is_the_spread_of_resampled_tables() -> None:
    generator = np.random.default_rng(3)
    table = np.array([231, 32, 27, 54, 166, 140])
    draws = generator.multinomial(table.sum(), table / table.sum(), 4000)
    values = np.array([begg_greenes(VerifiedTable(*(int(one) for one in draw)))[0].value for draw in draws], float)
    found = begg_greenes(VerifiedTable(*(int(one) for one in table)))[0]
    assert (found.lower, found.upper) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.012)


def strata_of(inputs: dict[str, list[int]]) -> list[AdjudicatedStratum]:
    columns = (inputs["ai_pos"], inputs["N"], inputs["sampled"], inputs["true_pos"])
    return [AdjudicatedStratum(bool(a), n, m, t) for a, n, m, t in zip(*columns, strict=True)]


def test_an_adjudication_sample_is_weighted_as_the_survey_package_does() -> None:
    expected = vector("adj-01")["expected"]
    found = adjudicated_accuracy(strata_of(vector("adj-01")["inputs"]), np.random.default_rng(1))
    assert (found.sensitivity, found.sensitivity_error) == pytest.approx((expected["sens"], expected["se"]), abs=1e-12)
    assert (found.specificity, found.specificity_error) == pytest.approx(
        (expected["spec"], expected["se_spec"]), abs=1e-12
    )
    assert found.sensitivity_limits.lower < 0.84 < found.sensitivity_limits.upper


def test_a_sample_of_everything_leaves_no_uncertainty() -> None:
    found = adjudicated_accuracy(
        [AdjudicatedStratum(True, 50, 50, 40), AdjudicatedStratum(False, 100, 100, 10)], np.random.default_rng(1)
    )
    assert (found.sensitivity, found.sensitivity_error) == (0.8, 0.0)
    assert (found.sensitivity_limits.lower, found.sensitivity_limits.upper) == (0.8, 0.8)
    assert found.specificity == pytest.approx(0.9)


def test_a_heavy_stratum_without_a_positive_does_not_shrink_the_interval_to_nothing() -> None:
    found = adjudicated_accuracy(
        [AdjudicatedStratum(True, 100, 100, 90), AdjudicatedStratum(False, 1400, 100, 0)], np.random.default_rng(2)
    )
    assert found.sensitivity == 1.0 and found.sensitivity_limits.lower < 0.95


def test_bounds_hold_every_outcome_of_what_is_pending_or_missing() -> None:
    bounds = pending_bounds(80, 20, 5, 10)
    outcomes = [(80 + a) / (100 + a + b) for a in range(6) for b in range(11)]
    assert (bounds.lower, bounds.upper) == (min(outcomes), max(outcomes))
    assert missing_bounds(18, 20, 0).lower == missing_bounds(18, 20, 0).upper == 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: apparent_sensitivity(1.2, 0.9, 0.9),
        lambda: apparent_sensitivity(0.0, 0.9, 0.0),
        lambda: prevalence(4, 80, 0.5, 0.5),
        lambda: prevalence(4, 80, 0.9, 0.9, interval="wald"),
        lambda: prevalence_with_uncertain_test((5, 4), (9, 10), (9, 10)),
        lambda: VerifiedTable(1, 1, 1, 1, -1, 0),
        lambda: begg_greenes(VerifiedTable(0, 0, 1, 1, 5, 5)),
        lambda: AdjudicatedStratum(True, 10, 0, 0),
        lambda: AdjudicatedStratum(True, 10, 5, 6),
        lambda: adjudicated_accuracy([], np.random.default_rng(1)),
        lambda: pending_bounds(0, 0, 1, 1),
        lambda: missing_bounds(3, 2, 1),
    ],
)
def test_impossible_input_is_named(wrong: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        wrong()  # type: ignore[operator]
