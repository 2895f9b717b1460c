"""What the harness asks of a router or PACS, whatever language that speaks: what it has, and the files themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Protocol

SHORTEST_SPAN = timedelta(minutes=15)


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


@dataclass(frozen=True, slots=True)
class Listed:
    """What an archive lists of a span of one day; `is_cut` where it says that it has more."""

    studies: list[ListedStudy]
    is_cut: bool = False

    @property
    def uids(self) -> set[str]:
        """Study Instance UIDs, as they were sent."""
        return {one.study_instance_uid for one in self.studies}


class ListCutShort(Exception):
    """An archive has more studies within a quarter of an hour than it lists at once."""


def every_study(day: date, ask: Callable[[datetime, datetime], Listed]) -> Iterator[ListedStudy]:
    """The studies of a day, also from an archive that lists no more than so many at once and may not say so.

    An answer that is shorter than the longest one is whole: the archive would have listed as many. Of one that is as
    long, or holds what an answer about more did not, the halves of its span are asked for too. An archive that tells
    where it cuts is believed. What has come stands: a study without a time of day is in neither half.

    Args:
        day: by the archive's wall clock.
        ask: asks for the studies from an instant of the day until before another one.

    Raises:
        ListCutShort: the shortest span holds more than is listed.
    """
    begin = datetime.combine(day, time())
    all_day = begin, begin + timedelta(days=1)
    whole = ask(*all_day)
    yield from whole.studies
    known, longest, tells = whole.uids, len(whole.studies), whole.is_cut
    spans = [all_day] if whole.studies or whole.is_cut else []
    while spans:
        begin, end = spans.pop()
        middle = begin + (end - begin) / 2
        halves = {span: ask(*span) for span in ((begin, middle), (middle, end))}
        tells |= any(half.is_cut for half in halves.values())
        first, second = halves.values()
        if not tells and first.uids == second.uids:
            continue  # it does not ask for the time of day
        grown: dict[tuple[datetime, datetime], bool] = {}
        for span, half in halves.items():
            fresh = [one for one in half.studies if one.study_instance_uid not in known]
            yield from fresh
            known |= half.uids
            longest = max(longest, len(half.studies))
            grown[span] = bool(fresh)
        for span, half in reversed(halves.items()):
            is_full = bool(half.studies) and len(half.studies) == longest
            if half.is_cut or (not tells and (is_full or grown[span])):
                if span[1] - span[0] > SHORTEST_SPAN:
                    spans.append(span)
                elif half.is_cut or (is_full and len(known) > longest and not known <= ask(*all_day).uids):
                    raise ListCutShort  # where all of it stands in one answer, more came between the questions


def parsed_count(text: str) -> int | None:
    """A DICOM integer string (IS, 12 characters at most), or None."""
    return int(text) if text.strip().isdecimal() and len(text) <= 12 else None
