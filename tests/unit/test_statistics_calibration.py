"""Calibration against rms, glm, isoreg and lowess of R, and the pitfalls that the design measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from statistics_vectors import vector

from shadow.assessment.statistics.calibration import (
    calibration_of,
    expected_calibration_error,
    recalibrate_as_if,
    reliability_curve,
    smooth_errors,
)

P, Y = vector("cal-01")["inputs"]["p"], vector("cal-01")["inputs"]["y"]


def test_every_figure_is_that_of_r() -> None:
    found, expected = calibration_of(P, Y), vector("cal-01")["expected"]
    assert found.brier == pytest.approx(expected["brier"], abs=1e-12)
    assert (found.in_the_large, found.in_the_large_error) == pytest.approx(
        (expected["citl"], expected["citl_se"]), abs=1e-6
    )
    assert (found.intercept, found.slope, found.slope_error) == pytest.approx(
        (expected["intercept"], expected["slope"], expected["slope_se"]), abs=2e-6
    )
    assert found.spiegelhalter_z == pytest.approx(expected["spiegelhalter_z"], abs=1e-9)
    assert found.observed_over_expected == pytest.approx(expected["o_over_e"], abs=1e-12)
    corp = (found.miscalibration, found.discrimination, found.uncertainty)
    assert corp == pytest.approx(expected["corp"], abs=1e-9)
    assert found.brier == pytest.approx(corp[0] - corp[1] + corp[2])
    assert 0.9 < found.joint_p <= 1 and not found.verdict_allowed and found.curve_exploratory


def test_the_smoother_is_never_robustified() -> None:
    assert smooth_errors(P, Y).ici == pytest.approx(vector("cal-01")["expected"]["ici_lowess_it0"], abs=2e-6)


def test_bins_decide_what_an_ece_says() -> None:
    assert expected_calibration_error(P, Y, 5) == pytest.approx(vector("cal-03")["expected"]["ece"], abs=1e-12)
    assert expected_calibration_error(P, Y, 10, equal_count=False, closed="left") == pytest.approx(0.080, abs=5e-4)
    assert expected_calibration_error(P, Y, 10, equal_count=False, closed="right") == pytest.approx(0.065, abs=5e-4)


def test_ties_get_one_recalibrated_value_whatever_their_order() -> None:
    p, y = [0.2, 0.2, 0.2, 0.7, 0.7], [1, 0, 0, 1, 0]
    found = reliability_curve(p, y, np.random.default_rng(1), resamples=10)
    assert found.recalibrated == pytest.approx([1 / 3] * 3 + [0.5] * 2)
    again = calibration_of(p[::-1], y[::-1])
    assert calibration_of(p, y).miscalibration == pytest.approx(again.miscalibration)


def test_a_calibrated_score_lies_in_its_band_and_a_shifted_one_is_found() -> None:
    generator = np.random.default_rng(2)
    p = generator.random(1500)
    y = generator.random(1500) < p
    good = reliability_curve(p, y, generator, resamples=200)
    inside = (good.recalibrated >= good.lower - 1e-9) & (good.recalibrated <= good.upper + 1e-9)
    assert inside.mean() > 0.75 and calibration_of(p, y).joint_p > 0.001
    shifted = calibration_of(expit(logit(p) * 0.5 + 1), y)
    assert shifted.slope == pytest.approx(2.0, abs=0.35) and shifted.in_the_large < -0.5 and shifted.joint_p < 1e-6
    assert shifted.verdict_allowed and not shifted.curve_exploratory


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_what_if_never_fits_a_case_on_itself(method: str) -> None:
    generator = np.random.default_rng(3)
    p = generator.random(300)
    noise = generator.random(300) < 0.4
    found = recalibrate_as_if(p, noise, generator, method)
    assert found.brier_after >= 0.4 * 0.6 - 0.02  # noise cannot be learnt, only overfitted
    assert found.brier_after < found.brier_before


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: calibration_of([0.5], [1, 0]),
        lambda: calibration_of([0.5, 1.5], [1, 0]),
        lambda: calibration_of([0.5, 0.6], [1, 1]),
        lambda: expected_calibration_error(P, Y, 0),
        lambda: expected_calibration_error(P, Y, 5, equal_count=False, closed="both"),
        lambda: recalibrate_as_if(P, Y, np.random.default_rng(1), "magic"),
        lambda: calibration_of([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]),
        lambda: calibration_of([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0]),
        lambda: calibration_of([0.1, 0.2, 0.2, 0.9], [0, 0, 1, 1]),
        lambda: calibration_of([0.4, 0.4, 0.4], [0, 1, 1]),
        lambda: recalibrate_as_if([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], np.random.default_rng(1), folds=2),
    ],
)
def test_impossible_input_is_named(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"expected|separates"):
        wrong()  # type: ignore[operator]
