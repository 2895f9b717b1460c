"""The champion's figures over all studies: found and cleared, what a result means, and how well the score ranks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from shadow.assessment.analysed import AnalysedCases, Booleans
from shadow.assessment.evidence import Figure
from shadow.assessment.statistics.case_mix import episodes_of, standardised_proportion
from shadow.assessment.statistics.clusters import clustered_proportion
from shadow.assessment.statistics.diagnostic import Estimate, FourfoldTable, accuracy_of, predictive_values_at
from shadow.assessment.statistics.proportions import wilson
from shadow.assessment.statistics.roc import area_under_curve, stratified_area
from shadow.protocol.analysis import AgeBand, Analysis

FOUND = "What the AI finds and clears"
MEANS = "What a result means"
READ = "The same, were the reports read otherwise"
RANKS = "How well the score ranks"
METHODS = {
    "logit-t": "ratio estimator, patients as clusters, logit-t",
    "wilson-effective": "Wilson at the effective number of studies, patients as clusters",
    "exact-patients": "exact (Clopper-Pearson) on patients",
}


def champion_figures(cases: AnalysedCases, analysis: Analysis) -> tuple[Figure, ...]:
    """Every figure that can be given; a figure without cases has no value. Failures count as the protocol says."""
    absent = cases.absent
    no_alert = absent & ~cases.found
    cleared = no_alert & cases.evaluable
    table = FourfoldTable(
        int((cases.present & cases.found).sum()),
        int((cases.present & ~cases.found).sum()),
        int((absent & cases.found).sum()),
        int(no_alert.sum()),
    )
    figures = [
        _clustered("sensitivity", "Sensitivity, each study", cases, cases.present, cases.found),
        _per_patient(cases),
        _per_episode(cases),
        _clustered(
            "sensitivity_evaluable",
            "Sensitivity, studies with a result in time only",
            cases,
            cases.present & cases.evaluable,
            cases.found,
        ),
        *_unblinded(cases),
        *_standardised(cases, analysis.case_mix),
        _clustered("specificity", "Specificity, a failure raises no alert", cases, absent, no_alert),
        _clustered("specificity_worst", "Specificity, a failure counts as a false alert", cases, absent, cleared),
    ]
    return (*figures, *_read_otherwise(cases), *_meanings(table, analysis), *_areas(cases))


def _read_otherwise(cases: AnalysedCases) -> list[Figure]:
    """What the protocol decided about reports, decided the other way: latest version, doubt, silence."""
    cleared = ~cases.found
    unsaid_in_doubt = cases.not_mentioned & cases.indeterminate
    rows = (
        ("sensitivity_latest", "Sensitivity, by the latest final version", cases.latest_present, cases.found),
        ("specificity_latest", "Specificity, by the latest final version", cases.latest_absent, cleared),
        (
            "sensitivity_doubt_present",
            "Sensitivity, doubtful reports counted as present",
            cases.present | (cases.indeterminate & ~cases.not_mentioned),
            cases.found,
        ),
        (
            "specificity_doubt_absent",
            "Specificity, doubtful reports counted as absent",
            cases.absent | (cases.indeterminate & ~cases.not_mentioned),
            cleared,
        ),
        (
            "specificity_said",
            "Specificity, reports that say it is absent only",
            cases.absent & ~cases.not_mentioned,
            cleared,
        ),
        (
            "specificity_unsaid_absent",
            "Specificity, reports that do not mention it counted as absent",
            cases.absent | unsaid_in_doubt,
            cleared,
        ),
    )
    return [
        replace(_clustered(identifier, name, cases, of, right), section=READ) for identifier, name, of, right in rows
    ]


def _clustered(identifier: str, name: str, cases: AnalysedCases, of: Booleans, right: Booleans) -> Figure:
    total, count = int(of.sum()), int((of & right).sum())
    patients, member = np.unique(cases.patient[of].astype(str), return_inverse=True)
    if patients.size < 2:
        return Figure(identifier, name, FOUND, count / total if total else None, None, None, True, count, total, "")
    found = clustered_proportion(np.bincount(member, weights=right[of].astype(float)), np.bincount(member))
    limits = found.limits
    return Figure(
        identifier, name, FOUND, found.proportion, limits.lower, limits.upper, True, count, total, METHODS[found.method]
    )


def _share(identifier: str, name: str, count: int, of: int, method: str) -> Figure:
    if not of:
        return Figure(identifier, name, FOUND, None, None, None, True, 0, 0, "")
    limits = wilson(count, of)
    return Figure(identifier, name, FOUND, count / of, limits.lower, limits.upper, True, count, of, method)


def _unblinded(cases: AnalysedCases) -> tuple[Figure, ...]:
    """How many reports mention the model or another AI, and sensitivity without them; nothing where none does."""
    labelled = cases.present | cases.absent
    told = int((labelled & cases.mentions_model).sum())
    if not told:
        return ()
    silent = cases.present & ~cases.mentions_model
    return (
        _share("reports_mention_model", "Reports that mention the AI", told, int(labelled.sum()), "Wilson"),
        _clustered("sensitivity_unmentioned", "Sensitivity, without those reports", cases, silent, cases.found),
    )


def _per_patient(cases: AnalysedCases) -> Figure:
    patients, member = np.unique(cases.patient[cases.present].astype(str), return_inverse=True)
    hits = int((np.bincount(member, weights=cases.found[cases.present].astype(float)) > 0).sum())
    return _share(
        "sensitivity_per_patient", "Sensitivity, each patient (any study found)", hits, int(patients.size), "Wilson"
    )


def _per_episode(cases: AnalysedCases) -> Figure:
    episodes = episodes_of(cases.patient[cases.present], cases.index_day[cases.present], cases.found[cases.present])
    hits = int((episodes.detected > 0).sum())
    return _share(
        "sensitivity_per_episode", "Sensitivity, each episode of 7 days", hits, int(episodes.detected.size), "Wilson"
    )


def _standardised(cases: AnalysedCases, bands: tuple[AgeBand, ...]) -> tuple[Figure, ...]:
    """Sensitivity in the reference case mix; without a value where one of its bands has no positive yet."""
    if not bands:
        return ()
    counts = {}
    for band in bands:
        inside = cases.present & (cases.age_years >= band.from_years) & (cases.age_years < band.below_years)
        counts[band.name] = (int((inside & cases.found).sum()), int(inside.sum()))
    name = "Sensitivity, standardised to the protocol's ages"
    of = sum(total for _, total in counts.values())
    if any(total == 0 for _, total in counts.values()):
        return (
            Figure("sensitivity_standardised", name, FOUND, None, None, None, True, None, of, "a band has no case yet"),
        )
    found = standardised_proportion(counts, {band.name: band.share for band in bands})
    return (_estimate("sensitivity_standardised", name, FOUND, found, True, of, "direct, Wilson by band (MOVER)"),)


def _estimate(
    identifier: str,
    name: str,
    section: str,
    found: Estimate,
    share: bool,
    of: int,
    method: str,
    count: int | None = None,
) -> Figure:
    return Figure(identifier, name, section, found.value, found.lower, found.upper, share, count, of, method)


def _meanings(table: FourfoldTable, analysis: Analysis) -> tuple[Figure, ...]:
    positive, negative = table.true_positives, table.true_negatives
    alerts, silent = positive + table.false_positives, negative + table.false_negatives
    total = alerts + silent
    if not total:
        return ()
    found = accuracy_of(table)
    figures = [
        _estimate(
            "ppv", "Of the flagged, with the condition", MEANS, found.positive_predictive_value, True, alerts, "Wilson",
            positive,
        ),
        _estimate(
            "npv", "Of the not flagged, without it", MEANS, found.negative_predictive_value, True, silent, "Wilson",
            negative,
        ),
        _estimate(
            "lr_positive", "Likelihood ratio of a flag", MEANS, found.positive_likelihood_ratio, False, total, "log"
        ),
        _estimate(
            "lr_negative", "Likelihood ratio of no flag", MEANS, found.negative_likelihood_ratio, False, total, "log"
        ),
    ]  # fmt: skip
    prevalence = analysis.target_prevalence
    both_occur = positive + table.false_negatives and negative + table.false_positives
    if prevalence is not None and both_occur:
        ppv, npv = predictive_values_at(table, prevalence)
        at = f"were {prevalence:.1%} to have it"
        method = "logit (Mercaldo 2007)"
        figures += [
            _estimate(
                "ppv_at_prevalence", f"Of the flagged, with the condition, {at}", MEANS, ppv, True, total, method
            ),
            _estimate("npv_at_prevalence", f"Of the not flagged, without it, {at}", MEANS, npv, True, total, method),
        ]
    return tuple(figures)


def _areas(cases: AnalysedCases) -> tuple[Figure, ...]:
    """Over labelled studies with a score; a failure has none, so this is not intention to diagnose."""
    used = (cases.present | cases.absent) & ~np.isnan(cases.score)
    truth, score = cases.present[used], cases.score[used]
    if truth.sum() < 2 or (~truth).sum() < 2:
        return ()
    found = area_under_curve(truth, score, cases.patient[used])
    figures = [
        Figure(
            "auroc", "Area under the ROC curve", RANKS, found.area, found.logit_limits.lower, found.logit_limits.upper,
            False, None, int(truth.size), "DeLong on the logit, patients as clusters (Obuchowski)",
        )
    ]  # fmt: skip
    counts = Counter(zip(cases.site[used], truth, strict=True))
    sites = {site for site, _ in counts}
    if len(sites) > 1 and all(counts[site, kind] for site in sites for kind in (True, False)):
        within = stratified_area(truth, score, cases.site[used])
        figures.append(
            Figure(
                "auroc_within_sites", "The same within sites", RANKS, within, None, None, False, None,
                int(truth.size), "pairs of one site only, no interval",
            )
        )  # fmt: skip
    return tuple(figures)
