"""What the protocol promises about watching the trial day by day: floor, error rates, maturity, family."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class FamilyWeights:
    """How the family's alpha is shared among kinds of groups; within a kind evenly. They add up to at most 1.

    Attributes:
        overall: all studies together.
        site, scanner, shift: each site, each scanner, each shift.
        site_and_shift: each shift of each site. scanner_and_shift: each shift of each scanner.
    """

    overall: float
    site: float
    scanner: float
    shift: float
    site_and_shift: float
    scanner_and_shift: float

    def __post_init__(self) -> None:
        shares: tuple[float, ...] = astuple(self)
        if not all(0 < share < 1 for share in shares):
            raise ValueError("weights: each must lie between 0 and 1")
        if sum(shares) > 1 + 1e-9:
            raise ValueError(f"weights: add up to {sum(shares):g}; they must add up to at most 1")


@dataclass(frozen=True, slots=True)
class Completeness:
    """How it is watched that every eligible study reaches us, by what the sites' archives list.

    Attributes:
        floor: a group of which at least this share reaches us is healthy. Error rate, horizon and family are those
            of the monitoring of sensitivity, a second time: P(any false alarm) is at most alpha for each of the two.
    """

    floor: float

    def __post_init__(self) -> None:
        if not 0 < self.floor < 1:
            raise ValueError("floor: must lie between 0 and 1, for example 0.95")


@dataclass(frozen=True, slots=True)
class Monitoring:
    """How sensitivity is watched under daily looks (docs/statistics.md).

    Attributes:
        floor: a group whose sensitivity is at least this is healthy.
        alpha: P(any false alarm over the whole family within the horizon) is at most this.
        horizon_weeks: the weeks that this promise covers.
        watch_weeks: mean weeks until a healthy group is wrongly put on watch; at least this.
        maturity_days: a week's studies are fed to the monitors once they are at least this old,
        closed_when_labelled: and this share of them has a final report,
        closed_at_latest_days: or they are this old.
        weights: the family.
    """

    floor: float
    alpha: float
    horizon_weeks: int
    watch_weeks: int
    maturity_days: int
    closed_when_labelled: float
    closed_at_latest_days: int
    weights: FamilyWeights

    def __post_init__(self) -> None:
        for name in ("floor", "alpha", "closed_when_labelled"):
            if not 0 < getattr(self, name) <= 1 or (name != "closed_when_labelled" and getattr(self, name) == 1):
                raise ValueError(f"{name}: must lie between 0 and 1")
        for name in ("horizon_weeks", "watch_weeks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if not 0 <= self.maturity_days <= self.closed_at_latest_days:
            raise ValueError("maturity_days: must lie between 0 and closed_at_latest_days")
