"""What a protocol can find at the sites' own volumes, before it is registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shadow.assessment.cohorts import Place
from shadow.assessment.monitors import weighted_family
from shadow.assessment.statistics.family import FamilyRule
from shadow.assessment.statistics.sample_size import (
    AlarmChance,
    StoppingSize,
    alarm_chance,
    positives_for_exact_limit,
    positives_under_daily_looks,
)
from shadow.assessment.subgroups import label_of
from shadow.protocol.site import Site
from shadow.protocol.trial import Criterion, Measure, Scope, TrialProtocol
from shadow.protocol.volumes import Volume

SEED = 20261123
POWER = 0.8
STEPS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.25, 0.0)


@dataclass(frozen=True, slots=True)
class PlannedCriterion:
    """What a sensitivity criterion takes where it takes most.

    Attributes:
        identifier: of the criterion. label: the group with the fewest positives that it is judged on.
        floor: of the criterion. positives_per_week: of the group.
        size: positives until it is met under daily looks. exact: the same at one planned look with a power of .9;
            None where the assumed sensitivity is not enough.
    """

    identifier: str
    label: str
    floor: float
    positives_per_week: float
    size: StoppingSize
    exact: int | None

    def weeks(self, positives: int | None) -> float | None:
        """Weeks until so many positives; None for never."""
        return None if positives is None or not self.positives_per_week else positives / self.positives_per_week


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """What the monitors can find in one declared group.

    Attributes:
        positives_per_week: expected.
        detectable: the highest sensitivity (of a grid) that alarms within the horizon in at least 80 of 100 trials;
            None where none does: this group cannot alarm within the trial.
        bad: what happens were its sensitivity the one asked about.
    """

    label: str
    dimension: str
    positives_per_week: float
    detectable: float | None
    bad: AlarmChance


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan, for an assumed sensitivity of healthy groups and one of a bad group."""

    sensitivity: float
    bad: float
    positives_per_week: float
    weeks_planned: float | None
    horizon_weeks: int
    criteria: tuple[PlannedCriterion, ...]
    groups: tuple[PlannedGroup, ...]

    @property
    def mute(self) -> tuple[PlannedGroup, ...]:
        """The groups that cannot alarm within the horizon, whatever their sensitivity."""
        return tuple(group for group in self.groups if group.detectable is None)


def plan_trial(
    protocol: TrialProtocol, sites: Sequence[Site], volumes: Sequence[Volume], sensitivity: float, bad: float
) -> Plan:
    """Simulate the protocol's criteria and monitors at these volumes; seeded, so that it can be repeated.

    Raises:
        ValueError: a sensitivity is not strictly between 0 and 1, or no positives are expected.
    """
    for name, share in (("sensitivity", sensitivity), ("bad sensitivity", bad)):
        if not 0 < share < 1:
            raise ValueError(f"{name} is {share}; expected a number strictly between 0 and 1")
    rates = {(one.site, one.scanner, one.shift): one.positives_per_week for one in volumes}
    everything = sum(rates.values())
    if not everything:
        raise ValueError("the volumes expect no positives at all; write down what the sites expect")
    generator = np.random.default_rng(SEED)
    promise = protocol.monitoring
    rule = FamilyRule(promise.floor, promise.alpha, promise.horizon_weeks, promise.watch_weeks)
    family = weighted_family(sites, promise.weights)
    weekly = {place: _rate(place, rates) for place, _ in family}
    return Plan(
        sensitivity,
        bad,
        everything,
        protocol.planned_positives / everything,
        promise.horizon_weeks,
        tuple(
            _criterion(one, weekly, sites, sensitivity, generator)
            for one in protocol.criteria
            if one.measure is Measure.SENSITIVITY
        ),
        tuple(
            _group(place, weight, weekly[place], everything, rule, sites, (sensitivity, bad), generator)
            for place, weight in family
        ),
    )


def _rate(place: Place, rates: dict[tuple[str, str, str], float]) -> float:
    _, site, scanner, shift = place
    return sum(
        rate
        for cell, rate in rates.items()
        if (not site or cell[0] == site) and (not scanner or cell[1] == scanner) and (not shift or cell[2] == shift)
    )


def _criterion(
    criterion: Criterion,
    weekly: dict[Place, float],
    sites: Sequence[Site],
    sensitivity: float,
    generator: np.random.Generator,
) -> PlannedCriterion:
    dimension = "all" if criterion.scope is Scope.ALL else "cell"
    place = min((one for one in weekly if one[0] == dimension), key=lambda one: weekly[one])
    alpha = (1 - criterion.confidence) / 2
    exact = None
    if sensitivity > criterion.floor:
        exact = positives_for_exact_limit(sensitivity, criterion.floor, 0.9, alpha).stable
    return PlannedCriterion(
        criterion.identifier,
        label_of(place, sites),
        criterion.floor,
        weekly[place],
        positives_under_daily_looks(sensitivity, criterion.floor, generator, alpha),
        exact,
    )


def _group(
    place: Place,
    weight: float,
    weekly: float,
    everything: float,
    rule: FamilyRule,
    sites: Sequence[Site],
    assumed: tuple[float, float],
    generator: np.random.Generator,
) -> PlannedGroup:
    healthy, bad = assumed
    rates = (weekly, everything - weekly)

    def chance(own: float) -> AlarmChance:
        return alarm_chance(rule, weight, rates, (own, healthy), generator)

    detectable = next((step for step in STEPS if step < healthy and chance(step).alarmed >= POWER), None)
    return PlannedGroup(label_of(place, sites), place[0], weekly, detectable, chance(bad))
