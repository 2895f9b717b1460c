"""A proportion with its n and its interval for display, or no figure where there is no denominator."""

from __future__ import annotations

from shadow.assessment.snapshot import Proportion
from shadow.assessment.statistics.proportions import wilson


def proportion(count: int, of: int) -> Proportion:
    """A figure for display. Without a denominator there is no figure: never 0, never 1.

    >>> proportion(0, 0)
    Proportion(count=0, of=0, estimate=None, lower=None, upper=None)
    """
    if of == 0:
        return Proportion(count, of, None, None, None)
    limits = wilson(count, of)
    return Proportion(count, of, count / of, limits.lower, limits.upper)
