"""A site file: who sends to us from there, in which time zone, with which scanners and shifts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from zoneinfo import ZoneInfo

from shadow.domain.identifiers import ACCESSION_RULES
from shadow.domain.shift import ShiftCalendar, ShiftStart
from shadow.protocol.network import check_ae_title
from shadow.protocol.reader import read_toml


@dataclass(frozen=True, slots=True)
class Shift:
    """A shift by its local wall-clock start; it lasts until the next one starts."""

    name: str
    starts: time


@dataclass(frozen=True, slots=True)
class Scanner:
    """One scanner as the trial counts it, recognised by Station Name (0008,1010)."""

    identifier: str
    name: str
    station_name: str

    def __post_init__(self) -> None:
        if not self.station_name or self.station_name != self.station_name.strip():
            raise ValueError("station_name: must be as the images have it, without a space around it, and not empty")


@dataclass(frozen=True, slots=True)
class ReportTable:
    """Which columns of a CSV or Parquet table hold what, and which values of the status mean what.

    A status that none of the lists names is not final. Columns that are left out are not read.
    """

    accession_number: str
    text: str
    status: str
    final: tuple[str, ...]
    corrected: tuple[str, ...] = ()
    preliminary: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()
    reported_at: str = ""
    observed_at: str = ""
    patient_id: str = ""

    def __post_init__(self) -> None:
        if not self.final:
            raise ValueError("final: name at least one value of the status column")

    def names(self) -> tuple[str, ...]:
        """The columns."""
        return (self.accession_number, self.text, self.status, self.reported_at, self.observed_at, self.patient_id)


@dataclass(frozen=True, slots=True)
class Site:
    """One hospital site.

    Attributes:
        identifier: how tables name the site, for example `riverside`.
        name: how pages name it.
        time_zone: the zone of the site's wall clocks.
        accession_issuer: the issuer under which accession numbers are unique.
        accession_rule: the versioned rule of `shadow.domain.identifiers` that normalises them.
        calling_ae_titles: AE titles whose associations carry this site's studies.
        sending_facilities: MSH-4 values whose messages carry this site's reports.
        default_character_set: Python codec for HL7 messages whose MSH-18 is empty.
        shifts: the weekday schedule.
        weekend_shifts: the schedule of weekends and holidays; empty means as on weekdays.
        holidays: dates that follow the weekend schedule.
        scanners: the scanners on trial, in the order pages show them.
        report_table: how tables of reports are read; None where the site sends none.
    """

    identifier: str
    name: str
    time_zone: ZoneInfo
    accession_issuer: str
    accession_rule: str
    calling_ae_titles: tuple[str, ...]
    sending_facilities: tuple[str, ...]
    default_character_set: str
    shifts: tuple[Shift, ...]
    scanners: tuple[Scanner, ...]
    weekend_shifts: tuple[Shift, ...] = ()
    holidays: tuple[date, ...] = ()
    report_table: ReportTable | None = None

    def __post_init__(self) -> None:
        if not self.calling_ae_titles:
            raise ValueError("calling_ae_titles: name at least one; else no study can come from there")
        for title in self.calling_ae_titles:
            check_ae_title("calling_ae_titles", title)
        if self.accession_rule not in ACCESSION_RULES:
            raise ValueError(f"accession_rule: '{self.accession_rule}' is none; choose {' or '.join(ACCESSION_RULES)}")
        if not _reads_headers(self.default_character_set):
            raise ValueError(
                f"default_character_set: '{self.default_character_set}' reads no HL7; "
                "write a Python codec such as latin-1 or utf-8"
            )
        if not self.shifts:
            raise ValueError("shifts: name at least one shift")
        for name, schedule in (("shifts", self.shifts), ("weekend_shifts", self.weekend_shifts)):
            if len({shift.starts for shift in schedule}) != len(schedule):
                raise ValueError(f"{name}: two shifts start at the same time")
        for field in ("identifier", "station_name"):
            if len({getattr(scanner, field) for scanner in self.scanners}) != len(self.scanners):
                raise ValueError(f"scanners: two scanners have the same {field}")

    def calendar(self) -> ShiftCalendar:
        """The site's shift calendar."""
        weekday = tuple(ShiftStart(shift.starts, shift.name) for shift in self.shifts)
        weekend = tuple(ShiftStart(shift.starts, shift.name) for shift in self.weekend_shifts)
        return ShiftCalendar(self.time_zone, weekday, weekend or weekday, frozenset(self.holidays))

    def scanner_of(self, station_name: str) -> Scanner | None:
        """The scanner with this Station Name, or None where the site file does not list it."""
        return next((one for one in self.scanners if one.station_name == station_name.strip()), None)


def _reads_headers(codec: str) -> bool:
    try:
        return b"MSH|".decode(codec) == "MSH|"
    except (LookupError, ValueError):
        return False


def read_site(path: Path) -> Site:
    """Read one site file.

    Raises:
        ConfigurationError: naming file, field and remedy.
    """
    return read_toml(path, Site)
