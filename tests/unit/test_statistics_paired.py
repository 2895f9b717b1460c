import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import ndtri
from statistics_vectors import vector

from shadow.assessment.statistics.paired import (
    PairedCounts,
    compare_accuracy,
    mcnemar_asymptotic,
    mcnemar_exact,
    mcnemar_mid_p,
    newcombe_paired,
    non_inferiority,
    paired_counts,
    tango,
)

TABLES = (
    st.tuples(*[st.integers(0, 60)] * 4).filter(lambda cells: sum(cells) > 0).map(lambda cells: PairedCounts(*cells))
)
PRESENT = PairedCounts(both=319, challenger_only=22, champion_only=78, neither=32)
ABSENT = PairedCounts(both=31, challenger_only=22, champion_only=53, neither=155)


def table(identifier: str) -> PairedCounts:
    cells = vector(identifier)["inputs"]
    return PairedCounts(cells["n11"], cells["n12"], cells["n21"], cells["n22"])


@pytest.mark.parametrize("identifier", ["pair-01", "pair-02", "pair-03"])
def test_tests_and_intervals_agree_with_published_digits(identifier: str) -> None:
    counts, expected = table(identifier), vector(identifier)["expected"]
    assert mcnemar_exact(counts) == pytest.approx(expected["exact"], abs=1e-12)
    assert mcnemar_mid_p(counts) == pytest.approx(expected["midp"], abs=1e-12)
    for limits, name, precision in ((tango(counts), "tango", 2e-9), (newcombe_paired(counts), "newcombe10", 1e-12)):
        assert (limits.lower, limits.upper) == pytest.approx(expected[name], abs=precision)


def test_an_even_split_has_the_mid_p_of_the_paper() -> None:
    assert mcnemar_mid_p(PairedCounts(10, 14, 14, 10)) == pytest.approx(0.9252770096, abs=1e-10)
    assert mcnemar_mid_p(PairedCounts(10, 0, 0, 10)) == 0.5


def test_asymptotic_mcnemar_agrees_with_statsmodels() -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    for correction in (False, True):
        expected = mcnemar([[59, 6], [16, 80]], exact=False, correction=correction)
        found = mcnemar_asymptotic(table("pair-02"), continuity_correction=correction)
        assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-12)


def test_models_that_never_disagree_show_no_difference() -> None:
    counts = PairedCounts(30, 0, 0, 20)
    assert mcnemar_exact(counts) == 1
    assert mcnemar_asymptotic(counts, continuity_correction=False).p_value == 1
    assert mcnemar_asymptotic(counts, continuity_correction=True).p_value == 1
    square = float(ndtri(0.975)) ** 2
    assert tango(counts).upper == pytest.approx(square / (50 + square), abs=1e-14)
    assert tango(counts).lower == -tango(counts).upper


def test_an_even_split_is_not_made_a_difference_by_the_continuity_correction() -> None:
    assert mcnemar_asymptotic(PairedCounts(1, 7, 7, 1), continuity_correction=True).statistic == 0


def test_non_inferiority_agrees_with_the_published_score_test() -> None:
    published = vector("ni-01")["expected"]
    found = non_inferiority(table("ni-01"), margin=0.1, confidence=0.90)
    assert (found.statistic, found.p_value) == pytest.approx((published["z"], published["p_one_sided"]), abs=1e-12)
    assert (found.limits.lower, found.limits.upper) == pytest.approx(published["ci90"], abs=1e-12)
    assert found.non_inferior
    assert not non_inferiority(table("ni-01"), margin=0.1).non_inferior


@given(TABLES, st.floats(0.01, 0.5))
def test_the_verdict_and_the_one_sided_test_say_the_same(counts: PairedCounts, margin: float) -> None:
    found = non_inferiority(counts, margin)
    if abs(found.p_value - 0.025) > 1e-9:
        assert found.non_inferior == (found.p_value < 0.025)


def test_both_measures_carry_the_sign_challenger_minus_champion() -> None:
    published = vector("senscmp-01")["expected"]
    found = compare_accuracy(PRESENT, ABSENT)
    assert found.sensitivity is not None and found.specificity is not None
    assert found.sensitivity.difference == pytest.approx(published["sens_diff_t2_minus_t1"], abs=1e-12)
    assert found.specificity.difference == pytest.approx(published["spec_diff"], abs=1e-12)
    for one, name in ((found.sensitivity, "sens_tango"), (found.specificity, "spec_tango")):
        assert (one.tango.lower, one.tango.upper) == pytest.approx(published[name], abs=2e-6)
        assert one.challenger - one.champion == pytest.approx(one.difference, abs=1e-15)
    assert found.sensitivity.exact_p == pytest.approx(published["mcnemar_exact_sens_p"], rel=1e-10)
    assert found.specificity.exact_p == pytest.approx(published["mcnemar_exact_spec_p"], rel=1e-10)


def test_without_positive_studies_there_is_no_sensitivity() -> None:
    found = compare_accuracy(PairedCounts(0, 0, 0, 0), ABSENT)
    assert found.sensitivity is None and found.specificity is not None


@given(TABLES)
@example(PairedCounts(0, 12, 0, 0))
@example(PairedCounts(0, 0, 12, 0))
@example(PairedCounts(0, 0, 1, 0))
def test_swapping_the_models_mirrors_every_figure(counts: PairedCounts) -> None:
    swapped = PairedCounts(counts.both, counts.champion_only, counts.challenger_only, counts.neither)
    assert mcnemar_mid_p(counts) == pytest.approx(mcnemar_mid_p(swapped), abs=1e-12)
    for interval in (tango, newcombe_paired):
        one, other = interval(counts), interval(swapped)
        assert (one.lower, one.upper) == pytest.approx((-other.upper, -other.lower), abs=1e-12)
        assert -1 <= one.lower <= counts.difference <= one.upper <= 1


@given(TABLES)
def test_at_a_tango_limit_the_score_statistic_is_the_quantile(counts: PairedCounts) -> None:
    lower = tango(counts).lower
    if -0.999 < lower < -0.001:
        assert non_inferiority(counts, -lower).statistic == pytest.approx(float(ndtri(0.975)), abs=1e-8)


def test_calls_become_counts_in_the_right_cells() -> None:
    champion = [True, True, True, False, False, False]
    challenger = [True, True, False, True, False, False]
    assert paired_counts(champion, challenger) == PairedCounts(2, 1, 1, 2)
    assert paired_counts([True, False], [False, False]).champion_only == 1


def test_input_that_is_no_paired_table_is_refused() -> None:
    with pytest.raises(ValueError, match="champion_only"):
        PairedCounts(1, 1, -1, 1)
    with pytest.raises(ValueError, match="at least one study"):
        tango(PairedCounts(0, 0, 0, 0))
    with pytest.raises(ValueError, match="margin"):
        non_inferiority(PRESENT, -0.1)
    with pytest.raises(ValueError, match="confidence"):
        newcombe_paired(PRESENT, 95)
    with pytest.raises(ValueError, match="same shape"):
        paired_counts([True], [True, False])
    with pytest.raises(ValueError, match="booleans"):
        paired_counts([0.2, 0.9], [True, False])
