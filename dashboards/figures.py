"""Figures in words: counts, proportions and intervals, as every sentence, table and chart prints them."""

from __future__ import annotations

from datetime import UTC, datetime

from shadow.assessment.snapshot import Proportion

NONE_YET = "none yet"


def counted(count: int) -> str:
    """A count with its thousands set apart.

    >>> counted(1540)
    '1,540'
    """
    return f"{count:,}"


def number_of(count: int, singular: str, plural: str) -> str:
    """A count with its noun.

    >>> number_of(1, "study", "studies"), number_of(2, "study", "studies")
    ('1 study', '2 studies')
    """
    return f"{counted(count)} {singular if count == 1 else plural}"


def positives(count: int, target_plural: str) -> str:
    """A number of confirmed positives. The protocol names them in the plural only, so one is a `case`.

    >>> positives(31, "bleeds"), positives(1, "bleeds")
    ('31 bleeds', '1 confirmed case')
    """
    return "1 confirmed case" if count == 1 else f"{counted(count)} {target_plural}"


def percent(share: float) -> str:
    """A share as a whole percentage; only none is 0% and only all is 100%.

    >>> percent(0.614), percent(0.999), percent(0.001), percent(1.0)
    ('61%', 'over 99%', 'under 1%', '100%')
    """
    if 0.0 < share < 0.005:
        return "under 1%"
    if 0.995 <= share < 1.0:
        return "over 99%"
    return f"{share:.0%}"


def estimate(proportion: Proportion) -> str:
    """The estimate as a percentage, or that there is none yet."""
    return NONE_YET if proportion.estimate is None else percent(proportion.estimate)


def share(proportion: Proportion) -> str:
    """Numerator and denominator: `19 of 31`, or that there is nothing to count yet."""
    return f"{counted(proportion.count)} of {counted(proportion.of)}" if proportion.of else NONE_YET


def interval(lower: float | None, upper: float | None) -> str:
    """An interval: `44% to 76%`, or that there is none yet."""
    if lower is None or upper is None:
        return NONE_YET
    return f"{lower:.0%} to {upper:.0%}"


def estimate_with_interval(proportion: Proportion) -> str:
    """Estimate and its 95 % interval for reading: `61%; 95% CI 44% to 76%`."""
    if proportion.estimate is None:
        return NONE_YET
    return f"{percent(proportion.estimate)}; 95% CI {interval(proportion.lower, proportion.upper)}"


def instant(at: datetime) -> str:
    """An instant for reading: `22 Nov 2026 06:00 UTC`."""
    return f"{at.astimezone(UTC):%-d %b %Y %H:%M} UTC"


def code_in_words(code: str) -> str:
    """A stable reason code for reading.

    >>> code_in_words("no_report")
    'no report'
    """
    return code.replace("_", " ")
