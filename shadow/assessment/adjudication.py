"""Blinded double reading: which studies are drawn, how far the readers are, and what the reads say.

The draw is Bernoulli by a hash of the seed and the study's key, so it can be repeated by anybody and is the same
whatever is read first. Every study stands in one stratum: the model's result, the report, and the share that the
protocol reads of such studies. Within a stratum the studies that two people have read are a simple random sample:
the order of reading is a second hash, and says nothing about the stratum.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa

from shadow.assessment.evidence import Adjudicated, AdjudicatedKind, Figure, ReaderAgreement
from shadow.assessment.snapshot import ReferenceState
from shadow.assessment.statistics.agreement import Coefficient, agreement
from shadow.assessment.statistics.reference_error import (
    AdjudicatedStratum,
    adjudicated_accuracy,
    prevalence_with_uncertain_test,
)
from shadow.domain.project import sql
from shadow.protocol.adjudication import Adjudication, IndexTest, Report
from shadow.protocol.trial import TrialProtocol

SEED = 20261123
_ANSWERS = (ReferenceState.PRESENT.value, ReferenceState.ABSENT.value, ReferenceState.INDETERMINATE.value)
_HAJEK = "weighted by the share read; Jeffreys posterior of each stratum, propagated"
_DRAWN = pa.schema([("study_key", pa.string()), ("place", pa.int64()), ("ready", pa.bool_()), ("open", pa.bool_())])


@dataclass(frozen=True, slots=True)
class StudyToAdjudicate:
    """A study with a final report and a settled index result.

    Attributes:
        share: of such studies that the protocol reads. drawn: whether this one is. place: in the order of reading.
        ready: whether the embargo has passed.
        first, second: the first two readers' answers, empty before. answer: that settles it, empty before.
    """

    study_key: str
    index_test: IndexTest
    report: Report
    shift: str
    share: float
    drawn: bool
    place: int
    ready: bool
    first: str
    second: str
    answer: str

    @property
    def read_twice(self) -> bool:
        """Whether it counts: two people have read it. Where they differ and nobody has settled it, it is unsure."""
        return self.drawn and bool(self.second)

    @property
    def present(self) -> bool:
        """Whether the readers saw the target condition."""
        return self.answer == ReferenceState.PRESENT.value

    @property
    def unsure(self) -> bool:
        """Whether the images do not tell, or the readers still differ."""
        return self.read_twice and self.answer in ("", ReferenceState.INDETERMINATE.value)


def draw(seed: int, study_key: str) -> float:
    """A study's number in [0, 1): it is read where this lies below its share.

    >>> 0 <= draw(1, "a") < 1
    True
    """
    return _number(f"draw\n{seed}\n{study_key}") / (1 << 64)


def place(seed: int, study_key: str) -> int:
    """A study's place in the order of reading, independent of its draw."""
    return _number(f"order\n{seed}\n{study_key}")


def draw_studies(
    connection: duckdb.DuckDBPyConnection, protocol: TrialProtocol, data_until: datetime
) -> tuple[StudyToAdjudicate, ...]:
    """Every study that could be drawn, in the order of reading; none where the protocol has no plan.

    Afterwards `connection` holds `drawn_study`: those drawn, with their place, whether they may be read now, and
    whether they are not settled yet.
    """
    plan = protocol.adjudication
    studies = () if plan is None else _studies(connection, protocol, plan, data_until)
    rows = [
        {"study_key": one.study_key, "place": number, "ready": one.ready, "open": not one.answer}
        for number, one in enumerate(one for one in studies if one.drawn)
    ]
    connection.register("drawn_study", pa.Table.from_pylist(rows, _DRAWN))
    return studies


def adjudicated(studies: Sequence[StudyToAdjudicate], plan: Adjudication | None) -> Adjudicated | None:
    """What blinded reading says so far; None where the protocol has no plan."""
    if plan is None:
        return None
    drawn = [one for one in studies if one.drawn]
    shifts = sorted({one.shift for one in studies})
    groups = [("All", studies), *((shift, [one for one in studies if one.shift == shift]) for shift in shifts)]
    figures: list[Figure] = []
    missing: list[str] = []
    for label, some in groups:
        found, lacking = _figures_of(label, some)
        figures += found
        missing += lacking
    return Adjudicated(
        eligible=len(studies),
        drawn=len(drawn),
        under_embargo=sum(not one.ready for one in drawn),
        unread=sum(one.ready and not one.first for one in drawn),
        read_once=sum(bool(one.first) and not one.second for one in drawn),
        differ=sum(bool(one.second) and not one.answer for one in drawn),
        settled=sum(bool(one.answer) for one in drawn),
        minutes_left=_minutes_left(drawn, plan.minutes_a_read),
        kinds=_kinds(studies),
        agreement=tuple(_agreement_of(label, some) for label, some in groups if _both_read(some)),
        figures=tuple(figures),
        missing=tuple(missing),
    )


def expected_reads(
    plan: Adjudication, positives: dict[str, float], sensitivity: float, specificity: float, prevalence: float
) -> float:
    """Expected reads, two a drawn study, where reports are right and every study has a result.

    Args:
        plan: of the protocol.
        positives: expected studies with the target condition by shift.
        sensitivity: assumed of the model.
        specificity: assumed of the model.
        prevalence: of the target condition among eligible studies, above 0.
    """
    drawn = 0.0
    for shift, present in positives.items():
        absent = present * (1 - prevalence) / prevalence
        for index_test, report, studies in (
            (IndexTest.POSITIVE, Report.PRESENT, present * sensitivity),
            (IndexTest.NEGATIVE, Report.PRESENT, present * (1 - sensitivity)),
            (IndexTest.POSITIVE, Report.ABSENT, absent * (1 - specificity)),
            (IndexTest.NEGATIVE, Report.ABSENT, absent * specificity),
        ):
            drawn += studies * plan.share_of(index_test, report, shift)
    return 2 * drawn


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _studies(
    connection: duckdb.DuckDBPyConnection, protocol: TrialProtocol, plan: Adjudication, data_until: datetime
) -> tuple[StudyToAdjudicate, ...]:
    rows = connection.execute(
        sql("queries/assessment/study_to_adjudicate.sql"),
        {
            "target_condition": protocol.target_condition,
            "window_start": protocol.index_window_start,
            "window_end": protocol.index_window_end,
        },
    ).fetchall()
    embargo = timedelta(hours=plan.embargo_hours)
    studies = []
    for study_key, index_test, report, shift, final_at, first, second, answer in rows:
        kind = IndexTest(index_test), Report(report)
        share = plan.share_of(*kind, shift)
        studies.append(
            StudyToAdjudicate(
                study_key=study_key,
                index_test=kind[0],
                report=kind[1],
                shift=shift,
                share=share,
                drawn=draw(plan.seed, study_key) < share,
                place=place(plan.seed, study_key),
                ready=final_at is not None and final_at + embargo <= data_until,
                first=first or "",
                second=second or "",
                answer=answer or "",
            )
        )
    return tuple(sorted(studies, key=lambda one: one.place))


def _minutes_left(drawn: Sequence[StudyToAdjudicate], minutes_a_read: float) -> float:
    reads = sum(0 if one.answer else 1 if one.first else 2 for one in drawn)
    return reads * minutes_a_read


def _kinds(studies: Sequence[StudyToAdjudicate]) -> tuple[AdjudicatedKind, ...]:
    kinds: dict[tuple[str, str, str, float], list[StudyToAdjudicate]] = {}
    for one in studies:
        kinds.setdefault((one.index_test.value, one.report.value, one.shift, one.share), []).append(one)
    return tuple(
        AdjudicatedKind(
            index_test=index_test,
            report=report,
            shift=shift,
            share=share,
            studies=len(some),
            drawn=sum(one.drawn for one in some),
            settled=sum(one.drawn and bool(one.answer) for one in some),
            present=sum(one.drawn and one.present for one in some),
            unsure=sum(one.unsure for one in some),
        )
        for (index_test, report, shift, share), some in sorted(kinds.items())
    )


def _both_read(studies: Iterable[StudyToAdjudicate]) -> list[StudyToAdjudicate]:
    both = [one for one in studies if one.read_twice]
    return both if len(both) > 1 else []


def _agreement_of(label: str, studies: Sequence[StudyToAdjudicate]) -> ReaderAgreement:
    """Of the first two readers, before anybody settled anything; answers nobody used are left out."""
    pairs = Counter((one.first, one.second) for one in _both_read(studies))
    used = [one for one in _ANSWERS if any(one in pair for pair in pairs)]
    answers = used if len(used) > 1 else list(_ANSWERS[:2])
    found = agreement([[pairs[row, column] for column in answers] for row in answers])
    return ReaderAgreement(label, found.cases, found.observed, *_limits(found.kappa), *_limits(found.ac1))


def _limits(one: Coefficient) -> tuple[float | None, float | None, float | None]:
    return (one.value, one.limits.lower, one.limits.upper) if one.limits else (one.value, None, None)


def _figures_of(label: str, studies: Sequence[StudyToAdjudicate]) -> tuple[list[Figure], list[str]]:
    """The model's and the reports' accuracy in one group, or what is still missing."""
    strata: dict[tuple[IndexTest, Report, float], list[StudyToAdjudicate]] = {}
    for one in studies:
        strata.setdefault((one.index_test, one.report, one.share), []).append(one)
    empty = [
        f"{label}: AI {index.value}, report {report.value} ({len(some)} studies, none read twice)"
        for (index, report, _), some in sorted(strata.items(), key=lambda item: str(item[0]))
        if not any(one.read_twice for one in some)
    ]
    if empty or not studies:
        return [], empty
    figures: list[Figure] = []
    for about, section in (("model", "The AI against the readers"), ("report", "The reports against the readers")):
        figures += _accuracy(label, section, about, strata)
    return [*figures, *_prevalence(label, studies)], []


def _accuracy(
    label: str,
    section: str,
    about: str,
    strata: dict[tuple[IndexTest, Report, float], list[StudyToAdjudicate]],
) -> list[Figure]:
    """Sensitivity and specificity, unsure studies counted as absent; and as present where there are any."""
    figures: list[Figure] = []
    for unsure_present in (False, True):
        read = [one for some in strata.values() for one in some if one.read_twice]
        if unsure_present and not any(one.unsure for one in read):
            continue
        counted = [
            AdjudicatedStratum(
                index_test_positive=_positive(about, index, report),
                studies=len(some),
                sampled=sum(one.read_twice for one in some),
                present=sum(one.read_twice and (one.present or (unsure_present and one.unsure)) for one in some),
            )
            for (index, report, _), some in sorted(strata.items(), key=lambda item: str(item[0]))
        ]
        found = adjudicated_accuracy(counted, np.random.default_rng(SEED))
        present = sum(one.present for one in counted)
        how = "unsure counted as present" if unsure_present else "unsure counted as absent"
        for name, value, limits, of in (
            ("sensitivity", found.sensitivity, found.sensitivity_limits, present),
            ("specificity", found.specificity, found.specificity_limits, len(read) - present),
        ):
            figures.append(
                Figure(
                    identifier=f"adjudicated-{about}-{name}-{label}{'-unsure-present' if unsure_present else ''}",
                    name=f"{name.capitalize()}, {label}, {how}",
                    section=section,
                    value=value,
                    lower=None if value is None else limits.lower,
                    upper=None if value is None else limits.upper,
                    share=True,
                    count=None,
                    of=of,
                    method=_HAJEK,
                )
            )
    return figures


def _positive(about: str, index_test: IndexTest, report: Report) -> bool:
    return index_test is IndexTest.POSITIVE if about == "model" else report is Report.PRESENT


def _prevalence(label: str, studies: Sequence[StudyToAdjudicate]) -> list[Figure]:
    """By the reports, whose own errors the readers measured; effective counts stand for the weighted ones."""
    found = _effective([one for one in studies if one.read_twice and one.present], Report.PRESENT, positive=True)
    held = _effective(
        [one for one in studies if one.read_twice and not one.present and not one.unsure],
        Report.PRESENT,
        positive=False,
    )
    if not found[1] or not held[1] or found[0] / found[1] + held[0] / held[1] <= 1:
        return []
    reported = sum(one.report is Report.PRESENT for one in studies)
    try:
        estimate = prevalence_with_uncertain_test((reported, len(studies)), found, held)
    except ValueError:
        return []
    return [
        Figure(
            identifier=f"adjudicated-prevalence-{label}",
            name=f"Prevalence, {label}",
            section="How common it is",
            value=estimate.value,
            lower=estimate.lower,
            upper=estimate.upper,
            share=True,
            count=None,
            of=len(studies),
            method="Lang & Reiczigel 2014, reports' errors from the reads",
        )
    ]


def _effective(read: Sequence[StudyToAdjudicate], said: Report, *, positive: bool) -> tuple[int, int]:
    """(right, of) with Kish's effective number of studies, (sum w)^2 / sum w^2, by the shares drawn."""
    weights = np.array([1 / one.share for one in read])
    if not weights.size:
        return 0, 0
    right = np.array([(one.report is said) == positive for one in read])
    of = round(float(weights.sum() ** 2 / (weights**2).sum()))
    return round(of * float((weights * right).sum() / weights.sum())), of
