"""The whole rehearsal before it begins: every study, patient, bleed, scanner, report and instant, from one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from zoneinfo import ZoneInfo

import numpy as np

from shadow.rehearsal.phantom import Patient, draw_patient
from shadow.rehearsal.scanners import AQUILION, DEFINITION, HISPEED, INGENUITY, REVOLUTION, ScannerPhysics

FAMILY_NAMES = (
    "Abernathy Bellweather Castellano Dragomir Eastergaard Fitzwilliam Guadarrama Hollingsworth Ibrahimovic Jankowski "
    "Kowalczyk Lindqvist Montgomery Nakashima Oyelaran Papadakis Quintanilla Rasmussen Szymanski Thorvaldsen "
    "Underwood Vasquez Wetherby Xiomara Yamaguchi Zimmermann"
).split()
GIVEN_NAMES = {
    "F": "Adelheid Beatriz Chiamaka Delphine Esperanza Fatoumata Guinevere Henrietta Ingeborg Jacinta".split(),
    "M": "Aurelio Bartholomew Cornelius Desmond Evander Ferdinand Giovanni Hieronymus Ignatius Jedediah".split(),
}
READERS = ("Quigley", "Ostrowski", "Delacroix", "Mbeki", "Svensson")
HOUR_WEIGHTS = np.array(
    [3.0, 2.7, 2.4, 2.2, 2.2, 2.5, 3.0, 3.2, 3.8, 4.6, 5.4, 5.6,
     5.4, 4.8, 4.2, 4.0, 3.9, 4.0, 4.4, 4.9, 4.7, 3.8, 3.2, 3.2]
)  # fmt: skip
"""Arrivals by local hour: about one in four at night, peaks late in the morning and early in the evening."""


class Ineligible(StrEnum):
    """Studies that come along with the head CTs and belong to no head CT trial."""

    CHEST = "chest"
    ANGIOGRAPHY = "angiography"
    CHILD = "child"


class Defect(StrEnum):
    """What can go wrong with the images of an otherwise fitting study."""

    LOCALIZER_ONLY = "localizer_only"
    TRUNCATED_PIXEL_DATA = "truncated_pixel_data"
    MISSING_SLICES = "missing_slices"
    FOREIGN_RESCALE_TYPE = "foreign_rescale_type"


class Verdict(StrEnum):
    """What the radiologist writes."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"


class MessageKind(StrEnum):
    """Why a message is sent."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    CORRECTION = "correction"
    ADDENDUM = "addendum"
    ORPHAN = "orphan"
    JUNK = "junk"


@dataclass(frozen=True, slots=True)
class Station:
    """A scanner by its name on the network; which physics it has is the plan's mapping."""

    name: str
    serial_number: str
    share_by_day: float
    share_at_night: float


@dataclass(frozen=True, slots=True)
class HospitalSite:
    """One site of the hospital, as its neighbours on the network know it."""

    identifier: str
    institution: str
    zone: ZoneInfo
    calling_ae_title: str
    facility: str
    share: float
    sends_offset: bool
    stations: tuple[Station, ...]


RIVERSIDE = HospitalSite(
    "riverside", "Riverside General Hospital", ZoneInfo("America/New_York"), "RIVERSIDE_RTR", "RIVERSIDE", 0.72, True,
    (
        Station("RVCT1", "71044", 0.48, 0.08),
        Station("RVCT2", "20519", 0.12, 0.85),
        Station("RVCT3", "88213", 0.40, 0.07),
    ),
)  # fmt: skip
HILLSIDE = HospitalSite(
    "hillside", "Hillside Clinic", ZoneInfo("America/Chicago"), "HILLSIDE_RTR", "HILLSIDE", 0.28, False,
    (Station("HSCT1", "33107", 0.55, 0.5), Station("HSCT2", "33950", 0.45, 0.5)),
)  # fmt: skip
SITES = (RIVERSIDE, HILLSIDE)
PHYSICS: MappingProxyType[str, ScannerPhysics] = MappingProxyType(
    {"RVCT1": DEFINITION, "RVCT2": HISPEED, "RVCT3": REVOLUTION, "HSCT1": INGENUITY, "HSCT2": AQUILION}
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a patient is to the hospital; planted so that a leak can be found."""

    patient_id: str
    name: str
    birth_date: date
    sex: str


@dataclass(frozen=True, slots=True)
class PlannedStudy:
    """One study as it will be sent, with its truth.

    Attributes:
        number: position in the order of arrival.
        pixel_seed: seed of head and acquisition.
        ineligible, defect: None for an ordinary head CT.
        verdict: what the radiologist will write.
    """

    number: int
    site: HospitalSite
    station: Station
    physics: ScannerPhysics
    arrival: datetime
    identity: Identity
    patient: Patient
    pixel_seed: int
    study_instance_uid: str
    accession_number: str
    setting: str
    ineligible: Ineligible | None
    defect: Defect | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class PlannedMessage:
    """One message as it will be sent; `study` None for a report whose study never comes here, and for junk.

    `repeat` marks a message sent once more, byte for byte, as engines do after a lost acknowledgment.
    """

    control_id: str
    site: HospitalSite
    kind: MessageKind
    result_status: str
    due: datetime
    accession_number: str
    study: PlannedStudy | None
    verdict: Verdict
    wording_seed: int
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class HospitalPlan:
    """Everything that will happen, in order of arrival and of due time."""

    seed: int
    start: datetime
    end: datetime
    studies: tuple[PlannedStudy, ...]
    messages: tuple[PlannedMessage, ...]
    never_reported: frozenset[int]


def shift_name(site: HospitalSite, instant: datetime) -> str:
    """Day from 7, evening from 15, night from 23 h, by the site's wall clock."""
    hour = instant.astimezone(site.zone).hour
    if 7 <= hour < 15:
        return "Day"
    return "Evening" if 15 <= hour < 23 else "Night"


def plan_hospital(
    seed: int, studies: int, weeks: int, start: datetime, swap: tuple[str, str] | None = None
) -> HospitalPlan:
    """Plan a hospital.

    Args:
        seed: another seed, other patients.
        studies: head CTs together with the few ineligible studies that come along.
        weeks: length of the calendar.
        start: its first instant, aware.
        swap: two station names whose physics change places; names and serial numbers stay.

    Raises:
        KeyError: a station to swap does not exist.
    """
    physics = dict(PHYSICS)
    if swap is not None:
        physics[swap[0]], physics[swap[1]] = PHYSICS[swap[1]], PHYSICS[swap[0]]
    random = np.random.default_rng(seed)
    end = start + timedelta(weeks=weeks)
    arrivals = sorted(
        (_arrival(random, site, start, weeks), number) for number, site in enumerate(_sites(random, studies))
    )
    sites = _sites(np.random.default_rng(seed), studies)
    known: dict[str, list[tuple[Identity, int]]] = {site.identifier: [] for site in SITES}
    planned = tuple(
        _study(random, seed, order, sites[number], arrival, known, physics)
        for order, (arrival, number) in enumerate(arrivals)
    )
    messages, never = _messages(random, planned, start, end)
    return HospitalPlan(seed, start, end, planned, messages, never)


def _sites(random: np.random.Generator, count: int) -> list[HospitalSite]:
    chosen = random.random(count)
    return [RIVERSIDE if one < RIVERSIDE.share else HILLSIDE for one in chosen]


def _arrival(random: np.random.Generator, site: HospitalSite, start: datetime, weeks: int) -> datetime:
    day = int(random.integers(0, weeks * 7))
    hour = int(random.choice(24, p=HOUR_WEIGHTS / HOUR_WEIGHTS.sum()))
    local = (start.astimezone(site.zone) + timedelta(days=day)).replace(
        hour=hour, minute=int(random.integers(0, 60)), second=int(random.integers(0, 60)), microsecond=0
    )
    return min(max(local.astimezone(UTC), start), start + timedelta(weeks=weeks, seconds=-1))


def _study(
    random: np.random.Generator,
    seed: int,
    number: int,
    site: HospitalSite,
    arrival: datetime,
    known: dict[str, list[tuple[Identity, int]]],
    physics: dict[str, ScannerPhysics],
) -> PlannedStudy:
    night = shift_name(site, arrival) == "Night"
    shares = np.array([one.share_at_night if night else one.share_by_day for one in site.stations])
    station = site.stations[int(random.choice(len(shares), p=shares / shares.sum()))]
    ineligible = list(Ineligible)[int(random.integers(0, 3))] if random.random() < 0.04 else None
    inpatient = bool(random.random() < 0.28)
    patient = draw_patient(random, 0.25 if inpatient else 0.07)
    if ineligible is Ineligible.CHILD:
        patient = Patient(int(random.integers(4, 17)), patient.sex, None, patient.severity)
    identity, age = _identity(random, site, patient, arrival, known[site.identifier], follow_up=ineligible is None)
    patient = Patient(age, identity.sex, patient.bleed, patient.severity)
    defect = list(Defect)[int(random.integers(0, 4))] if ineligible is None and random.random() < 0.012 else None
    accession = f"R{number + 1200:08d}" if site is RIVERSIDE else f"HS-{arrival.year}-{number + 400:06d}"
    return PlannedStudy(
        number=number,
        site=site,
        station=station,
        physics=physics[station.name],
        arrival=arrival,
        identity=identity,
        patient=patient,
        pixel_seed=1_000_000_000 + seed * 1_000_000 + number,
        study_instance_uid=f"1.2.826.0.1.3680043.10.1511.{seed + 1}.{number + 1}",
        accession_number=accession,
        setting="inpatient" if inpatient else "emergency",
        ineligible=ineligible,
        defect=defect,
        verdict=_verdict(random, patient),
    )


def _identity(
    random: np.random.Generator,
    site: HospitalSite,
    patient: Patient,
    arrival: datetime,
    known: list[tuple[Identity, int]],
    *,
    follow_up: bool,
) -> tuple[Identity, int]:
    if follow_up and known and random.random() < 0.08:
        return known[int(random.integers(0, len(known)))]
    given = GIVEN_NAMES[patient.sex]
    name = f"{FAMILY_NAMES[int(random.integers(0, len(FAMILY_NAMES)))]}^{given[int(random.integers(0, len(given)))]}"
    birth = date(arrival.year - patient.age_years - 1, int(random.integers(1, 13)), int(random.integers(1, 29)))
    patient_id = f"{site.facility[:2]}{int(random.integers(100_000, 999_999))}{len(known):04d}"
    identity = Identity(patient_id, name, birth, patient.sex)
    if patient.age_years >= 18:
        known.append((identity, patient.age_years))
    return identity, patient.age_years


def _verdict(random: np.random.Generator, patient: Patient) -> Verdict:
    """A good reader, not a perfect one: sensitivity .95, specificity .995, uncertain wording in 6 of 100."""
    seen = random.random() < (0.95 if patient.bleed is not None else 0.005)
    if random.random() < 0.06:
        return Verdict.UNCERTAIN
    return Verdict.PRESENT if seen else Verdict.ABSENT


def _minutes(random: np.random.Generator, median: float, spread: float) -> timedelta:
    return timedelta(minutes=float(median * np.exp(random.normal(0, spread))))


def _messages(
    random: np.random.Generator, studies: tuple[PlannedStudy, ...], start: datetime, end: datetime
) -> tuple[tuple[PlannedMessage, ...], frozenset[int]]:
    messages: list[PlannedMessage] = []
    never: set[int] = set()
    for study in studies:
        if random.random() < 0.02:
            never.add(study.number)
        else:
            messages += _report_life(random, study)
    for number in range(round(0.015 * len(studies))):
        messages.append(_stray(random, number, MessageKind.ORPHAN, start, end))
    for number in range(max(2, round(0.003 * len(studies)))):
        messages.append(_stray(random, number, MessageKind.JUNK, start, end))
    sent = sorted((one for one in messages if one.due < end), key=lambda one: (one.due, one.control_id))
    repeats = [one for one in sent if one.kind is not MessageKind.JUNK and random.random() < 0.01]
    again = [replace(one, repeat=True) for one in repeats]
    everything = sorted(sent + again, key=lambda one: (one.due, one.control_id, one.repeat))
    return tuple(everything), frozenset(never)


def _report_life(random: np.random.Generator, study: PlannedStudy) -> list[PlannedMessage]:
    """Preliminary at night after about an hour, final after about nine; by day final after about 55 minutes."""
    shift = shift_name(study.site, study.arrival)
    wording = int(random.integers(0, 2**31))

    def message(kind: MessageKind, status: str, due: datetime, number: int) -> PlannedMessage:
        return PlannedMessage(
            f"{study.site.facility[:2]}{study.number:06d}{number}", study.site, kind, status, due,
            study.accession_number, study, study.verdict, wording,
        )  # fmt: skip

    life = []
    if shift == "Night" or (shift == "Evening" and random.random() < 0.2):
        life.append(message(MessageKind.PRELIMINARY, "P", study.arrival + _minutes(random, 60, 0.3), 1))
        final = study.arrival + timedelta(hours=2) + _minutes(random, 420, 0.25)
    else:
        final = study.arrival + _minutes(random, 55, 0.6)
    life.append(message(MessageKind.FINAL, "F", final, 2))
    if random.random() < 0.03:
        later = final + _minutes(random, 1_500, 0.5)
        if random.random() < 0.5:
            life.append(message(MessageKind.CORRECTION, "C", later, 3))
        else:
            life.append(message(MessageKind.ADDENDUM, "F", later, 3))
    return life


def _stray(
    random: np.random.Generator, number: int, kind: MessageKind, start: datetime, end: datetime
) -> PlannedMessage:
    site = SITES[int(random.integers(0, 2))]
    due = start + (end - start) * float(random.uniform(0.02, 0.98))
    return PlannedMessage(
        f"{site.facility[:2]}{'X' if kind is MessageKind.ORPHAN else 'J'}{number:05d}", site, kind, "F", due,
        f"X{number + 77000:06d}", None, Verdict.ABSENT, int(random.integers(0, 2**31)),
    )  # fmt: skip
