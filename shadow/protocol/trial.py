"""The trial file: what is tested against what, on whom, and what is good enough. No clinical default."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from shadow.protocol.adjudication import Adjudication
from shadow.protocol.analysis import Analysis
from shadow.protocol.monitoring import Completeness, Monitoring
from shadow.protocol.reader import read_toml
from shadow.protocol.second_labeller import SecondLabeller
from shadow.protocol.vendor import VendorProduct


class Role(StrEnum):
    """What a model is in the trial."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


class UnmentionedPolicy(StrEnum):
    """What a final report that does not mention the target condition says about it."""

    ABSENT = "absent"
    INDETERMINATE = "indeterminate"


class Measure(StrEnum):
    """What a criterion is about."""

    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"


class Scope(StrEnum):
    """Over what a criterion is judged."""

    ALL = "all"
    SCANNER_AND_SHIFT = "scanner-and-shift"


@dataclass(frozen=True, slots=True)
class ModelUnderTrial:
    """A model that is run here, by its contract and the digest of its ONNX file; or a vendor's product elsewhere.

    Attributes:
        identifier: the identifier in its model.toml, or of the product.
        role: champion or challenger.
        contract: path of model.toml, relative to the trial file; empty for a vendor's product.
        sha256: hex SHA-256 of the ONNX file that the trial is about; empty for a vendor's product.
        vendor: the product whose results come here; None for a model that is run here.
    """

    identifier: str
    role: Role
    contract: str = ""
    sha256: str = ""
    vendor: VendorProduct | None = None

    def __post_init__(self) -> None:
        if self.vendor is None and not (self.contract and self.sha256):
            raise ValueError("contract, sha256: are missing; a model that is run here needs both")
        if self.vendor is not None and (self.contract or self.sha256):
            raise ValueError("vendor: a product that runs elsewhere has no contract and no sha256")
        if self.vendor is not None and self.role is Role.CHAMPION:
            raise ValueError("role: the champion is run here; a vendor's product can be a challenger")

    @property
    def runs_here(self) -> bool:
        """Whether studies go to it; a vendor's product only sends results."""
        return self.vendor is None

    @property
    def digest(self) -> str:
        """What tells this model from every other: of its file, or of all that is declared about the product."""
        return self.sha256 if self.vendor is None else self.vendor.sha256


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Who is in the trial, judged on data available at acquisition.

    Attributes:
        modality: Modality (0008,0060) of at least one series.
        study_description_any: the upper-cased Study Description (0008,1030) contains one of these words.
        study_description_none: and none of these.
        minimum_age_years: Patient's Age (0010,1010) at least this; an unknown age is excluded.
    """

    modality: str
    study_description_any: tuple[str, ...]
    study_description_none: tuple[str, ...]
    minimum_age_years: int

    def __post_init__(self) -> None:
        if self.modality != self.modality.strip().upper():
            raise ValueError(f"modality: write '{self.modality.strip().upper()}', as the images have it")
        if not self.study_description_any:
            raise ValueError("study_description_any: name at least one word; else no study is in the trial")
        if "" in self.study_description_none:
            raise ValueError("study_description_none: '' is in every description: leave it out")
        for words in ("study_description_any", "study_description_none"):
            for word in getattr(self, words):
                if word != word.upper():
                    raise ValueError(f"{words}: '{word}' is compared with capitals: write '{word.upper()}'")

    def admits_description(self, description: str) -> bool:
        """Whether words such as (0008,1030) hold one of the protocol's and none of those it forbids."""
        words = description.upper()
        if any(one in words for one in self.study_description_none):
            return False
        return any(one in words for one in self.study_description_any)


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    r"""Which series feeds the models.

    Attributes:
        minimum_slices: slices at fewer places than this are not evaluable.
        slice_thickness_mm_maximum: thicker slices than this are not evaluable.
        preferred_kernels: of several fitting series, the one with the earliest of these convolution kernels wins
            first, by its first value or by all (`Hr40f` or `Hr40f\3`); one that is not listed comes after them. Empty
            asks for none.
        preferred_slice_thickness_mm: then the nearest to this wins.
        gantry_tilt_degrees_maximum: more tilt than this is not evaluable; left out, tilt is a finding alone.
        start_after_quiet_seconds: the first revision of a study closes as soon as a series of the most preferred
            kernel and the preferred thickness has had no new image for so many real seconds, whatever else still
            comes; left out, it waits until the whole study is quiet.
    """

    minimum_slices: int
    slice_thickness_mm_maximum: float
    preferred_slice_thickness_mm: float
    preferred_kernels: tuple[str, ...] = ()
    gantry_tilt_degrees_maximum: float | None = None
    start_after_quiet_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.start_after_quiet_seconds is not None and not self.start_after_quiet_seconds > 0:
            raise ValueError("start_after_quiet_seconds: must be above 0")


@dataclass(frozen=True, slots=True)
class ReferenceRule:
    """How a final report becomes the reference standard.

    Attributes:
        label_rule: identifier of the rule set in shadow/reference_standard that reads the text.
        not_mentioned: what a report without a mention says.
        first_final_is_primary: must be true in this version; later versions are sensitivity analyses.
        additional_label_rules: rules of other conditions that read every final report too; their labels are on record,
            and the analysis stays with the target condition.
        second_labeller: reads every final report for agreement with the rule; never the reference standard.
        linked_days_before, linked_days_after: a report that was written earlier than so many days before the study was
            acquired, or later than so many after it, is not about it, though it bears its accession number.
    """

    label_rule: str
    not_mentioned: UnmentionedPolicy
    first_final_is_primary: bool
    additional_label_rules: tuple[str, ...] = ()
    second_labeller: SecondLabeller | None = None
    linked_days_before: float = 1.0
    linked_days_after: float = 180.0

    def __post_init__(self) -> None:
        if not self.first_final_is_primary:
            raise ValueError("first_final_is_primary: must be true; no other primary reference is implemented")
        if len({self.label_rule, *self.additional_label_rules}) <= len(self.additional_label_rules):
            raise ValueError("additional_label_rules: names a rule twice, or the primary one again")
        if self.linked_days_before < 0 or not self.linked_days_after > 0:
            raise ValueError("linked_days_before: must be at least 0, and linked_days_after above 0")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One acceptance rule, judged by the exact (Clopper-Pearson) interval at `confidence`.

    Attributes:
        identifier: short name.
        measure: sensitivity or specificity, failures counted as the protocol says.
        scope: over all studies, or in each scanner and shift cell.
        floor: the interval's lower limit must reach it (met); its upper limit below it means not met.
        confidence: two-sided confidence of the interval.
    """

    identifier: str
    measure: Measure
    scope: Scope
    floor: float
    confidence: float

    def __post_init__(self) -> None:
        if not 0 < self.floor < 1:
            raise ValueError("floor: must lie between 0 and 1")
        if not 0.5 < self.confidence < 1:
            raise ValueError("confidence: must lie between 0.5 and 1")


@dataclass(frozen=True, slots=True)
class TrialProtocol:
    """Everything promised before the first label is joined."""

    identifier: str
    version: str
    title: str
    target_condition: str
    target_condition_plural: str
    sites: tuple[str, ...]
    index_window_start: datetime
    index_window_end: datetime
    planned_positives: int
    minimum_positives_shown: int
    models: tuple[ModelUnderTrial, ...]
    eligibility: Eligibility
    series: SeriesChoice
    reference: ReferenceRule
    criteria: tuple[Criterion, ...]
    monitoring: Monitoring
    analysis: Analysis = field(default_factory=Analysis)
    completeness: Completeness | None = None
    adjudication: Adjudication | None = None

    def __post_init__(self) -> None:
        if sum(model.role is Role.CHAMPION for model in self.models) != 1:
            raise ValueError("models: exactly one model has the role 'champion'")
        if not self.sites or len(set(self.sites)) < len(self.sites):
            raise ValueError("sites: name at least one, and each once")
        names = [model.identifier for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError("models: two of them have the same identifier")
        if self.index_window_end <= self.index_window_start:
            raise ValueError("index_window_end: must lie after index_window_start")

    @property
    def champion(self) -> ModelUnderTrial:
        """The model that the acceptance criteria are about."""
        return next(model for model in self.models if model.role is Role.CHAMPION)

    @property
    def challengers(self) -> tuple[ModelUnderTrial, ...]:
        """The models that are compared with the champion on the same studies."""
        return tuple(model for model in self.models if model.role is Role.CHALLENGER)

    @property
    def run_here(self) -> tuple[ModelUnderTrial, ...]:
        """The models that studies go to: one lane each."""
        return tuple(model for model in self.models if model.runs_here)

    @property
    def vendors(self) -> tuple[ModelUnderTrial, ...]:
        """The products whose results come here."""
        return tuple(model for model in self.models if not model.runs_here)

    @property
    def receives_vendor_messages(self) -> bool:
        """Whether a product sends its results by HL7, so that a listener must run for them."""
        return any(model.vendor is not None and model.vendor.hl7 is not None for model in self.vendors)


def read_trial(path: Path) -> TrialProtocol:
    """Read one trial file.

    Raises:
        ConfigurationError: naming file, field and remedy.
    """
    return read_toml(path, TrialProtocol)
