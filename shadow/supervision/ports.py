"""Ports on loopback: the wished one where it is free, else any that is."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from shadow.protocol.deployment import LOOPBACK


def free_ports(wished: Sequence[int]) -> tuple[int, ...]:
    """One free port for each wish: the wished one if nothing listens there, else one the system picks."""
    held: list[socket.socket] = []
    try:
        held.extend(_bound(port) or _bound(0) or socket.socket() for port in wished)
        return tuple(int(one.getsockname()[1]) for one in held)
    finally:
        for one in held:
            one.close()


def _bound(port: int) -> socket.socket | None:
    candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        candidate.bind((LOOPBACK, port))
    except OSError:
        candidate.close()
        return None
    return candidate
