"""What the protocol promises about figures beside the acceptance rules. What is not written down is not computed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgeBand:
    """A stratum of the reference case mix: patients from one age to below another, and their share.

    Attributes:
        from_years, below_years: completed years; the band holds from <= age < below.
        share: of the reference population, above 0; shares need not add up to 1.
    """

    from_years: int
    below_years: int
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.from_years < self.below_years:
            raise ValueError("from_years: must be at least 0 and below below_years")
        if not self.share > 0:
            raise ValueError("share: must be above 0")

    @property
    def name(self) -> str:
        """How tables name it, for example `18 to 39`."""
        return f"{self.from_years} to {self.below_years - 1}"


@dataclass(frozen=True, slots=True)
class ExpectedSensitivity:
    """Which share of the positives of an age band the model is expected to find."""

    from_years: int
    below_years: int
    sensitivity: float

    def __post_init__(self) -> None:
        if not 0 < self.sensitivity < 1:
            raise ValueError("sensitivity: must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class RiskAdjustedCusum:
    """A CUSUM of misses that allows for harder cases; an option beside the family, without its error guarantee.

    Attributes:
        odds_ratio: of a miss, against what is expected, that it is tuned to find; above 1.
        cases_between_false_signals: mean number of positives until a healthy model signals; sets the limit.
        expected: by age band; a positive of an age in no band is expected to be found like the mean of all bands.
    """

    odds_ratio: float
    cases_between_false_signals: int
    expected: tuple[ExpectedSensitivity, ...]

    def __post_init__(self) -> None:
        if not self.odds_ratio > 1:
            raise ValueError("odds_ratio: must be above 1")
        if self.cases_between_false_signals < 10:
            raise ValueError("cases_between_false_signals: must be at least 10")
        if not self.expected:
            raise ValueError("expected: needs at least one age band")


@dataclass(frozen=True, slots=True)
class Analysis:
    """Options of the analysis.

    Attributes:
        non_inferiority_margin: a challenger is non-inferior in sensitivity and in specificity if the lower limit of
            its difference lies above minus this; None: no such verdict.
        target_prevalence: predictive values are also given at this prevalence.
        case_mix: sensitivity is also given standardised to these age bands.
        reference_what_ifs: shares of the bleeds that the model misses which the reports find too; sensitivity is
            shown as it would truly be.
        drift_reference_weeks: the first closed weeks that later ones are compared with.
        cusum: the risk-adjusted CUSUM, where it is asked for.
    """

    non_inferiority_margin: float | None = None
    target_prevalence: float | None = None
    case_mix: tuple[AgeBand, ...] = ()
    reference_what_ifs: tuple[float, ...] = ()
    drift_reference_weeks: int = 4
    cusum: RiskAdjustedCusum | None = None

    def __post_init__(self) -> None:
        for name in ("non_inferiority_margin", "target_prevalence"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name}: must lie between 0 and 1")
        if not all(0 < share <= 1 for share in self.reference_what_ifs):
            raise ValueError("reference_what_ifs: each must be above 0 and at most 1")
        if self.drift_reference_weeks < 2:
            raise ValueError("drift_reference_weeks: must be at least 2")
