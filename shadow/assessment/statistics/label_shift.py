"""How much of the target condition is out there, and what performance would follow, from unlabelled scores.

Both rest on assumptions that a failing scanner breaks. They are shown with that sentence, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LABEL_SHIFT_CAVEAT = "Valid only if positives look as they did; a scanner on which they turn subtle breaks it."
CONCEPT_SHIFT_CAVEAT = "Blind to concept shift: it misses precisely a scanner on which positives turn subtle."


@dataclass(frozen=True, slots=True)
class LabelShift:
    """Estimated class shares and their ratio to the reference's, shape (classes,)."""

    shares: Floats
    weights: Floats
    caveat: str = LABEL_SHIFT_CAVEAT


@dataclass(frozen=True, slots=True)
class ExpectedPerformance:
    """The confusion matrix that calibrated scores would lead one to expect. Rates are None without a denominator."""

    true_positives: float
    false_positives: float
    false_negatives: float
    true_negatives: float
    sensitivity: float | None
    specificity: float | None
    caveat: str = CONCEPT_SHIFT_CAVEAT


def black_box_shift(confusion: ArrayLike, called: ArrayLike) -> LabelShift:
    """BBSE: class shares in the target from its calls (Lipton, Wang & Smola 2018, ICML). Binary: Rogan-Gladen.

    `confusion[i, j]` is the reference's joint share of call i and class j, shape (classes, classes); `called` the
    target's shares of calls. Weights w solve confusion w = called, clipped at 0; shares are w times the reference's.

    >>> joint = [[0.09, 0.045], [0.01, 0.855]]  # sensitivity .9, specificity .95, prevalence .1
    >>> black_box_shift(joint, [0.16, 0.84]).shares.round(6).tolist()
    [0.129412, 0.870588]

    Raises:
        ValueError: shapes do not fit, shares do not add up to 1, or the confusion cannot be inverted.
    """
    joint, calls = np.asarray(confusion, float), np.asarray(called, float)
    if joint.ndim != 2 or joint.shape != (calls.size, calls.size) or min(joint.min(), calls.min()) < 0:
        raise ValueError("confusion and called: expected shares of shape (classes, classes) and (classes,)")
    if abs(joint.sum() - 1) > 1e-6 or abs(calls.sum() - 1) > 1e-6:
        raise ValueError("confusion and called: expected shares that add up to 1")
    if np.linalg.cond(joint) > 1e10:
        raise ValueError("the confusion cannot be inverted; expected calls that tell the classes apart")
    weights = np.maximum(np.linalg.solve(joint, calls), 0.0)
    shares = weights * joint.sum(axis=0)
    return LabelShift(shares / shares.sum(), weights)


def expectation_maximisation(
    scores: ArrayLike, reference_shares: ArrayLike, tolerance: float = 1e-12, rounds: int = 10_000
) -> LabelShift:
    """Class shares in the target by EM on calibrated scores (Saerens et al. 2002, Neural Comput 14:21).

    `scores` has shape (cases,) for the positive class, or (cases, classes); `reference_shares` likewise: the
    prevalence, or a share a class.

    >>> found = expectation_maximisation([0.9, 0.8, 0.2, 0.1, 0.1], 0.5)
    >>> round(float(found.shares[0]), 4)
    0.3474

    Raises:
        ValueError: a score is no probability, a share is 0, or shapes do not fit.
    """
    given = np.asarray(scores, float)
    prior = np.atleast_1d(np.asarray(reference_shares, float))
    if given.ndim == 1:
        given = np.column_stack([given, 1 - given])
        prior = np.array([prior[0], 1 - prior[0]])
    if given.shape[1:] != prior.shape or given.shape[0] == 0 or not ((prior > 0) & (prior < 1)).all():
        raise ValueError("reference_shares: expected shares strictly between 0 and 1, one a class")
    if not ((given >= 0) & (given <= 1)).all() or np.abs(given.sum(axis=1) - 1).max() > 1e-6:
        raise ValueError("scores: expected probabilities that add up to 1")
    shares = prior.copy()
    for _ in range(rounds):
        tilted = given * (shares / prior)
        updated = (tilted / tilted.sum(axis=1, keepdims=True)).mean(axis=0)
        done = np.abs(updated - shares).max() < tolerance
        shares = updated
        if done:
            break
    return LabelShift(shares, shares / prior)


def expected_performance(scores: ArrayLike, threshold: float) -> ExpectedPerformance:
    """CBPE: expected confusion matrix of calls at a threshold from calibrated scores, shape (cases,).

    E[TP] = sum of p over the calls, E[FN] = sum of p over the rest. Never a substitute for labels.

    >>> round(expected_performance([0.9, 0.6, 0.4, 0.1], 0.5).sensitivity, 4)
    0.75

    Raises:
        ValueError: a score is no probability.
    """
    p = np.asarray(scores, float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("scores: expected one-dimensional probabilities")
    called = p >= threshold
    tp, fn = float(p[called].sum()), float(p[~called].sum())
    fp, tn = float((1 - p[called]).sum()), float((1 - p[~called]).sum())
    return ExpectedPerformance(
        tp, fp, fn, tn, tp / (tp + fn) if tp + fn > 0 else None, tn / (tn + fp) if tn + fp > 0 else None
    )
