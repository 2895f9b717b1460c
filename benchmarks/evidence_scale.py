"""How long all evidence of one assessment takes over a large trial: seconds and peak memory, one line a size."""

from __future__ import annotations

import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from shadow.assessment.analysed import AnalysedCases
from shadow.assessment.cohorts import Cohorts
from shadow.assessment.comparison import ChallengerAnswers
from shadow.assessment.evidence_of import gather_evidence
from shadow.assessment.linkage import CaseCounts
from shadow.assessment.snapshot import Week
from shadow.assessment.subgroups import all_groups, declared_places
from shadow.protocol.site import read_site
from shadow.protocol.trial import read_trial

CONFIGS = Path(__file__).parents[1] / "configs"
WEEKS = 52


def drawn(size: int) -> tuple[AnalysedCases, ChallengerAnswers]:
    """A year of studies on the demonstration's scanners, one in eight positive, nine in ten of them found."""
    chance = np.random.default_rng(size)
    sites = [read_site(CONFIGS / "sites" / f"{name}.toml") for name in PROTOCOL.sites]
    scanners = [(site.identifier, one.identifier) for site in sites for one in site.scanners]
    place = chance.integers(0, len(scanners), size)
    names = np.array([site for site, _ in scanners], dtype=object), np.array([one for _, one in scanners], dtype=object)
    present = chance.random(size) < 0.125
    found = np.where(present, chance.random(size) < 0.9, chance.random(size) < 0.06)
    day = np.sort(chance.uniform(0, WEEKS * 7, size))
    score = np.where(found, chance.uniform(0.5, 1, size), chance.uniform(0, 0.5, size))
    everyone = np.ones(size, dtype=bool)
    cases = AnalysedCases(
        study=np.arange(size).astype(str).astype(object), patient=(np.arange(size) // 2).astype(str).astype(object),
        site=names[0][place], scanner=names[1][place],
        shift=np.array(["Day", "Evening", "Night"], dtype=object)[chance.integers(0, 3, size)],
        found=found, evaluable=everyone, answered=everyone, present=present, absent=~present, pending=~everyone,
        indeterminate=~everyone, not_mentioned=~everyone, latest_present=present, latest_absent=~present,
        score=score, summary=chance.normal(0, 1, (size, 6)), age_years=np.floor(chance.uniform(18, 90, size)),
        thickness_mm=np.full(size, 5.0), kvp=np.full(size, 120.0), kernel=np.full(size, "H30", dtype=object),
        week=(day // 7).astype(np.int64), closed=everyone, index_day=day, age_days=WEEKS * 7 + 30 - day,
        delay_days=np.full(size, 0.2), turnaround_days=np.full(size, 0.2),
        reported_after=chance.uniform(20, 300, size),
        locked_after=np.full(size, 0.05), first=everyone, mentions_model=~everyone,
    )  # fmt: skip
    rival = np.where(present, chance.random(size) < 0.9, chance.random(size) < 0.06)
    return cases, ChallengerAnswers(PROTOCOL.challengers[0], everyone, rival, score)


def main(sizes: list[int]) -> None:
    """Print a line a size."""
    sites = tuple(read_site(CONFIGS / "sites" / f"{name}.toml") for name in PROTOCOL.sites)
    weeks = tuple(Week(datetime(2026, 1, 5, tzinfo=UTC), 0, 0, True) for _ in range(WEEKS))
    for size in sizes:
        cases, challenger = drawn(size)
        counts = {place: np.tile(np.array([[9], [10], [70], [75]]), WEEKS) for place in declared_places(sites)}
        cohorts = Cohorts(weeks, counts)
        total = CaseCounts("all", "", "", "", size, 0, 0, 0, 0, int(cases.present.sum()),
                           int((cases.present & cases.found).sum()), int(cases.present.sum()),
                           int(cases.absent.sum()), 1, 1)  # fmt: skip
        groups = all_groups([total], cohorts, sites, PROTOCOL)
        begun = time.perf_counter()
        gather_evidence(cases, [challenger], cohorts, groups, sites, PROTOCOL, unread=(), threshold=0.5, wait=1.0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{size:>10,} studies: {time.perf_counter() - begun:6.1f} s, peak {peak:,.0f} MiB")


PROTOCOL = read_trial(CONFIGS / "trials" / "demo-head-ct.toml")

if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [1_500, 20_000, 200_000])
