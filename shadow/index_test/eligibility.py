"""Who is in the trial, judged on what was known at acquisition; every refusal is a stable, counted code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shadow.index_test.study_header import StudyHeader
from shadow.protocol.trial import TrialProtocol


class ExclusionReason(StrEnum):
    """Why a study revision is not in the trial."""

    NO_READABLE_INSTANCE = "no_readable_instance"
    UNKNOWN_SITE = "unknown_site"
    WRONG_MODALITY = "wrong_modality"
    STUDY_DESCRIPTION_EXCLUDED = "study_description_excluded"
    STUDY_DESCRIPTION_NOT_LISTED = "study_description_not_listed"
    AGE_UNKNOWN = "age_unknown"
    AGE_BELOW_MINIMUM = "age_below_minimum"
    ACQUISITION_TIME_UNKNOWN = "acquisition_time_unknown"
    OUTSIDE_INDEX_WINDOW = "outside_index_window"
    ADMISSION_FAILED = "admission_failed"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A refusal: its code, and a detail that holds the protocol's words and never the study's."""

    reason: str
    detail: str


def exclusion_of(header: StudyHeader, protocol: TrialProtocol, *, site_is_known: bool) -> Exclusion | None:
    """The first rule of the protocol that the study does not meet, or None where it is eligible."""
    rules = protocol.eligibility
    description = header.study_description.upper()
    forbidden = next((word for word in rules.study_description_none if word in description), None)
    if not site_is_known:
        return Exclusion(ExclusionReason.UNKNOWN_SITE, "no site of the trial lists the calling AE title")
    if rules.modality not in header.modalities:
        return Exclusion(ExclusionReason.WRONG_MODALITY, f"no series of {rules.modality}")
    if forbidden is not None:
        return Exclusion(ExclusionReason.STUDY_DESCRIPTION_EXCLUDED, forbidden)
    if not rules.admits_description(description):
        return Exclusion(ExclusionReason.STUDY_DESCRIPTION_NOT_LISTED, "")
    if header.patient_age_years is None:
        return Exclusion(ExclusionReason.AGE_UNKNOWN, "")
    if header.patient_age_years < rules.minimum_age_years:
        return Exclusion(ExclusionReason.AGE_BELOW_MINIMUM, f"below {rules.minimum_age_years} years")
    if header.acquired_at is None:
        return Exclusion(ExclusionReason.ACQUISITION_TIME_UNKNOWN, "")
    if not protocol.index_window_start <= header.acquired_at < protocol.index_window_end:
        return Exclusion(ExclusionReason.OUTSIDE_INDEX_WINDOW, "")
    return None
