"""The reference vectors of tests/vectors/statistics.json by their identifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parents[1] / "vectors" / "statistics.json"
VECTORS: dict[str, dict[str, Any]] = {
    one["id"]: one for one in json.loads(_FILE.read_text(encoding="utf-8"))["vectors"]
}


def vector(identifier: str) -> dict[str, Any]:
    """One vector: its inputs, what is expected, the tolerance and the source."""
    return VECTORS[identifier]
