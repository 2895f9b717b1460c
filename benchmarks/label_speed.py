"""Reports a CPU second that each rule reads, on the simulated hospital's wordings; one process, one core."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from shadow.reference_standard.label import read_label
from shadow.reference_standard.label_rule import known_rules, load_rule
from shadow.rehearsal.plan import plan_hospital
from shadow.rehearsal.wording import report_lines

REPORTS = 2_000


def main() -> None:
    """Print a line a rule."""
    plan = plan_hospital(1, REPORTS, 12, datetime(2026, 8, 24, tzinfo=UTC))
    texts = ["\n".join(report_lines(one)) for one in plan.messages if one.study is not None][:REPORTS]
    print(f"{len(texts)} reports of {sum(map(len, texts)) / len(texts):.0f} characters on average")
    for identifier in known_rules():
        rule = load_rule(identifier)
        begun = time.process_time()
        for text in texts:
            read_label(rule, text)
        print(f"{identifier:<32} {len(texts) / (time.process_time() - begun):>8,.0f} reports/s")


if __name__ == "__main__":
    main()
