"""The exploratory scan over real events: a planted cause is named, chance is not, and a patient counts once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from test_cohorts import case
from test_linkage import PROTOCOL, linked

from shadow.assessment.cohorts import weekly_cohorts
from shadow.assessment.exploration import explore
from shadow.assessment.linkage import count_groups
from shadow.assessment.snapshot import Exploration
from shadow.assessment.subgroups import all_groups
from shadow.protocol.site import read_site
from shadow.store.events import Event, StudyClosed

CONFIGS = Path(__file__).parents[2] / "configs"
SITES = tuple(read_site(CONFIGS / "sites" / f"{name}.toml") for name in PROTOCOL.sites)
WORST = "Riverside CT-2, Night"


def positive(number: int, found: bool, thickness: float, patient: str | None = None) -> list[Event]:
    """A confirmed positive; thick ones come from another scanner at night, with its own kernel."""
    events = case(str(number), number % 20, "present", 0.9 if found else 0.1, patient)
    closed = events[0]
    assert isinstance(closed, StudyClosed)
    thick = thickness == 10.0
    events[0] = replace(
        closed,
        scanner="riverside-ct-2" if thick else "riverside-ct-1",
        shift="Night" if thick else "Day",
        slice_thickness_mm=thickness,
        convolution_kernel="STD+" if thick else "H30",
        kvp=120.0,
        patient_age_years=30 + number * 7 % 50,
    )
    return events


def explored(folder: Path, events: list[Event]) -> Exploration:
    with linked(folder, *events) as connection:
        cohorts = weekly_cohorts(connection, PROTOCOL, PROTOCOL.index_window_end)
        groups = all_groups(count_groups(connection), cohorts, SITES, PROTOCOL)
        return explore(connection, groups, WORST, PROTOCOL)


def test_a_planted_cause_is_named_with_all_that_goes_with_it(tmp_path: Path) -> None:
    events = [one for n in range(14) for one in positive(n, n >= 11, 10.0)]
    events += [one for n in range(14, 50) for one in positive(n, n >= 16, 5.0)]
    first = explored(tmp_path, events).slices[0]
    assert {"slices of 10 mm", "kernel STD+"} <= set(first.conditions)
    assert "120 kVp" not in first.conditions
    assert (first.missed, first.positives, first.rest_missed, first.rest_positives) == (11, 14, 2, 36)
    assert (first.worst_missed_inside, first.worst_missed) == (11, 11)
    assert first.adjusted_p < 0.01


def test_a_patient_scanned_often_is_one_miss_and_not_many(tmp_path: Path) -> None:
    events = [one for n in range(14) for one in positive(n, False, 10.0, patient="one patient")]
    events += [one for n in range(14, 40) for one in positive(n, n % 3 > 0, 5.0)]
    found = explored(tmp_path, events)
    assert all(one.positives + one.rest_positives == 27 for one in found.slices)
    assert all(one.adjusted_p > 0.05 for one in found.slices)


def test_without_positives_nothing_is_looked_at(tmp_path: Path) -> None:
    assert explored(tmp_path, case("1", 0, "absent", 0.1)) == Exploration(0, ())
