import numpy as np
import pytest

from shadow.assessment.statistics.standardisation import regression_difference, standardised_difference


def episodes(*cells: tuple[bool, str, int, int]) -> tuple[list[bool], list[bool], list[str]]:
    """(in the cell, stratum, detected, missed) spelt out as detected, in_cell and stratum per episode."""
    detected, in_cell, strata = [], [], []
    for inside, stratum, hits, misses in cells:
        detected += [True] * hits + [False] * misses
        in_cell += [inside] * (hits + misses)
        strata += [stratum] * (hits + misses)
    return detected, in_cell, strata


HARDER_CASES = episodes(
    (True, "small", 70, 30), (True, "large", 19, 1), (False, "small", 14, 6), (False, "large", 190, 10)
)


def test_a_cell_that_sees_harder_cases_has_a_crude_deficit_and_no_standardised_one() -> None:
    detected, in_cell, size = HARDER_CASES
    found = standardised_difference(detected, in_cell, {"size": size})
    assert found.crude.estimate == pytest.approx(89 / 120 - 204 / 220, abs=1e-14)
    assert found.crude.upper < 0
    assert found.standardised is not None
    assert found.standardised.estimate == pytest.approx(0, abs=1e-14)
    assert found.standardised.lower < 0 < found.standardised.upper
    assert (found.compared, found.positives) == (120, 120)


def test_the_standard_is_the_cells_own_case_mix_and_the_interval_is_as_documented() -> None:
    detected, in_cell, size = episodes(
        (True, "small", 6, 4), (True, "large", 28, 2), (False, "small", 40, 10), (False, "large", 50, 0)
    )
    found = standardised_difference(detected, in_cell, {"size": size}, confidence=0.9)
    assert found.standardised is not None
    assert found.standardised.estimate == pytest.approx(0.25 * (0.6 - 0.8) + 0.75 * (28 / 30 - 1), abs=1e-14)

    def variance(hits: int, misses: int) -> float:
        return (hits + 0.5) * (misses + 0.5) / ((hits + misses + 1) ** 2 * (hits + misses + 2))

    total = 0.25**2 * (variance(6, 4) + variance(40, 10)) + 0.75**2 * (variance(28, 2) + variance(50, 0))
    half = 1.6448536269514722 * total**0.5
    assert found.standardised.upper - found.standardised.estimate == pytest.approx(half, abs=1e-12)
    assert found.standardised.estimate - found.standardised.lower == pytest.approx(half, abs=1e-12)


def test_without_attributes_crude_and_standardised_are_one() -> None:
    detected, in_cell, _ = HARDER_CASES
    found = standardised_difference(detected, in_cell, {})
    assert found.standardised == found.crude


def test_positives_in_strata_that_only_the_cell_has_are_counted_but_not_compared() -> None:
    detected, in_cell, size = episodes((True, "small", 8, 2), (True, "large", 9, 1), (False, "large", 19, 1))
    found = standardised_difference(detected, in_cell, {"size": size})
    assert (found.compared, found.positives) == (10, 20)
    assert found.standardised is not None
    assert found.standardised.estimate == pytest.approx(0.9 - 0.95, abs=1e-14)


def test_without_a_shared_stratum_there_is_no_standardised_difference() -> None:
    detected, in_cell, size = episodes((True, "small", 8, 2), (False, "large", 19, 1))
    found = standardised_difference(detected, in_cell, {"size": size})
    assert found.standardised is None and found.compared == 0
    assert regression_difference(detected, in_cell, {"size": size}) is None


def test_an_unknown_level_is_a_stratum_of_its_own() -> None:
    detected, in_cell, size = HARDER_CASES
    unknown = [None if one == "small" else one for one in size]
    assert standardised_difference(detected, in_cell, {"size": unknown}) == standardised_difference(
        detected, in_cell, {"size": size}
    )


def test_regression_without_attributes_is_the_crude_difference_with_its_usual_error() -> None:
    detected, in_cell, _ = HARDER_CASES
    found = regression_difference(detected, in_cell, {})
    assert found is not None
    cell, rest = 89 / 120, 204 / 220
    assert found.estimate == pytest.approx(cell - rest, abs=1e-9)
    half = 1.959963984540054 * (cell * (1 - cell) / 120 + rest * (1 - rest) / 220) ** 0.5
    assert found.upper - found.estimate == pytest.approx(half, abs=1e-7)


def test_regression_takes_away_case_mix_as_strata_do() -> None:
    detected, in_cell, size = HARDER_CASES
    found = regression_difference(detected, in_cell, {"size": size})
    assert found is not None
    assert found.estimate == pytest.approx(0, abs=1e-9)


def test_regression_finds_a_planted_difference_through_two_confounders() -> None:
    random = np.random.default_rng(6)
    of = 20_000
    small, old = random.random(of) < 0.4, random.random(of) < 0.5
    in_cell = random.random(of) < 0.2 + 0.3 * small + 0.2 * old
    logits = 3 - 1.5 * small - 0.5 * old - 0.6 * in_cell
    detected = random.random(of) < 1 / (1 + np.exp(-logits))
    truth = float(np.mean(1 / (1 + np.exp(-logits[in_cell])) - 1 / (1 + np.exp(-logits[in_cell] - 0.6))))
    strata = {"size": np.where(small, "small", "large").tolist(), "age": np.where(old, "old", "young").tolist()}
    by_regression, by_strata = (
        regression_difference(detected, in_cell, strata),
        standardised_difference(detected, in_cell, strata),
    )
    assert by_regression is not None and by_strata.standardised is not None
    assert by_regression.lower < truth < by_regression.upper
    assert by_strata.standardised.lower < truth < by_strata.standardised.upper
    assert by_strata.crude.upper < truth


def test_the_regression_interval_is_that_of_numerical_derivatives() -> None:
    from statsmodels.api import GLM, families

    detected, in_cell, size = episodes(
        (True, "small", 12, 8), (True, "large", 25, 5), (False, "small", 30, 10), (False, "large", 90, 6)
    )
    cell, small = np.array(in_cell), np.array([one == "small" for one in size])
    design = np.column_stack([np.ones(cell.size), small, cell]).astype(float)
    fit = GLM(np.array(detected, dtype=float), design, family=families.Binomial()).fit()

    def difference(coefficients: np.ndarray) -> float:
        there = design[cell] * [1, 1, 0]
        return float(np.mean(1 / (1 + np.exp(-design[cell] @ coefficients)) - 1 / (1 + np.exp(-there @ coefficients))))

    steps = np.eye(3) * 1e-5
    slope = np.array([difference(fit.params + step) - difference(fit.params - step) for step in steps]) / 2e-5
    found = regression_difference(detected, in_cell, {"size": size})
    assert found is not None
    assert found.estimate == pytest.approx(difference(fit.params), abs=1e-10)
    half = 1.959963984540054 * (slope @ fit.cov_params() @ slope) ** 0.5
    assert found.upper - found.estimate == pytest.approx(half, abs=1e-7)


def test_where_the_likelihood_has_no_maximum_there_is_no_estimate() -> None:
    detected, in_cell, size = episodes(
        (True, "small", 10, 0), (True, "large", 20, 0), (False, "small", 5, 5), (False, "large", 9, 1)
    )
    assert regression_difference(detected, in_cell, {"size": size}) is None


def test_what_is_no_comparison_is_refused() -> None:
    for compare in (standardised_difference, regression_difference):
        for detected, in_cell, strata, word in [
            ([True], [True, False], {}, "same length"),
            ([1, 0], [True, False], {}, "true or false"),
            ([True, False], [True, False], {"size": ["a"]}, "size"),
            ([True, False], [True, True], {}, "in_cell"),
            ([True, False], [False, False], {}, "in_cell"),
        ]:
            with pytest.raises(ValueError, match=word):
                compare(detected, in_cell, strata)
        with pytest.raises(ValueError, match="confidence"):
            compare([True, False], [True, False], {}, 95)
