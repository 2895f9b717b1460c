"""Champion against challenger looked at after every study: an e-process on the discordant pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shadow.assessment.statistics.sequential import log_acceptance_e_value


@dataclass(frozen=True, slots=True)
class ChallengerEvidence:
    """Evidence after each discordant pair that the challenger is the better of the two.

    `log_e` is the current log e-value, `log_running_maximum` its highest so far, and `p_value` the latched
    min(1, 1/maximum): by Ville's inequality P(p_value ever <= alpha) <= alpha under H0, however often one looks.
    """

    log_e: tuple[float, ...]
    log_running_maximum: tuple[float, ...]
    p_value: float


def log_challenger_e_value(
    challenger_right: int, champion_right: int, prior_right: float = 1.0, prior_wrong: float = 1.0
) -> float:
    """Log e-value against H0: given that the models disagree, the challenger is right at most half the time.

    A beta mixture of likelihood ratios truncated to (1/2, 1]:
    E = 2^n B(a+s, b+f) [1 - I_1/2(a+s, b+f)] / (B(a, b) [1 - I_1/2(a, b)]), s and f the pairs that challenger and
    champion got right, I the regularised incomplete beta function (Robbins 1970, Ann Math Stat 41:1397; Howard et al.
    2021, Ann Stat 49:1055). Validity does not depend on the prior, which must be fixed before the first look;
    Beta(1, 1) favours no advantage in particular.

    >>> round(log_challenger_e_value(15, 3), 6)
    3.518728

    Raises:
        ValueError: a count is negative, or a prior parameter is not positive.
    """
    if challenger_right < 0 or champion_right < 0:
        raise ValueError("challenger_right and champion_right must be counts from 0")
    if not (prior_right > 0 and prior_wrong > 0):
        raise ValueError("prior_right and prior_wrong must be positive")
    return float(log_acceptance_e_value(challenger_right, champion_right, 0.5, (prior_right, prior_wrong)))


def challenger_evidence(
    challenger_right: Sequence[bool], prior_right: float = 1.0, prior_wrong: float = 1.0
) -> ChallengerEvidence:
    """The e-process over the discordant pairs in index-time order: True where the challenger was the one right.

    Pairs on which both are right or both wrong carry no evidence and are left out by the caller. Feed one pair per
    patient episode and only matured labels, in the order of the studies and not of the labels.

    >>> challenger_evidence([True] * 8).p_value < 0.05
    True
    >>> challenger_evidence([]).p_value
    1.0

    Raises:
        ValueError: an entry is not a boolean, or a prior parameter is not positive.
    """
    log_e: list[float] = []
    highest: list[float] = []
    right = 0
    for seen, one in enumerate(challenger_right, start=1):
        if one not in (True, False):
            raise ValueError(f"challenger_right must hold booleans, one per discordant pair, not {one!r}")
        right += bool(one)
        log_e.append(log_challenger_e_value(right, seen - right, prior_right, prior_wrong))
        highest.append(max(log_e[-1], highest[-1] if highest else 0.0))
    return ChallengerEvidence(tuple(log_e), tuple(highest), math.exp(-highest[-1]) if highest else 1.0)
