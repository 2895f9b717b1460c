"""Associations that are opened here, to peers that the deployment names."""

from __future__ import annotations

import socket

from pynetdicom.association import Association


def is_listening(host: str, port: int, seconds: float) -> bool:
    """Whether somebody accepts connections there.

    Asked before pynetdicom is: its sockets stay open where a connection is refused.
    """
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def close_refused(association: Association) -> None:
    """Close the connection of an association that was not established, which pynetdicom leaves open."""
    connection = association.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.close()
