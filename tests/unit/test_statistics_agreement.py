"""Agreement against irrCAC's digits and statsmodels, and the paradox that kappa alone would hide."""

from __future__ import annotations

import numpy as np
import pytest
from statistics_vectors import vector

from shadow.assessment.statistics.agreement import agreement, linear_weights, quadratic_weights, weighted_kappa


def test_kappa_and_ac1_with_their_errors_are_those_of_irrcac() -> None:
    expected = vector("kap-01")["expected"]
    found = agreement(vector("kap-01")["inputs"]["table"])
    assert (found.kappa.value, found.ac1.value) == pytest.approx((expected["kappa"], expected["ac1"]), abs=1e-12)
    assert (found.kappa.standard_error, found.ac1.standard_error) == pytest.approx(
        (expected["kappa_se"], expected["ac1_se"]), abs=1e-12
    )
    assert found.kappa.p_value is not None and 0 < found.kappa.p_value < 1
    assert found.specific == pytest.approx((2 * 118 / 243, 0.0))
    assert found.prevalence_adjusted == pytest.approx(2 * 118 / 125 - 1)


@pytest.mark.parametrize(("weights", "name"), [(linear_weights, "linear"), (quadratic_weights, "fc")])
def test_weighted_kappa_is_that_of_statsmodels(weights: object, name: str) -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.array([[40, 6, 1], [8, 30, 7], [2, 9, 25]])
    expected = cohens_kappa(table, wt=name, return_results=True)
    found = weighted_kappa(table, weights(3))  # type: ignore[operator]
    assert found.value == pytest.approx(expected.kappa, abs=1e-12)
    assert found.standard_error == pytest.approx(float(np.sqrt(expected.var_kappa)), abs=1e-10)


def test_readers_who_give_one_answer_throughout_have_no_kappa() -> None:
    found = agreement([[30, 0], [0, 0]])
    assert found.observed == 1 and found.kappa.value is None and found.ac1.value == 1
    assert found.specific == (1.0, None)


def test_a_table_that_is_none_is_refused() -> None:
    for table in ([[1, 2, 3], [1, 2, 3]], [[1, -1], [0, 5]], [[1, 0], [0, 0]]):
        with pytest.raises(ValueError, match="expected"):
            agreement(table)
    with pytest.raises(ValueError, match="weights"):
        weighted_kappa([[5, 1], [1, 5]], np.eye(3))
