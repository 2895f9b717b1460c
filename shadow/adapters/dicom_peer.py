"""Associations that are opened here, to peers that the deployment names."""

from __future__ import annotations

import socket


def is_listening(host: str, port: int, seconds: float) -> bool:
    """Whether somebody accepts connections there.

    Asked before pynetdicom is: its sockets stay open where a connection is refused.
    """
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False
