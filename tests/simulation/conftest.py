"""Small simulations by default; the full ones with SHADOW_SIMULATION=full (`make simulate`)."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


@pytest.fixture
def repetitions() -> Callable[[int, int], int]:
    """How often to repeat: the small number, or the full one where the environment asks for it."""
    full = os.environ.get("SHADOW_SIMULATION") == "full"
    return lambda small, large: large if full else small
