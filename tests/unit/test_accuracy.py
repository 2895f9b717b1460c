import pytest
from hypothesis import given
from hypothesis import strategies as st
from statistics_vectors import VECTORS, vector

from shadow.assessment.accuracy import proportion
from shadow.assessment.statistics.proportions import clopper_pearson, wilson

INTERVALS = [one for one in VECTORS.values() if "wilson" in one["expected"]]


@pytest.mark.parametrize("one", INTERVALS, ids=[one["id"] for one in INTERVALS])
def test_intervals_agree_with_published_digits(one: dict[str, dict[str, float]]) -> None:
    count, of, confidence = (one["inputs"][name] for name in ("x", "n", "conf"))
    found = wilson(count, of, confidence)
    assert (found.lower, found.upper) == pytest.approx(one["expected"]["wilson"], abs=1e-8)
    exact = clopper_pearson(count, of, confidence)
    assert (exact.lower, exact.upper) == pytest.approx(one["expected"]["clopper_pearson"], abs=1e-8)


def test_sensitivity_of_a_published_table() -> None:
    published = vector("acc-01")
    true_positives, false_negatives = published["inputs"]["tp"], published["inputs"]["fn"]
    found = proportion(true_positives, true_positives + false_negatives)
    assert (found.estimate, found.lower, found.upper) == pytest.approx(published["expected"]["sens"], abs=1e-8)


@given(st.integers(1, 400).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_an_interval_lies_in_0_to_1_and_holds_its_estimate(case: tuple[int, int]) -> None:
    count, of = case
    found = proportion(count, of)
    assert found.lower is not None and found.upper is not None and found.estimate is not None
    assert 0 <= found.lower <= found.estimate <= found.upper <= 1
    exact = clopper_pearson(count, of, 0.95)
    assert 0 <= exact.lower <= found.estimate <= exact.upper <= 1


def test_nothing_of_nothing_is_no_figure() -> None:
    assert proportion(0, 0).estimate is None


def test_more_found_than_there_were_is_an_error() -> None:
    with pytest.raises(ValueError, match="5 of 4"):
        proportion(5, 4)
