import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.assessment.statistics.paired import PairedCounts
from shadow.assessment.statistics.paired_predictive import compare_predictive_values

PRESENT = PairedCounts(both=319, challenger_only=22, champion_only=78, neither=32)
ABSENT = PairedCounts(both=31, challenger_only=22, champion_only=53, neither=155)
TABLES = st.tuples(*[st.integers(1, 40)] * 4).map(lambda cells: PairedCounts(*cells))


def calls(present: PairedCounts, absent: PairedCounts) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One row per positive call: study, reference, and whether the challenger called; and the table's studies."""
    rows, study = [], 0
    for reference, table in ((1, present), (0, absent)):
        for count, models in ((table.both, (0, 1)), (table.challenger_only, (1,)), (table.champion_only, (0,))):
            for _ in range(count):
                rows += [(study, reference, model) for model in models]
                study += 1
    studies, references, models_ = np.array(rows).T
    return studies, references, models_, np.arange(study)


def test_predictive_values_agree_with_the_published_example() -> None:
    # Printed in the DTComPair 1.2.6 reference for its data Paired1, test 2 as challenger.
    found = compare_predictive_values(PRESENT, ABSENT)
    positive, negative = found.positive, found.negative
    assert positive is not None and positive.relative is not None and positive.score is not None
    assert negative is not None and negative.relative is not None and negative.score is not None
    assert (positive.champion, positive.challenger) == pytest.approx((0.82536383, 0.86548223), abs=1e-8)
    assert (negative.champion, negative.challenger) == pytest.approx((0.7662338, 0.6540881), abs=1e-7)
    one = positive.relative
    assert (one.ratio, one.log_standard_error, one.limits.lower, one.limits.upper) == pytest.approx(
        (1.04860694, 0.01991247, 1.00847050, 1.09034078), abs=1e-8
    )
    assert (one.statistic, one.p_value) == pytest.approx((2.38355929, 0.01714612), abs=1e-8)
    other = negative.relative
    assert (other.ratio, other.log_standard_error, other.limits.lower, other.limits.upper) == pytest.approx(
        (0.8536403, 0.03783679, 0.7926258, 0.9193516), abs=1e-7
    )
    assert (positive.score.statistic, positive.score.p_value) == pytest.approx((5.46588745, 0.01939120), abs=1e-8)
    assert (negative.score.statistic, negative.score.p_value) == pytest.approx((16.53540, 4.775012e-05), rel=1e-6)


def test_the_relative_value_is_a_log_link_gee_with_the_study_as_cluster() -> None:
    import statsmodels.api as sm

    studies, references, models, _ = calls(PRESENT, ABSENT)
    fit = sm.GEE(
        references,
        sm.add_constant(models),
        groups=studies,
        family=sm.families.Poisson(),  # a log link; the sandwich does not use the family's variance here
        cov_struct=sm.cov_struct.Independence(),
    ).fit(ctol=1e-12)
    found = compare_predictive_values(PRESENT, ABSENT).positive
    assert found is not None and found.relative is not None
    assert np.log(found.relative.ratio) == pytest.approx(fit.params[1], abs=1e-8)
    assert found.relative.log_standard_error == pytest.approx(fit.bse[1], abs=1e-8)


@given(TABLES, TABLES)
def test_the_score_is_the_squared_difference_over_its_variance_study_by_study(
    present: PairedCounts, absent: PairedCounts
) -> None:
    studies, references, models, every = calls(present, absent)
    made = np.array([np.sum(models == 0), np.sum(models == 1)])
    value = np.array([references[models == one].mean() for one in (0, 1)])
    residual = references - references.mean()
    by_study = np.zeros((2, every.size))
    by_study[models, studies] = residual
    own, shared = np.mean(residual**2), by_study[0] @ by_study[1]
    variance = own / made[0] + own / made[1] - 2 * shared / (made[0] * made[1])
    found = compare_predictive_values(present, absent).positive
    assert found is not None and found.score is not None
    assert found.score.statistic == pytest.approx((value[1] - value[0]) ** 2 / variance, rel=1e-9, abs=1e-12)


def test_without_shared_calls_the_score_is_the_ordinary_chi_square() -> None:
    from scipy.stats import chi2_contingency

    found = compare_predictive_values(PairedCounts(0, 30, 22, 9), PairedCounts(0, 11, 25, 40)).positive
    assert found is not None and found.score is not None
    expected = chi2_contingency([[30, 11], [22, 25]], correction=False)
    assert (found.score.statistic, found.score.p_value) == pytest.approx(
        (expected.statistic, expected.pvalue), abs=1e-12
    )


def test_the_same_calls_have_the_same_values_and_no_test() -> None:
    found = compare_predictive_values(PairedCounts(20, 0, 0, 5), PairedCounts(10, 0, 0, 65)).positive
    assert found is not None
    assert (found.difference, found.relative, found.score) == (0, None, None)


def test_a_model_that_never_calls_has_no_positive_predictive_value() -> None:
    found = compare_predictive_values(PairedCounts(0, 9, 0, 3), PairedCounts(0, 4, 0, 50))
    assert found.positive is None and found.negative is not None


def test_a_value_of_zero_has_no_ratio_but_a_test() -> None:
    found = compare_predictive_values(PairedCounts(0, 9, 0, 3), PairedCounts(0, 4, 6, 50)).positive
    assert found is not None and found.relative is None and found.score is not None
    turned = compare_predictive_values(PairedCounts(0, 0, 9, 3), PairedCounts(0, 6, 4, 50)).positive
    assert turned is not None and turned.relative is None and turned.score is not None
    perfect = compare_predictive_values(PairedCounts(5, 9, 2, 3), PairedCounts(0, 0, 0, 50)).positive
    assert perfect is not None and perfect.relative is None and perfect.score is None


def test_a_confidence_in_percent_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        compare_predictive_values(PRESENT, ABSENT, 95)
