"""Appends to the ledger, one by one and 64 at a time, on SQLite and (where a URL is given) PostgreSQL, in turn.

    python benchmarks/ledger_appends.py [postgresql+psycopg://...]

Prints events a second, the median of three interleaved rounds of two seconds, and the ratio to SQLite one by one.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

from shadow.store.events import Audited
from shadow.store.ledger import Ledger

ROUND_SECONDS = 2.0
ROUNDS = 3


def appended_a_second(url: str, batch: int) -> float:
    with Ledger(url, f"benchmark-{uuid.uuid4().hex[:8]}") as ledger:
        ledger.migrate()
        start, count = time.monotonic(), 0
        while time.monotonic() - start < ROUND_SECONDS:
            ledger.append([Audited(f"{count + n}", "benchmark", "noted", "object", "x" * 400) for n in range(batch)])
            count += batch
        return count / (time.monotonic() - start)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'ledger.db'}"}
        if len(sys.argv) > 1:
            urls["PostgreSQL"] = sys.argv[1]
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for name, url in urls.items():
                for batch in (1, 64):
                    rates.setdefault((name, batch), []).append(appended_a_second(url, batch))
        base = statistics.median(rates["SQLite", 1])
        for (name, batch), measured in rates.items():
            median = statistics.median(measured)
            print(f"{name:<11} batch {batch:>2}: {median:7.0f} events/s, {median / base:5.1f} x")


if __name__ == "__main__":
    main()
