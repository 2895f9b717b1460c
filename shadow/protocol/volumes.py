"""What the sites expect to see: positives a week by scanner and shift, from a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shadow.domain.errors import ConfigurationError
from shadow.protocol.site import Site

COLUMNS = ("site", "scanner", "shift", "positives_per_week")


@dataclass(frozen=True, slots=True)
class Volume:
    """Mean number of studies with the target condition a week, of one scanner in one shift."""

    site: str
    scanner: str
    shift: str
    positives_per_week: float


def read_volumes(path: Path, sites: Sequence[Site]) -> tuple[Volume, ...]:
    """Read one CSV file with the columns site, scanner, shift, positives_per_week; a cell left out has none.

    Raises:
        ConfigurationError: naming file, line or column, and remedy; also for a cell that no site file declares.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = tuple(reader.fieldnames or ())
            if header != COLUMNS:
                raise ConfigurationError(str(path), "header", f"must be {','.join(COLUMNS)}; found {','.join(header)}")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(str(path), "file", f"cannot be read ({error}); check the path") from error
    declared = {
        (site.identifier, scanner.identifier, shift)
        for site in sites
        for scanner in site.scanners
        for shift in site.calendar().names()
    }
    volumes: dict[tuple[str, str, str], Volume] = {}
    for line, row in rows:
        cell = (row["site"], row["scanner"], row["shift"])
        if cell not in declared:
            raise ConfigurationError(str(path), f"line {line}", f"{'/'.join(map(str, cell))} is in no site file")
        if cell in volumes:
            raise ConfigurationError(str(path), f"line {line}", f"{'/'.join(cell)} occurs twice; keep one line")
        volumes[cell] = Volume(*cell, _rate(str(path), line, row["positives_per_week"]))
    return tuple(volumes.values())


def _rate(file: str, line: int, text: str | None) -> float:
    try:
        rate = float(text or "")
    except ValueError:
        rate = math.nan
    if not 0 <= rate < math.inf:
        remedy = f"'{text}' is no number of at least 0; write for example 2.5"
        raise ConfigurationError(file, f"line {line}, positives_per_week", remedy)
    return rate
