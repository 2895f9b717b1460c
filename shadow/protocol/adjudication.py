"""What the protocol promises about blinded double reading: which share of which studies people read again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class IndexTest(StrEnum):
    """What the champion said of a study, as the plan divides it; `none` is late or failed."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    NONE = "none"


class Report(StrEnum):
    """What the first final report says."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True)
class SampledShare:
    """Which share of the studies of one kind is read.

    Attributes:
        index_test, report: the kind. shift: a shift's name where it is about that one alone; empty is any.
        share: above 0, because a kind of which nothing is read leaves every weighted figure open.
    """

    index_test: IndexTest
    report: Report
    share: float
    shift: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError("share: must be above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Adjudication:
    """The plan of blinded reading: two readers, then an arbiter where they differ.

    Attributes:
        seed: of the draw; another one draws other studies.
        embargo_hours: a study is read this long after its report was final, at the earliest: care comes first.
        sample: the first entry that fits a study decides; every kind needs one without a shift.
        minutes_a_read: for the workload that `shadow plan` prints.
    """

    seed: int
    sample: tuple[SampledShare, ...]
    embargo_hours: float = 24.0
    minutes_a_read: float = 3.0

    def __post_init__(self) -> None:
        if self.embargo_hours < 0:
            raise ValueError("embargo_hours: must be at least 0")
        if not self.minutes_a_read > 0:
            raise ValueError("minutes_a_read: must be above 0")
        covered = {(one.index_test, one.report) for one in self.sample if not one.shift}
        missing = [f"{index}/{report}" for index in IndexTest for report in Report if (index, report) not in covered]
        if missing:
            raise ValueError(
                f"sample: names no share of {', '.join(missing)}; concordant studies are read too, else the "
                "estimates carry verification bias"
            )

    def share_of(self, index_test: IndexTest, report: Report, shift: str) -> float:
        """The share of the first entry that fits."""
        return next(
            one.share
            for one in self.sample
            if (one.index_test, one.report) == (index_test, report) and one.shift in ("", shift)
        )
