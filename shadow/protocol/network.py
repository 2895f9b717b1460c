"""What a title, a port, a network and a limit must look like; each refusal says what to write."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

LONGEST_AE_TITLE = 16
LAST_PORT = 65_535


def check_ae_title(field: str, title: str) -> None:
    """An AE title of PS3.5 table 6.2-1; spaces around it would not be significant, so they are a slip.

    Raises:
        ValueError: it is none; the text begins with the field.
    """
    if not 0 < len(title) <= LONGEST_AE_TITLE:
        raise ValueError(f"{field}: an AE title has 1 to {LONGEST_AE_TITLE} characters; {title!r} has {len(title)}")
    if title != title.strip():
        raise ValueError(f"{field}: {title!r} begins or ends with a space; write it without")
    if not (title.isascii() and title.isprintable()) or "\\" in title:
        raise ValueError(f"{field}: {title!r} may hold ASCII letters, digits and signs alone, and no backslash")


def check_port(port: int) -> None:
    """A TCP port; 0 lets the system choose one.

    Raises:
        ValueError: there is no such port.
    """
    if not 0 <= port <= LAST_PORT:
        raise ValueError(f"port: {port} is none; write one from 1 to {LAST_PORT}")


def check_networks(allowed_addresses: Iterable[str]) -> None:
    """Networks such as 10.1.2.0/24.

    Raises:
        ValueError: one of them is none.
    """
    for one in allowed_addresses:
        try:
            ipaddress.ip_network(one)
        except ValueError as error:
            raise ValueError(f"allowed_addresses: {error}; write a network such as 10.1.2.0/24") from error


def check_limits(above_zero: dict[str, float], at_least_zero: dict[str, float] | None = None) -> None:
    """Numbers by field: a limit of nothing refuses everybody, and a negative time is none.

    Raises:
        ValueError: one of them is too small, or no number.
    """
    for field, value in above_zero.items():
        if not value > 0:
            raise ValueError(f"{field}: must be above 0; found {value}")
    for field, value in (at_least_zero or {}).items():
        if not value >= 0:
            raise ValueError(f"{field}: must be at least 0; found {value}")
