"""Has what the model sees changed since the first weeks? Data quality first, then alerts, scores, and inputs.

A description and an early warning. Whether the model got worse only the reports can say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shadow.assessment.analysed import AnalysedCases, Booleans, Floats
from shadow.assessment.evidence import Drift, DriftRow, Unlabelled
from shadow.assessment.snapshot import Group
from shadow.assessment.statistics.drift import (
    CAVEAT,
    WATCH_WEEKS,
    Shift,
    category_shift,
    classifier_two_sample,
    kolmogorov_smirnov,
    log_drift_detector,
    maximum_mean_discrepancy,
    permute_weeks,
    population_stability_index,
    rate_limits,
    stability_limit,
)
from shadow.assessment.statistics.heterogeneity import permutation_chi_square, subgroup_versus_rest
from shadow.assessment.statistics.label_shift import black_box_shift, expectation_maximisation, expected_performance

SEED = 260
FEWEST = 20
PERMUTATIONS = 200
BINS = 5
OUTSIDE = 0.01
FEWEST_A_WEEK = 5
FOLDS = 5
MOST_SCORES = 20_000
MOST_INPUTS = 200
MOST_A_WEEK = 60
Weeks = NDArray[np.int64]


def input_drift(
    cases: AnalysedCases,
    groups: Sequence[Group],
    reference_weeks: int,
    threshold: float,
    weeks_so_far: int,
    calibrated: bool,
) -> Drift:
    """Every scanner, and all studies, in its reference weeks against the weeks after them.

    What the model sees needs no report, so every week counts, closed or not; label shift rests on closed ones. What
    takes the score for a probability is left out unless the score is `calibrated`.
    """
    later = cases.week >= reference_weeks
    current_weeks = max(0, weeks_so_far - reference_weeks)
    if not later.any() or later.all():
        return Drift(reference_weeks, current_weeks, (), (), CAVEAT)
    rows: list[DriftRow] = []
    for group in groups:
        if group.dimension not in ("all", "scanner"):
            continue
        mine = np.ones(len(cases), dtype=bool) if group.dimension == "all" else cases.scanner == group.scanner
        before, after = mine & ~later, mine & later
        if min(int(before.sum()), int(after.sum())) >= FEWEST:
            rows += _quality(group.label, cases, before, after)
            rows += _scores(group.label, cases, before, after)
            rows += _attributes(group.label, cases, before, after)
            rows += _inputs(group.label, cases, before, after)
    order = {"quality": 0, "alerts": 1, "score": 2, "attribute": 3, "input": 4}
    rows.sort(key=lambda one: order[one.kind])
    # What is estimated from flags and scores moves with them, so their weekly evidence is its evidence.
    everyone = [one for one in rows if one.group == groups[0].label]
    flags = next((one.watch for one in everyone if one.kind == "alerts"), None)
    scores = next((one.watch for one in everyone if one.kind == "score"), None)
    unlabelled = _unlabelled(cases, later, threshold, calibrated, flags, scores)
    return Drift(reference_weeks, current_weeks, tuple(rows), unlabelled, CAVEAT)


def _quality(label: str, cases: AnalysedCases, before: Booleans, after: Booleans) -> list[DriftRow]:
    """Rates with limits that allow for both samples' sizes."""
    tags = np.isnan(cases.thickness_mm) | np.isnan(cases.kvp) | (cases.kernel == "") | np.isnan(cases.age_years)
    things = (
        ("quality", "no result (failed or missing)", ~cases.answered),
        ("quality", "a header value is missing", tags),
        ("alerts", "flagged", cases.found),
    )
    return [_rate(kind, label, what, flags, cases.week, before, after) for kind, what, flags in things]


def _rate(
    kind: str, label: str, what: str, flags: Booleans, week: Weeks, before: Booleans, after: Booleans
) -> DriftRow:
    count, of, share = int(flags[before].sum()), int(before.sum()), float(flags[after].mean())
    low, high = rate_limits((count, of), int(after.sum()))

    def p_of(rows: Booleans) -> float:
        now = int(flags[rows].sum())
        return subgroup_versus_rest(now, int(rows.sum()) - now, count, of - count).p_two_sided

    return DriftRow(
        kind, label, what, True, count / of, share, of, int(after.sum()), "", None, None,
        not low <= share <= high, _watch(week, after, p_of),
    )  # fmt: skip


def _watch(week: Weeks, after: Booleans, p_of: Callable[[Booleans], float]) -> bool | None:
    """The detector on weekly p-values stands above a limit that no drift crosses once in five years on average."""
    weeks = [after & (week == one) for one in np.unique(week[after])]
    p_values = [p_of(rows) for rows in weeks if rows.sum() >= FEWEST_A_WEEK]
    return bool(log_drift_detector(p_values)[-1] > np.log(WATCH_WEEKS)) if p_values else None


def _scores(label: str, cases: AnalysedCases, before: Booleans, after: Booleans) -> list[DriftRow]:
    scored = ~np.isnan(cases.score)
    reference, current = before & scored, after & scored
    one, two = cases.score[reference], cases.score[current]
    if min(one.size, two.size) < FEWEST:
        return []
    weeks = [cases.score[(before | after) & scored & (cases.week == week)] for week in np.unique(cases.week)]
    weeks = [week for week in weeks if week.size]
    newest = sum(1 for week in np.unique(cases.week[current]))
    p_value = _by_weeks(weeks, newest)
    watch = _watch(cases.week, current, lambda rows: _known(kolmogorov_smirnov(one, cases.score[rows])))
    edges = np.unique(np.quantile(one, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, part, side="right"), minlength=edges.size + 1) for part in (one, two)]
    stability = population_stability_index(counts[0] + 0.5, counts[1] + 0.5)
    limit = stability_limit(one.size, two.size, edges.size + 1, 1 - OUTSIDE) if edges.size else np.inf
    distance = kolmogorov_smirnov(one, two).distance
    member = np.searchsorted(edges, cases.score, side="right")
    watch_bins = _watch(cases.week, current, partial(_against, counts[0], member)) if edges.size else None
    return [
        DriftRow("score", label, "score, median", False, float(np.median(one)), float(np.median(two)), one.size,
                 two.size, "largest gap (KS)", distance, p_value, p_value is not None and p_value < OUTSIDE, watch),
        DriftRow("score", label, "score, by fifths of the reference", False, None, None, one.size, two.size,
                 f"PSI, limit {limit:.2f} at these sizes", stability, None, stability > limit, watch_bins),
    ]  # fmt: skip


def _by_weeks(weeks: list[Floats], newest: int) -> float | None:
    """Whole weeks permuted, because cases of one week and scanner are alike."""
    if newest < 1 or len(weeks) - newest < 2:
        return None

    def gap(one: Floats, two: Floats) -> float:
        every = np.sort(np.concatenate([one, two]))
        first = np.searchsorted(np.sort(one), every, side="right") / one.size
        second = np.searchsorted(np.sort(two), every, side="right") / two.size
        return float(np.abs(first - second).max())

    return permute_weeks(gap, weeks, newest, np.random.default_rng(SEED), PERMUTATIONS).p_value


def _attributes(label: str, cases: AnalysedCases, before: Booleans, after: Booleans) -> list[DriftRow]:
    things: tuple[tuple[str, Callable[[Booleans], NDArray[np.object_]]], ...] = (
        ("kernel", lambda rows: cases.kernel[rows]),
        ("slice thickness", lambda rows: cases.thickness_mm[rows].astype(str).astype(object)),
        ("tube voltage", lambda rows: cases.kvp[rows].astype(str).astype(object)),
    )
    rows = []
    for what, values in things:
        names, member = np.unique(np.concatenate([values(before), values(after)]).astype(str), return_inverse=True)
        if names.size < 2:
            continue
        member_of = np.full(len(cases), -1)
        member_of[before], member_of[after] = member[: int(before.sum())], member[int(before.sum()) :]
        reference = np.bincount(member_of[before], minlength=names.size)
        shift = category_shift(reference, np.bincount(member_of[after], minlength=names.size))
        watch = _watch(cases.week, after, partial(_against, reference, member_of))
        rows.append(
            DriftRow("attribute", label, f"{what}, {names.size} values", False, None, None, int(before.sum()),
                     int(after.sum()), "Cramer's V", shift.distance, _known(shift), _known(shift) < OUTSIDE, watch)
        )  # fmt: skip
    return rows


def _against(reference: Weeks, member: Weeks, rows: Booleans) -> float:
    """One week against the reference: chi-square at its null distribution by permutation, given both margins."""
    current = np.bincount(member[rows], minlength=reference.size)
    return permutation_chi_square(reference.tolist(), current.tolist(), permutations=PERMUTATIONS)


def _known(shift: Shift) -> float:
    return 1.0 if shift.p_value is None else shift.p_value


def _inputs(label: str, cases: AnalysedCases, before: Booleans, after: Booleans) -> list[DriftRow]:
    """The summary of the model's input: a kernel test and a classifier, both with permutation p."""
    if not cases.summary.shape[1]:
        return []
    known = np.isfinite(cases.summary).all(axis=1)
    generator = np.random.default_rng(SEED)
    sides = []
    for rows in (before & known, after & known):
        chosen = np.flatnonzero(rows)
        if chosen.size > MOST_INPUTS:
            chosen = np.sort(generator.choice(chosen, MOST_INPUTS, replace=False))
        sides.append(cases.summary[chosen])
    one, two = sides
    if min(len(one), len(two)) < FEWEST:
        return []
    spread = one.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    one, two = one / scale, two / scale
    if not one.std():
        return []
    n = (len(one), len(two))
    kernel = maximum_mean_discrepancy(one, two, generator=generator, permutations=PERMUTATIONS)
    bandwidth = float(np.sqrt(np.median(((one[:, None] - one[None]) ** 2).sum(axis=2)[np.triu_indices(len(one), 1)])))

    def p_of(rows: Booleans) -> float:
        week = cases.summary[rows][:MOST_A_WEEK] / scale
        return _known(maximum_mean_discrepancy(one[::2], week, bandwidth, generator, PERMUTATIONS // 2))

    def p_told_apart(rows: Booleans) -> float:
        week = cases.summary[rows][:MOST_A_WEEK] / scale
        if len(week) < FOLDS:
            return 1.0
        return _known(classifier_two_sample(one[::2], week, generator, permutations=PERMUTATIONS // 4))

    watch = _watch(cases.week, after & known, p_of) if bandwidth > 0 else None
    watch_told_apart = _watch(cases.week, after & known, p_told_apart)
    told_apart = classifier_two_sample(one, two, generator, permutations=PERMUTATIONS)
    return [
        DriftRow("input", label, what, False, None, None, *n, measure, found.distance, _known(found),
                 _known(found) < OUTSIDE, watched)
        for what, measure, found, watched in (
            ("summary of the images, kernel test", "MMD squared", kernel, watch),
            ("summary of the images, classifier", "AUC, 0.5 is no shift", told_apart, watch_told_apart),
        )
    ]  # fmt: skip


def _unlabelled(
    cases: AnalysedCases,
    later: Booleans,
    threshold: float,
    calibrated: bool,
    flags: bool | None,
    score: bool | None,
) -> tuple[Unlabelled, ...]:
    """Prevalence and sensitivity that unlabelled scores would suggest, each with its warning."""
    labelled = cases.closed & ~later & cases.evaluable & (cases.present | cases.absent)
    new = later & cases.evaluable
    present = labelled & cases.present
    if not present.any() or not (labelled & cases.absent).any() or not new.any():
        return ()
    found: list[Unlabelled] = []
    confusion = np.array([
        [(present & cases.found).sum(), (labelled & cases.absent & cases.found).sum()],
        [(present & ~cases.found).sum(), (labelled & cases.absent & ~cases.found).sum()],
    ], dtype=float)  # fmt: skip
    called = np.array([(new & cases.found).sum(), (new & ~cases.found).sum()], dtype=float)
    try:
        boxed = black_box_shift(confusion / confusion.sum(), called / called.sum())
        found.append(Unlabelled("Prevalence by the rate of flags (BBSE)", float(boxed.shares[0]), boxed.caveat, flags))
    except (ValueError, np.linalg.LinAlgError):
        pass  # a model that flags both kinds alike says nothing of prevalence
    scores = cases.score[new & ~np.isnan(cases.score)][-MOST_SCORES:]
    if calibrated and scores.size and scores.min() >= 0 and scores.max() <= 1:
        before = float(present.sum() / labelled.sum())
        moved = expectation_maximisation(np.column_stack([scores, 1 - scores]), [before, 1 - before])
        found.append(Unlabelled("Prevalence by the scores (Saerens EM)", float(moved.shares[0]), moved.caveat, score))
        expected = expected_performance(scores, threshold)
        if expected.sensitivity is not None:
            found.append(
                Unlabelled(
                    "Sensitivity that the scores expect of themselves", expected.sensitivity, expected.caveat, score
                )
            )
    return tuple(found)
