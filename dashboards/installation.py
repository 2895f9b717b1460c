"""Where the trial lives and who may show the dashboard in a frame, from the environment."""

from __future__ import annotations

import logging
import os
import re
from functools import lru_cache
from pathlib import Path

from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.store.accounts import AccountEvent, Accounts

HOME_VARIABLE = "SHADOW_HOME"
AIRFLOW_ORIGIN_VARIABLE = "SHADOW_AIRFLOW_ORIGIN"

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d+)?")
_LOG = logging.getLogger("shadow.dashboard")


def home() -> Home:
    """The trial's folder.

    Raises:
        SetupError: the environment does not name it.
    """
    root = os.environ.get(HOME_VARIABLE, "")
    if not root:
        raise SetupError(f"{HOME_VARIABLE} is not set: name the trial's folder in it")
    return Home(Path(root))


def airflow_origins() -> tuple[str, ...]:
    """The origins whose pages may show the dashboard in a frame, from a list separated by spaces.

    Raises:
        SetupError: one of them is no origin (`http://127.0.0.1:8080`).
    """
    origins = tuple(os.environ.get(AIRFLOW_ORIGIN_VARIABLE, "").split())
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise SetupError(f"{AIRFLOW_ORIGIN_VARIABLE}: {origin!r} is no origin like http://127.0.0.1:8080")
    return origins


def accounts() -> Accounts:
    """The trial's accounts."""
    return _accounts_of(home().accounts)


@lru_cache(maxsize=4)
def _accounts_of(path: Path) -> Accounts:
    return Accounts(path, audit=_log_event)


def _log_event(event: AccountEvent) -> None:
    _LOG.warning("%s %r", event.action.value, event.name)
