"""A second reader of report texts that runs at the site: a program, or a service on the site's own network."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

LONGEST_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class SecondLabeller:
    """Who reads the reports beside the rule, for agreement only: its labels are never the reference standard.

    Attributes:
        name: in labels, as `second:<name>`; put its version into it.
        command: a program and its arguments; it gets one text on standard input.
        url: of a service, http or https, whose host must have private or loopback addresses only.
        timeout_seconds: for one report.
    """

    name: str
    command: tuple[str, ...] = ()
    url: str = ""
    timeout_seconds: float = 20.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._/-]{0,63}", self.name):
            raise ValueError("name: small letters, digits and . _ / - only, at most 64")
        if bool(self.command) == bool(self.url):
            raise ValueError("command, url: write one of them")
        if not 0 < self.timeout_seconds <= LONGEST_TIMEOUT_SECONDS:
            raise ValueError(f"timeout_seconds: must lie above 0 and not above {LONGEST_TIMEOUT_SECONDS:g}")
        if self.url:
            parts = urllib.parse.urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
                raise ValueError("url: must be http or https with a host, and hold no password")

    @property
    def rule(self) -> str:
        """What stands as the rule in its labels."""
        return f"second:{self.name}"
