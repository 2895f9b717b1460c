import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaln, xlogy

from shadow.assessment.statistics.paired_sequential import challenger_evidence, log_challenger_e_value


@pytest.mark.parametrize(("right", "wrong", "a", "b"), [(0, 0, 1, 1), (15, 3, 1, 1), (20, 31, 8, 2), (3, 2, 0.5, 0.5)])
def test_the_closed_form_is_the_mixture_of_likelihood_ratios(right: int, wrong: int, a: float, b: float) -> None:
    def weight(share: float) -> float:
        return math.exp((a - 1) * math.log(share) + (b - 1) * math.log1p(-share))

    def ratio(share: float) -> float:
        return weight(share) * math.exp(xlogy(right, 2 * share) + xlogy(wrong, 2 * (1 - share)))

    # 0.5 to 0.999 and the rest apart: at b < 1 the weight is unbounded at 1, and integrable.
    mixture = sum(quad(ratio, *ends, epsabs=1e-13)[0] for ends in ((0.5, 0.999), (0.999, 1)))
    whole = sum(quad(weight, *ends, epsabs=1e-13)[0] for ends in ((0.5, 0.999), (0.999, 1)))
    assert log_challenger_e_value(right, wrong, a, b) == pytest.approx(math.log(mixture / whole), abs=1e-7)


def test_far_below_one_half_the_evidence_stays_finite() -> None:
    # Laplace at the boundary 1/2: the e-value falls like 1/(2 (f - s)), never to minus infinity.
    assert log_challenger_e_value(0, 3000) == pytest.approx(math.log(2 * 0.5 / 3001), abs=1e-10)
    near = [log_challenger_e_value(right, 1100) for right in range(0, 200, 10)]
    assert all(later > earlier for earlier, later in pairwise(near))


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.5, 10), st.floats(0.5, 10))
def test_when_both_are_right_equally_often_the_next_e_value_is_as_expected(
    right: int, wrong: int, a: float, b: float
) -> None:
    now = math.exp(log_challenger_e_value(right, wrong, a, b))
    up = math.exp(log_challenger_e_value(right + 1, wrong, a, b))
    down = math.exp(log_challenger_e_value(right, wrong + 1, a, b))
    assert (up + down) / 2 == pytest.approx(now, rel=1e-8)
    assert up >= down * (1 - 1e-9)


def test_looking_after_every_pair_rarely_accuses_equal_models() -> None:
    # Exact: the chance that the latched p ever falls to 0.05 within 300 pairs, by summing over all paths.
    alive, crossed = np.array([1.0]), 0.0
    for pairs in range(1, 301):
        step = np.zeros(pairs + 1)
        step[1:] += alive / 2
        step[:-1] += alive / 2
        over = np.array([log_challenger_e_value(right, pairs - right) >= math.log(20) for right in range(pairs + 1)])
        crossed += step[over].sum()
        alive = np.where(over, 0.0, step)
    assert 0.005 < crossed <= 0.05


def test_evidence_once_reached_is_latched() -> None:
    found = challenger_evidence([True] * 8 + [False] * 8)
    assert found.log_e[-1] < found.log_running_maximum[-1] == max(found.log_e)
    assert found.p_value == pytest.approx(math.exp(-found.log_e[7]))
    assert found.log_e[7] == pytest.approx(log_challenger_e_value(8, 0))


def test_evidence_for_the_champion_is_none_for_the_challenger() -> None:
    assert challenger_evidence([False] * 20).p_value == 1
    assert challenger_evidence([]).p_value == 1


def test_a_uniform_prior_after_one_win_is_three_halves() -> None:
    # The mean of 2q over q uniform on (1/2, 1].
    assert log_challenger_e_value(1, 0) == pytest.approx(math.log(1.5), abs=1e-14)
    assert float(betaln(1, 1)) == 0


def test_input_that_is_no_evidence_is_refused() -> None:
    with pytest.raises(ValueError, match="counts"):
        log_challenger_e_value(-1, 2)
    with pytest.raises(ValueError, match="prior"):
        log_challenger_e_value(1, 2, 0, 1)
    with pytest.raises(ValueError, match="booleans"):
        challenger_evidence([0.4])  # type: ignore[list-item]
