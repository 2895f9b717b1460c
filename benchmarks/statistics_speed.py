"""How long the statistics take: AUROC of a million cases, 10,000 intervals, every monitor over 10 million cases.

Each figure is also given as a multiple of one sort of ten million floats in the same run.

    python benchmarks/statistics_speed.py
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from shadow.assessment.cohorts import weekly_cohorts
from shadow.assessment.monitors import watch_family
from shadow.assessment.statistics.proportions import clopper_pearson_many, wilson_many
from shadow.assessment.statistics.roc import area_under_curve
from shadow.assessment.statistics.scan import scan
from shadow.protocol.site import read_site
from shadow.protocol.trial import read_trial
from shadow.store.lake import in_memory

CONFIGS = Path(__file__).parents[1] / "configs"
CASES = 10_000_000
WEEKS = 104

CASES_TABLE = """
create table evaluation_case as
select
    'S' || number as study_key,
    'P' || (number * 7919 % 9000000) as patient_key,
    cells.site,
    cells.scanner,
    cells.shift,
    null::varchar as exclusion_reason,
    if(hash(number, 1) % 100 < 90, 'positive', 'negative') as index_state,
    if(hash(number, 2) % 100 < 12, 'present', 'absent') as reference_state,
    timestamptz '2026-08-24 00:00:00+00' + to_seconds((number * {weeks} * 604800 // {cases})::bigint) as acquired_at
from range({cases}) as numbers (number)
inner join cells on cells.cell = hash(number, 3) % 15
"""


def monitors() -> float:
    protocol = read_trial(CONFIGS / "trials" / "demo-head-ct.toml")
    sites = tuple(read_site(CONFIGS / "sites" / f"{one}.toml") for one in protocol.sites)
    start = protocol.index_window_start
    protocol = replace(protocol, index_window_end=start + timedelta(weeks=WEEKS))
    cells = [
        (one.identifier, scanner.identifier, shift)
        for one in sites
        for scanner in one.scanners
        for shift in one.calendar().names()
    ]
    with closing(in_memory()) as connection:
        connection.execute("create table cells (cell bigint, site varchar, scanner varchar, shift varchar)")
        connection.executemany("insert into cells values (?, ?, ?, ?)", [(n, *cell) for n, cell in enumerate(cells)])
        connection.execute(CASES_TABLE.format(cases=CASES, weeks=WEEKS))
        begun = time.perf_counter()
        cohorts = weekly_cohorts(connection, protocol, start + timedelta(weeks=WEEKS + 8))
        counted = time.perf_counter()
        monitoring = watch_family(cohorts, {}, sites, protocol)
        done = time.perf_counter()
    assert cohorts.closed >= WEEKS and len(monitoring.monitors) == 32
    print(
        f"  of it counting in SQL {counted - begun:.2f} s, {len(monitoring.monitors)} monitors {done - counted:.2f} s"
    )
    return done - begun


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    generator = np.random.default_rng(1)
    floats = generator.random(CASES)
    unit = timed(lambda: np.sort(floats))
    present = generator.random(1_000_000) < 0.1
    score = generator.random(1_000_000) + 0.3 * present
    of = generator.integers(1, 400, 10_000)
    counts = generator.binomial(of, 0.9)
    print(f"one sort of {CASES:,} floats: {unit:.2f} s")
    auc = timed(lambda: area_under_curve(present, score))
    print(f"AUROC with DeLong's variance, 1,000,000 cases: {auc:.2f} s ({auc / unit:.2f} sorts)")
    cells = timed(lambda: (wilson_many(counts, of), clopper_pearson_many(counts, of, 0.95)))
    print(f"Wilson and exact intervals of 10,000 cells: {cells:.3f} s ({cells / unit:.3f} sorts)")
    labels = {f"attribute {number}": generator.integers(0, 10, 10_000).astype(str) for number in range(20)}
    missed = generator.random(10_000) < 0.08
    scanned = timed(lambda: scan(missed, labels, permutations=2_000))
    print(f"scan of 200 slices of 10,000 positives, 2,000 permutations: {scanned:.1f} s ({scanned / unit:.1f} sorts)")
    family = monitors()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"cohorts and every monitor over {CASES:,} cases in {WEEKS} weeks: {family:.1f} s "
          f"({family / unit:.0f} sorts); peak memory of the whole run {peak:.1f} GiB")  # fmt: skip


if __name__ == "__main__":
    main()
