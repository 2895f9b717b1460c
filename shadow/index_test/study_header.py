"""What a study says about itself in its headers: patient, order, scanner, acquisition."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median_low
from zoneinfo import ZoneInfo

from shadow.domain.shift import local_instant
from shadow.index_test.character_sets import in_unicode
from shadow.index_test.deidentify_values import device_text
from shadow.index_test.dicom_time import acquisition_date, parsed_date, parsed_offset, parsed_time, split_date_time
from shadow.index_test.frames import Frame, count_frames, first_frame
from shadow.index_test.identifying_words import IdentifyingWords, identifying_words
from shadow.index_test.instance import Instance
from shadow.index_test.series import LOCALIZERS, NOT_ACQUIRED
from shadow.index_test.sop_classes import IMAGE_CLASSES

IDENTITY_KEYWORDS = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "AccessionNumber",
    "StudyInstanceUID",
    "StudyID",
    "ReferringPhysicianName",
)
"""What the vault keeps of a study."""
_NOT_OF_THE_SCANNER = NOT_ACQUIRED | {"SECONDARY"}
_MONTHS, _WEEKS, _DAYS = 12, 52, 365
_OLDEST_SHOWN = 90
_A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """One study revision by its headers; text is empty and numbers are None where the study does not say.

    Attributes:
        identity: `IDENTITY_KEYWORDS` with their values, those that are not empty.
        modalities: Modality (0008,0060) of the instances.
        study_description: as it came; it may hold anything.
        station_name, manufacturer, ...: of the largest series of acquired images that is not a localizer; of a
            multi-frame image those of its first frame.
        convolution_kernel, kvp, slice_thickness_mm: so too, until `with_acquisition_of` knows better.
        acquired_at: the earliest acquisition within a day before the middle one of the largest series, UTC: an old
            image that was sent along, or a wrong date, does not move a study out of the trial's window. Where that
            series was acquired at no time that it tells, the study's own date and time.
        accession_numbers: those that the images give, as they are written; a document may come from elsewhere.
        patient_age_years: Patient's Age (0010,1010), else from the birth date; not capped.
    """

    identity: tuple[tuple[str, str], ...]
    modalities: frozenset[str]
    study_description: str
    station_name: str
    acquired_at: datetime | None
    manufacturer: str | None
    manufacturer_model_name: str | None
    convolution_kernel: str | None
    kvp: float | None
    slice_thickness_mm: float | None
    patient_age_years: int | None
    patient_sex: str | None
    software_versions: str | None
    accession_numbers: frozenset[str] = frozenset()

    def identified(self, keyword: str) -> str:
        """One of the identity's values; empty where the study has none."""
        return dict(self.identity).get(keyword, "")

    @property
    def shown_age_years(self) -> int | None:
        """The age as the ledger may hold it: 90 and more is 90."""
        return None if self.patient_age_years is None else min(self.patient_age_years, _OLDEST_SHOWN)


def read_study_header(instances: Sequence[Instance], zone: ZoneInfo | None) -> StudyHeader:
    """Read a study's header from its readable instances, the same from the same instances in any order.

    Args:
        instances: at least one.
        zone: of the site's wall clocks, used where an instance has no Timezone Offset From UTC. None where
            the site is unknown: an instance without an offset then has no acquisition instant.
    """
    ordered = sorted(instances, key=lambda one: one.text("SOPInstanceUID"))
    main = _main_instance(ordered)
    series = main.text("SeriesInstanceUID")
    ordered.sort(key=lambda one: one.text("SeriesInstanceUID") != series)  # what a stray says comes last
    identity = tuple((keyword, value) for keyword in IDENTITY_KEYWORDS if (value := _first_decoded(ordered, keyword)))
    acquired_at = _study_acquired_at(ordered, series, zone)
    words, frame = identifying_words(main), first_frame(main)
    sex = main.text("PatientSex").upper()
    return StudyHeader(
        identity=identity,
        modalities=frozenset(one.text("Modality").upper() for one in ordered) - {""},
        study_description=_first_decoded(ordered, "StudyDescription"),
        station_name=main.text("StationName"),
        acquired_at=acquired_at,
        manufacturer=_plain(frame, "Manufacturer", words),
        manufacturer_model_name=_plain(frame, "ManufacturerModelName", words),
        convolution_kernel=_plain(frame, "ConvolutionKernel", words),
        kvp=_measured(frame, "KVP", words),
        slice_thickness_mm=_measured(frame, "SliceThickness", words),
        patient_age_years=_age_years(main, acquired_at),
        patient_sex=sex if sex in {"F", "M", "O"} else None,
        software_versions=_plain(frame, "SoftwareVersions", words),
        accession_numbers=_different(ordered, "AccessionNumber"),
    )


def with_acquisition_of(header: StudyHeader, image: Frame) -> StudyHeader:
    """The header with kernel, kVp and slice thickness of one image, which the model sees."""
    words = identifying_words(image.instance)
    return replace(
        header,
        convolution_kernel=_plain(image, "ConvolutionKernel", words),
        kvp=_measured(image, "KVP", words),
        slice_thickness_mm=_measured(image, "SliceThickness", words),
    )


def _main_instance(ordered: Sequence[Instance]) -> Instance:
    """The first instance of the largest series of acquired images; others only where there is nothing else.

    A workstation's reformats may be more than the slices that the scanner made, and bear the workstation's name.
    """
    images = [one for one in ordered if one.text("SOPClassUID") in IMAGE_CLASSES]
    no_localizers = [one for one in images if LOCALIZERS.isdisjoint(_image_type(one))]
    candidates = [one for one in no_localizers if _is_acquired(one)] or no_localizers or images or list(ordered)
    sizes: Counter[str] = Counter()
    for one in candidates:
        sizes[one.text("SeriesInstanceUID")] += count_frames(one)
    series = min(sizes, key=lambda uid: (-sizes[uid], uid))
    return next(one for one in candidates if one.text("SeriesInstanceUID") == series)


def _is_acquired(image: Instance) -> bool:
    image_type = _image_type(image)
    return image_type[:1] != ["DERIVED"] and _NOT_OF_THE_SCANNER.isdisjoint(image_type)


def _image_type(image: Instance) -> list[str]:
    return [one.upper() for one in image.texts("ImageType")]


def _different(instances: Sequence[Instance], keyword: str) -> frozenset[str]:
    images = (one for one in instances if one.text("SOPClassUID") in IMAGE_CLASSES)
    return frozenset(one.text(keyword) for one in images) - {""}


def _first_decoded(instances: Sequence[Instance], keyword: str) -> str:
    for instance in instances:
        value = decoded(instance, keyword)
        if value:
            return value
    return ""


def decoded(instance: Instance, keyword: str) -> str:
    """A text in the instance's own character set (0008,0005); what does not fit it is replaced, not lost."""
    raw = instance.raw(keyword)
    return in_unicode(raw, instance.texts("SpecificCharacterSet")) if raw else ""


def _study_acquired_at(ordered: Sequence[Instance], series: str, zone: ZoneInfo | None) -> datetime | None:
    own = [one for one in ordered if one.text("SeriesInstanceUID") == series]
    found = (
        _instants(own, "Acquisition", zone)
        or _instants(own, "Study", zone)
        or _instants(ordered, "Acquisition", zone)
        or _instants(ordered, "Study", zone)
    )
    if not found:
        return None
    middle = median_low(found)  # not the earliest: a single image with a wrong date decides nothing
    # A dose report was not acquired: its Study Time may be that of the registration, hours before.
    acquired = _instants(ordered, "Acquisition", zone)
    return min(instant for instant in (*found, *acquired) if middle - instant <= _A_DAY)


def _instants(instances: Sequence[Instance], kind: str, zone: ZoneInfo | None) -> list[datetime]:
    return [instant for one in instances if (instant := _instant(one, kind, zone)) is not None]


def _instant(instance: Instance, kind: str, zone: ZoneInfo | None) -> datetime | None:
    """The date and time of this kind, Acquisition or Study, in UTC; None where they cannot be read.

    Enhanced images have Acquisition DateTime (0008,002A) instead, with an offset of its own.
    """
    written = (instance.text(f"{kind}Date"), instance.text(f"{kind}Time"), "")
    if kind == "Acquisition" and not (written[0] and written[1]):
        written = split_date_time(instance.text("AcquisitionDateTime"))
    day, wall_clock = acquisition_date(written[0]), parsed_time(written[1])
    offset = parsed_offset(written[2] or instance.text("TimezoneOffsetFromUTC"))
    if day is None or wall_clock is None:
        return None
    try:
        if zone is not None:
            return local_instant(day, wall_clock, zone, offset)
        if offset is not None:
            return (datetime.combine(day, wall_clock) - offset).replace(tzinfo=UTC)
    except OverflowError:
        pass
    return None


def _age_years(instance: Instance, acquired_at: datetime | None) -> int | None:
    text = instance.text("PatientAge").upper().zfill(4)
    if len(text) == 4 and text[:3].isdecimal() and text[3] in "DWMY":
        years = {"D": _DAYS, "W": _WEEKS, "M": _MONTHS, "Y": 1}[text[3]]
        return int(text[:3]) // years
    born = parsed_date(instance.text("PatientBirthDate"))
    if born is None or acquired_at is None or born > acquired_at.date():
        return None
    day = acquired_at.date()
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def _plain(frame: Frame, keyword: str, words: IdentifyingWords) -> str | None:
    """A device's word about itself as the ledger may hold it: short printable ASCII that names nobody, else None."""
    separator = ", " if keyword == "SoftwareVersions" else "\\"
    kept = [device_text(one, words) for one in frame.texts(keyword)]
    return separator.join(one for one in kept if one)[:64] or None


def _measured(frame: Frame, keyword: str, words: IdentifyingWords) -> float | None:
    """A number that the scanner measured; None where it has none, is none, or is an identifier of the header."""
    value = frame.number(keyword)
    if value is None or not math.isfinite(value):
        return None
    written = (*frame.texts(keyword), f"{value:.0f}")  # a binary number has no text
    return None if any(words.number(one) for one in written) else value
