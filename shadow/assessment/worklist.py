"""The triage replay over the real worklist: minutes saved for positives, and lost for all others."""

from __future__ import annotations

import numpy as np

from shadow.assessment.analysed import AnalysedCases
from shadow.assessment.evidence import Worklist, WorklistChange
from shadow.assessment.statistics.triage import MINUTES_A_DAY, minutes_saved

SEED = 1440
RESAMPLES = 400


def replay(cases: AnalysedCases, completion_minutes: float) -> Worklist:
    """Replay each site's worklist by itself; over studies that have been reported.

    A study's slot is when its first report version was written, for want of when its reading began. A flag is there
    after the wait for completeness and the model's own latency, by the machine's clock.
    """
    used = (cases.present | cases.absent) & (cases.reported_after >= 0)
    if not used.any():
        return Worklist(0, None, ())
    arrived = cases.index_day * MINUTES_A_DAY
    after = completion_minutes + np.where(np.isnan(cases.locked_after), np.inf, np.maximum(cases.locked_after, 0.0))
    flagged = cases.found & np.isfinite(after)
    # Sites have worklists of their own: set far apart in time, none reorders another's.
    apart = np.zeros(len(cases))
    span = MINUTES_A_DAY * np.ceil((arrived.max() - arrived.min()) / MINUTES_A_DAY + 400)
    for number, site in enumerate(sorted(set(cases.site))):
        apart[cases.site == site] = number * span
    start = (arrived + apart)[used]
    changes = minutes_saved(
        start,
        start + cases.reported_after[used],
        flagged[used],
        start + np.where(np.isfinite(after), after, 0.0)[used],
        cases.present[used],
        [str(one) for one in cases.shift[used]],
        np.random.default_rng(SEED),
        RESAMPLES,
    )
    waits = after[used & flagged]
    return Worklist(
        int(used.sum()),
        float(np.median(waits)) if waits.size else None,
        tuple(
            WorklistChange(
                one.shift,
                one.present,
                one.studies,
                one.mean,
                one.median,
                one.limits.lower if one.limits else None,
                one.limits.upper if one.limits else None,
            )
            for one in changes
        ),
    )
