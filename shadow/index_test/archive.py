"""What the harness asks of a router or PACS, whatever language that speaks: what it has, and the files themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, time
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """A study as an archive lists it; text is empty and the rest None where it does not say.

    Attributes:
        study_instance_uid: (0020,000D); empty or malformed as the archive sent it.
        accession_number: (0008,0050).
        study_date, study_time: (0008,0020), (0008,0030), by the site's wall clock; without a usable date the day
            that was asked about.
        study_description: (0008,1030).
        modalities: Modalities in Study (0008,0061).
        birth_date: (0010,0030), for the age rule alone; it goes no further.
        instances: Number of Study Related Instances (0020,1208).
    """

    study_instance_uid: str
    accession_number: str
    study_date: date
    study_time: time | None
    study_description: str
    modalities: frozenset[str]
    birth_date: date | None
    instances: int | None


@dataclass(frozen=True, slots=True)
class FetchedInstance:
    """One instance as an archive sent it: its command's UIDs and its encoded data set, not parsed."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: memoryview


class Archive(Protocol):
    """A router or PACS. Every method may raise ArchiveUnavailable."""

    def studies_of(self, day: date, modality: str) -> Iterator[ListedStudy]:
        """The studies of a day that hold a series of the modality; one may be told twice.

        An archive that ignores a key answers with more than was asked for.
        """

    def instance_count(self, study_instance_uid: str) -> int | None:
        """Number of Study Related Instances, or None where the archive does not say or does not know the study."""

    def station_name(self, study_instance_uid: str, modality: str) -> str | None:
        """Station Name of the study's first series of the modality that has one; empty where none has.

        None where the study has no series of the modality.
        """

    def fetch(self, study_instance_uid: str, take: Callable[[FetchedInstance], None]) -> None:
        """Hand every instance of the study to `take`.

        Raises:
            ArchiveUnavailable: it did not send all that it said it would.
        """


def parsed_count(text: str) -> int | None:
    """A DICOM integer string (IS, 12 characters at most), or None."""
    return int(text) if text.strip().isdecimal() and len(text) <= 12 else None
