from itertools import combinations

import numpy as np
import pytest

from shadow.assessment.statistics.heterogeneity import subgroup_versus_rest
from shadow.assessment.statistics.scan import Condition, Slice, scan


def named(slices: tuple[Slice, ...]) -> dict[str, Slice]:
    return {" & ".join(f"{one.attribute} {one.level}" for one in each.conditions): each for each in slices}


def trial(random: np.random.Generator, of: int) -> dict[str, np.ndarray]:
    return {
        "scanner": random.choice(["CT-1", "CT-2", "CT-3"], of),
        "shift": random.choice(["day", "evening", "overnight"], of, p=[0.5, 0.3, 0.2]),
        "slice thickness": random.choice([1.25, 5.0], of),
        "kernel": random.choice(["H30s", "J40s", "STANDARD"], of),
        "sex": random.choice(["F", "M"], of),
        "age": random.integers(18, 95, of),
    }


def test_planted_ten_millimetre_slices_are_found_and_named_as_what_explains_overnight_ct_2() -> None:
    random = np.random.default_rng(12)
    attributes = trial(random, 1_500)
    target = (attributes["scanner"] == "CT-2") & (attributes["shift"] == "overnight")
    thick = target & (random.random(1_500) < 0.6) | (random.random(1_500) < 0.005)
    attributes["slice thickness"][thick] = 10.0
    missed = random.random(1_500) < np.where(thick, 0.45, 0.07)
    found = scan(missed, attributes, cut_points={"age": [40, 65]}, target=target, permutations=999, seed=3)
    first = found[0]
    assert first.conditions == (Condition("slice thickness", "10"),)
    assert first.adjusted_p == 1 / 1_000
    assert (first.inside.missed, first.inside.positives) == (int(missed[thick].sum()), int(thick.sum()))
    assert first.outside.positives == 1_500 - first.inside.positives
    assert first.inside.limits.lower <= first.inside.sensitivity <= first.inside.limits.upper < 0.8
    explained = first.explains
    assert explained is not None and explained.outside is not None
    assert explained.missed_inside / explained.missed > 0.75
    assert explained.outside.sensitivity > 0.88
    assert explained.difference.crude.upper < -0.1
    assert explained.difference.standardised is not None
    assert explained.difference.standardised.lower < 0 < explained.difference.standardised.upper


def test_a_failure_of_two_attributes_together_is_found_among_pairs() -> None:
    random = np.random.default_rng(5)
    attributes = trial(random, 2_000)
    both = (attributes["kernel"] == "J40s") & (attributes["scanner"] == "CT-3")
    missed = random.random(2_000) < np.where(both, 0.35, 0.07)
    first = scan(missed, attributes, cut_points={"age": [40, 65]}, pairs=True, permutations=199)[0]
    assert set(first.conditions) == {Condition("kernel", "J40s"), Condition("scanner", "CT-3")}
    assert first.adjusted_p == 1 / 200 and first.explains is None


def test_raw_p_values_are_fishers() -> None:
    random = np.random.default_rng(2)
    attributes = trial(random, 300)
    missed = random.random(300) < 0.15
    for name, each in named(scan(missed, {"kernel": attributes["kernel"]}, permutations=9)).items():
        inside = attributes["kernel"] == name.removeprefix("kernel ")
        counts = [
            int(np.sum(part)) for part in (~missed & inside, missed & inside, ~missed & ~inside, missed & ~inside)
        ]
        assert each.p_value == pytest.approx(subgroup_versus_rest(*counts).p_worse, rel=1e-10)


def test_adjusted_p_values_are_near_those_of_all_deals_counted_one_by_one() -> None:
    kernel, site = list("aaaabbbbcccc"), list("xxyyyxyyxxyx")
    missed = np.array([True, True, True, False, False, True, False, False, False, False, False, False])
    attributes = {"kernel": kernel, "site": site}
    observed = scan(missed, attributes, minimum_positives=1, permutations=20_000, seed=8)
    smallest = []
    for deal in combinations(range(12), 4):
        dealt = np.isin(np.arange(12), deal)
        smallest.append(min(one.p_value for one in scan(dealt, attributes, minimum_positives=1, permutations=1)))
    for one in observed:
        exact = float(np.mean(np.array(smallest) <= one.p_value * (1 + 1e-9)))
        assert one.adjusted_p == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 20_000) ** 0.5 + 1e-4)


def test_within_strata_the_p_value_counts_only_deals_within_strata() -> None:
    # Scanner A misses everything it may miss; the kernel differs only within B.
    scanner = ["A"] * 4 + ["B"] * 6
    kernel = ["x", "x", "x", "y", *"xxxyyy"]
    missed = np.array([True, True, False, True, True, True, False, False, False, False])
    found = named(scan(missed, {"kernel": kernel}, minimum_positives=1, strata=scanner, permutations=9))
    reached = total = 0
    for a in combinations(range(4), 3):
        for b in combinations(range(4, 10), 2):
            total += 1
            reached += sum(kernel[one] == "x" for one in (*a, *b)) >= 4
    assert found["kernel x"].p_value == pytest.approx(reached / total, rel=1e-12)


@pytest.mark.parametrize("stratified", [False, True])
def test_under_the_null_any_slice_stands_out_in_one_trial_of_twenty(stratified: bool) -> None:
    random = np.random.default_rng(2024)
    trials, alarms = 200, 0
    for seed in range(trials):
        attributes = trial(random, 160)
        rate = np.where(attributes["scanner"] == "CT-2", 0.35, 0.05) if stratified else 0.12
        missed = random.random(160) < rate
        found = scan(
            missed,
            {**attributes, "machine": attributes["scanner"]},
            cut_points={"age": [40, 65]},
            strata=attributes["scanner"].tolist() if stratified else None,
            permutations=199,
            seed=seed,
        )
        alarms += min(one.adjusted_p for one in found) <= 0.05
    assert alarms / trials == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / trials) ** 0.5)


def test_a_difference_between_scanners_raises_alarms_unless_they_are_strata() -> None:
    random = np.random.default_rng(9)
    attributes = trial(random, 600)
    missed = random.random(600) < np.where(attributes["scanner"] == "CT-2", 0.35, 0.05)
    attributes["software"] = np.where(attributes["scanner"] == "CT-2", "VB20", "VA48")
    crude = named(scan(missed, attributes, permutations=199))
    assert crude["software VB20"].adjusted_p == 1 / 200
    within = named(scan(missed, attributes, permutations=199, strata=attributes["scanner"].tolist()))
    assert within["software VB20"].p_value == 1.0 and within["software VB20"].adjusted_p == 1.0


def test_missing_values_are_a_level_of_their_own_and_numbers_fall_between_cuts() -> None:
    missed = [True] * 4 + [False] * 8
    attributes = {
        "age": [10, 18, 18, 64, 65, 90, None, float("nan"), 30, 40, 50, 60],
        "thickness": [1.25, 5, 5.0, 10, None, 1.25, 1.25, 1.25, 5, 5, 5, 5],
        "kernel": ["a", None, None, "b", "b", "b", "b", "b", "b", "b", "b", "b"],
    }
    found = named(scan(missed, attributes, cut_points={"age": [18, 65]}, minimum_positives=1, permutations=9))
    counts = {name: (each.inside.missed, each.inside.positives) for name, each in found.items()}
    assert counts == {
        "age < 18": (1, 1),
        "age 18 to < 65": (3, 7),
        "age >= 65": (0, 2),
        "age unknown": (0, 2),
        "thickness 1.25": (1, 4),
        "thickness 5": (2, 6),
        "thickness 10": (1, 1),
        "thickness unknown": (0, 1),
        "kernel a": (1, 1),
        "kernel b": (1, 9),
        "kernel unknown": (2, 2),
    }


def test_small_slices_and_pairs_that_repeat_one_attribute_are_not_looked_at() -> None:
    missed = [True] * 3 + [False] * 27
    attributes = {"scanner": ["A"] * 9 + ["B"] * 21, "software": ["1"] * 9 + ["2"] * 21, "sex": ["F", "M"] * 15}
    assert set(named(scan(missed, attributes, pairs=True, permutations=9))) == {
        "scanner B", "software 2", "sex F", "sex M", "scanner B & sex F", "scanner B & sex M", "software 2 & sex F",
        "software 2 & sex M",
    }  # fmt: skip
    assert scan(missed, attributes, minimum_positives=25) == ()
    assert scan(missed, {"country": ["NL"] * 30}) == ()


def test_without_a_miss_nothing_stands_out() -> None:
    for outcome in (False, True):
        found = scan([outcome] * 40, {"sex": ["F", "M"] * 20}, permutations=19)
        assert [(one.p_value, one.adjusted_p) for one in found] == [(1.0, 1.0), (1.0, 1.0)]


def test_a_target_that_is_all_slice_has_nothing_outside() -> None:
    missed = [True] * 5 + [False] * 35
    thick = ["10"] * 10 + ["5"] * 30
    found = named(scan(missed, {"t": thick}, target=[one == "10" for one in thick], permutations=9))
    explained = found["t 10"].explains
    assert explained is not None and explained.outside is None and explained.difference.standardised is None
    assert (explained.missed_inside, explained.missed, explained.positives_inside) == (5, 5, 10)


def test_the_same_seed_gives_the_same_answer() -> None:
    random = np.random.default_rng(1)
    attributes, missed = trial(random, 400), random.random(400) < 0.1
    assert scan(missed, attributes, permutations=99) == scan(missed, attributes, permutations=99)


def test_what_cannot_be_scanned_is_refused() -> None:
    missed, kernel = [True, False] * 10, {"kernel": ["a", "b"] * 10}
    for words, call in [
        ("missed", lambda: scan([], {})),
        ("missed", lambda: scan([1, 0], {})),
        ("kernel", lambda: scan(missed, {"kernel": ["a"]})),
        ("cut_points", lambda: scan(missed, kernel, cut_points={"age": [1]})),
        ("increasing", lambda: scan(missed, {"age": [1.0] * 20}, cut_points={"age": [2, 2]})),
        ("increasing", lambda: scan(missed, {"age": [1.0] * 20}, cut_points={"age": []})),
        ("no number", lambda: scan(missed, kernel, cut_points={"kernel": [1]})),
        ("target", lambda: scan(missed, kernel, target=[True])),
        ("target", lambda: scan(missed, kernel, target=[False] * 20)),
        ("strata", lambda: scan(missed, kernel, strata=["A"])),
        ("permutations", lambda: scan(missed, kernel, permutations=0)),
        ("minimum_positives", lambda: scan(missed, kernel, minimum_positives=0)),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
