"""Distances against R and by hand; limits that know the size of the sample; calls that carry their caveat."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from statistics_vectors import vector

from shadow.assessment.statistics.deferral import (
    positives_needed,
    promised_threshold,
    risk_controlling_threshold,
    risk_coverage,
    thresholds_by_group,
    with_deferral,
)
from shadow.assessment.statistics.drift import (
    CAVEAT,
    category_shift,
    classifier_two_sample,
    kolmogorov_smirnov,
    log_drift_detector,
    maximum_mean_discrepancy,
    permute_weeks,
    population_stability_index,
    rate_limits,
    stability_limit,
    wasserstein,
)
from shadow.assessment.statistics.label_shift import black_box_shift, expectation_maximisation, expected_performance


def test_distances_are_those_of_r_and_of_hand() -> None:
    inputs, expected = vector("drift-01")["inputs"], vector("drift-01")["expected"]
    reference, current = inputs["ref"], inputs["cur"]
    found = kolmogorov_smirnov(reference, current)
    assert (found.distance, found.p_value) == pytest.approx((expected["ks"], expected["ks_p_exact"]), abs=1e-10)
    assert found.caveat == CAVEAT
    assert wasserstein(reference, current) == pytest.approx(expected["w1"], abs=1e-12)
    spread = float(np.std(reference, ddof=1))
    assert wasserstein(reference, current, in_reference_spread=True) == pytest.approx(expected["w1"] / spread)
    mmd = maximum_mean_discrepancy(reference, current, inputs["sigma"])
    assert mmd.distance == pytest.approx(expected["mmd2"], abs=1e-12) and mmd.p_value is None
    psi = vector("psi-01")
    assert population_stability_index(psi["inputs"]["ref"], psi["inputs"]["cur"]) == pytest.approx(
        psi["expected"]["psi"], abs=1e-12
    )


def test_a_permutation_finds_a_shift_and_leaves_equal_samples_alone() -> None:
    generator = np.random.default_rng(1)
    same, moved = generator.normal(0, 1, (60, 3)), generator.normal(0.9, 1, (60, 3))
    reference = generator.normal(0, 1, (60, 3))
    equal = maximum_mean_discrepancy(reference, same, generator=generator, permutations=199)
    shifted = maximum_mean_discrepancy(reference, moved, generator=generator, permutations=199)
    assert equal.p_value is not None and equal.p_value > 0.02
    assert shifted.p_value == pytest.approx(1 / 200)


def test_weeks_that_differ_by_themselves_are_no_drift() -> None:
    generator = np.random.default_rng(2)
    weeks = [generator.normal(generator.normal(0, 1), 0.3, 40) for _ in range(12)]
    by_cases = kolmogorov_smirnov(np.concatenate(weeks[:-1]), weeks[-1])
    by_weeks = permute_weeks(wasserstein, weeks, 1, generator, 200)
    assert by_cases.p_value is not None and by_weeks.p_value is not None
    assert by_cases.p_value < 0.01 < by_weeks.p_value


def test_categories_are_compared_as_a_contingency_table() -> None:
    from scipy.stats import chi2_contingency

    expected = chi2_contingency([[30, 50, 20], [45, 30, 25]], correction=False)
    found = category_shift([30, 50, 20, 0], [45, 30, 25, 0])
    assert found.p_value == pytest.approx(expected.pvalue)
    assert category_shift([5, 0], [9, 0]).p_value == 1.0


def test_a_detector_of_drift_needs_more_than_one_bad_week() -> None:
    quiet = log_drift_detector(np.full(52, 0.5))
    assert quiet.max() < np.log(260)
    assert log_drift_detector([0.5] * 20 + [1e-3] * 4)[-1] > np.log(260)


def test_a_rate_is_judged_by_its_own_sample_size() -> None:
    narrow, wide = rate_limits((20, 1000), 5000), rate_limits((20, 1000), 50)
    assert wide[0] <= narrow[0] < 0.02 < narrow[1] < wide[1]


def test_label_shift_in_the_binary_case_is_rogan_and_gladen() -> None:
    inputs, expected = vector("bbse-01")["inputs"], vector("bbse-01")["expected"]
    se, sp, prevalence = inputs["sens"], inputs["spec"], inputs["ref_prev"]
    joint = [[se * prevalence, (1 - sp) * (1 - prevalence)], [(1 - se) * prevalence, sp * (1 - prevalence)]]
    found = black_box_shift(joint, [inputs["target_pos_rate"], 1 - inputs["target_pos_rate"]])
    assert found.shares[0] == pytest.approx(expected["target_prev"], abs=1e-12)
    assert found.weights == pytest.approx([expected["w1"], expected["w0"]], abs=1e-12)


def test_em_finds_the_share_of_greatest_likelihood() -> None:
    generator = np.random.default_rng(3)
    scores, prior = generator.beta(2, 5, 300), 0.2

    def loss(share: float) -> float:
        return -float(np.log(scores * share / prior + (1 - scores) * (1 - share) / (1 - prior)).sum())

    best = minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-12}).x
    assert expectation_maximisation(scores, prior).shares[0] == pytest.approx(best, abs=1e-5)


def test_expected_performance_is_its_definition_and_carries_its_warning() -> None:
    inputs, expected = vector("cbpe-01")["inputs"], vector("cbpe-01")["expected"]
    found = expected_performance(inputs["p"], inputs["threshold"])
    assert (found.true_positives, found.false_positives, found.false_negatives, found.true_negatives) == pytest.approx(
        (expected["tp"], expected["fp"], expected["fn"], expected["tn"]), abs=1e-12
    )
    assert (found.sensitivity, found.specificity) == pytest.approx((expected["recall"], expected["specificity"]))
    assert "concept shift" in found.caveat


def test_risk_and_coverage_are_their_definition() -> None:
    inputs, expected = vector("aurc-01")["inputs"], vector("aurc-01")["expected"]
    found = risk_coverage(inputs["confidence"], inputs["error"])
    assert found.area == pytest.approx(expected["aurc"], abs=1e-12)
    assert found.risk_at(0.5) == pytest.approx(expected["risk_at_coverage_50"])
    errors = np.sort(np.array(inputs["error"]))
    discrete = found.area - float((np.cumsum(errors) / np.arange(1, errors.size + 1)).mean())
    assert discrete == pytest.approx(expected["e_aurc"], abs=1e-9) or found.excess_area == pytest.approx(
        expected["e_aurc"], abs=1e-9
    )


def test_conformal_risk_control_is_its_published_rule() -> None:
    inputs, expected = vector("crc-01")["inputs"], vector("crc-01")["expected"]
    found = risk_controlling_threshold(inputs["positive_scores"], inputs["alpha"])
    assert (found.misses, found.threshold) == (expected["max_misses"], expected["threshold"])
    assert thresholds_by_group({"few": [0.5] * 3}, 0.2)["few"].threshold is None
    assert positives_needed(0.2) == 4


def test_a_promise_allows_fewer_misses_than_an_expectation() -> None:
    scores = np.linspace(0.01, 0.99, 100)
    expected, promised = risk_controlling_threshold(scores, 0.1), promised_threshold(scores, 0.1)
    assert promised.misses < expected.misses
    assert promised_threshold([0.5] * 10, 0.1).threshold is None


def test_deferring_every_positive_is_missing_every_positive() -> None:
    found = with_deferral([1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0])
    assert found.sensitivity.value == 0 and found.sensitivity_per_protocol.value is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: kolmogorov_smirnov([], [1]),
        lambda: wasserstein([1, 1], [1, 2], in_reference_spread=True),
        lambda: maximum_mean_discrepancy([1.0], [1.0, 2.0]),
        lambda: category_shift([1], [1]),
        lambda: stability_limit(0, 1, 10),
        lambda: permute_weeks(wasserstein, [[1.0], [2.0]], 1, np.random.default_rng(1)),
        lambda: rate_limits((3, 2), 5),
        lambda: black_box_shift([[0.5, 0.5], [0.0, 0.0]], [0.5, 0.5]),
        lambda: expectation_maximisation([1.2], 0.5),
        lambda: expected_performance([1.2], 0.5),
        lambda: risk_coverage([0.5], [2]),
        lambda: risk_controlling_threshold([], 0.1),
        lambda: positives_needed(1.0),
    ],
)
def test_impossible_input_is_named(wrong: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        wrong()  # type: ignore[operator]


def test_a_classifier_tells_a_shift_apart_and_keeps_its_level_without_one() -> None:
    generator = np.random.default_rng(17)
    shifted = classifier_two_sample(generator.normal(0, 1, (60, 3)), generator.normal(0.8, 1, (60, 3)), generator)
    assert shifted.distance > 0.7 and shifted.p_value == pytest.approx(1 / 201)
    calls = []
    for _ in range(100):
        same = classifier_two_sample(
            generator.normal(0, 1, (30, 2)), generator.normal(0, 1, (30, 2)), generator, permutations=39
        )
        assert same.p_value is not None
        calls.append(same.p_value <= 0.05)
    assert sum(calls) <= 12  # 5 of 100 expected, three standard errors


def test_a_classifier_refuses_what_it_cannot_split() -> None:
    with pytest.raises(ValueError, match="a side with the same features"):
        classifier_two_sample([[1.0]] * 4, [[1.0]] * 30, np.random.default_rng(1))
    with pytest.raises(ValueError, match="finite"):
        classifier_two_sample([[np.nan]] * 10, [[1.0]] * 10, np.random.default_rng(1))


def plain_area(both: np.ndarray, fold: np.ndarray, label: np.ndarray) -> float:
    """The cross-fitted AUC of a ridged discriminant, pair by pair."""
    won = pairs = 0.0
    for number in range(5):
        train, test = fold != number, fold == number
        if not (label[train].any() and (~label[train]).any() and label[test].any() and (~label[test]).any()):
            continue
        matrix = both[train].T @ both[train] / train.sum() + np.eye(both.shape[1]) / train.sum()
        apart = both[train & label].mean(axis=0) - both[train & ~label].mean(axis=0)
        scores = both @ np.linalg.solve(matrix, apart)
        margin = scores[test & label][:, None] - scores[test & ~label][None, :]
        won += (margin > 1e-12).sum() + (np.abs(margin) <= 1e-12).sum() / 2
        pairs += margin.size
    return won / pairs if pairs else 0.5


def plain_discrepancy(kernel: np.ndarray, first: np.ndarray) -> float:
    within = [kernel[np.ix_(side, side)].sum() / (side.sum() * (side.sum() - 1)) for side in (first, ~first)]
    return float(sum(within) - 2 * kernel[np.ix_(first, ~first)].mean())


def share_that_reaches(observed: float, permuted: list[float]) -> float:
    return (1 + sum(one >= observed - 1e-9 for one in permuted)) / (1 + len(permuted))


@pytest.mark.parametrize(("sizes", "features", "apart"), [((5, 9), 1, 0.0), ((30, 12), 3, 0.6), ((60, 80), 6, 0.2)])
def test_permuting_at_once_is_permuting_one_by_one(sizes: tuple[int, int], features: int, apart: float) -> None:
    drawn = np.random.default_rng(3)
    one, two = drawn.normal(0, 1, (sizes[0], features)), drawn.normal(apart, 1, (sizes[1], features))
    both = np.concatenate([one, two])

    found = classifier_two_sample(one, two, np.random.default_rng(5), permutations=60)
    same = np.random.default_rng(5)
    fold = same.permutation(np.arange(len(both)) % 5)
    later = np.arange(len(both)) >= sizes[0]
    standard = (both - both.mean(axis=0)) / both.std(axis=0)
    observed = plain_area(standard, fold, later)
    permuted = [plain_area(standard, fold, same.permutation(later)) for _ in range(60)]
    assert found.distance == pytest.approx(observed, abs=1e-12)
    assert found.p_value == pytest.approx(share_that_reaches(observed, permuted))

    found = maximum_mean_discrepancy(one, two, 1.0, np.random.default_rng(6), permutations=60)
    same = np.random.default_rng(6)
    kernel = np.exp(-((both[:, None] - both[None]) ** 2).sum(axis=2) / 2) - np.eye(len(both))
    observed = plain_discrepancy(kernel, ~later)
    permuted = [plain_discrepancy(kernel, same.permutation(~later)) for _ in range(60)]
    assert found.distance == pytest.approx(observed, abs=1e-12)
    assert found.p_value == pytest.approx(share_that_reaches(observed, permuted))


def test_permutations_that_tie_with_what_was_seen_count_though_rounding_parts_them() -> None:
    values = np.sort(np.random.default_rng(4).random(6))
    found = maximum_mean_discrepancy(values[:3], values[3:], 0.3, np.random.default_rng(1), permutations=2000)
    # Of twenty ways to part six values, the one that was seen and its mirror image are the furthest apart.
    assert found.p_value == pytest.approx(2 / 20, abs=0.025)
