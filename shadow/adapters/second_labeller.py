"""Asks the second labeller about one text: a child process, or a service that only private addresses answer for.

A report's text leaves the trial's processes only here. It goes to no proxy, follows no redirection, and a host with
one public address is refused. What the labeller writes beside its answer is thrown away, for it may hold the text.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import urllib.parse
from collections.abc import Callable

from shadow.domain.errors import LabellerFailed
from shadow.protocol.second_labeller import SecondLabeller
from shadow.reference_standard.label import LabelState

_LONGEST_ANSWER = 65_536
_OK = 200


def second_labeller(settings: SecondLabeller) -> Callable[[str], LabelState]:
    """What reads one text; it raises LabellerFailed with a stable reason."""
    ask = _of_command if settings.command else _of_service
    return lambda text: _state(ask(settings, text.encode("utf-8")))


def _state(answer: bytes) -> LabelState:
    try:
        said = json.loads(answer[:_LONGEST_ANSWER].strip().split(b"\n")[0])
        return LabelState(said["state"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise LabellerFailed("no_state") from None


def _of_command(settings: SecondLabeller, text: bytes) -> bytes:
    try:
        child = subprocess.Popen(
            settings.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        raise LabellerFailed("not_started") from None
    with child:
        try:
            answer, _ = child.communicate(text, timeout=settings.timeout_seconds)
        except subprocess.TimeoutExpired:
            # Its own group, so that what it started ends with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise LabellerFailed("timeout") from None
    if child.returncode:
        raise LabellerFailed("exit_status")
    return answer


def _of_service(settings: SecondLabeller, text: bytes) -> bytes:
    parts = urllib.parse.urlsplit(settings.url)
    try:
        connection = _connection(parts, settings.timeout_seconds)
        with contextlib.closing(connection):
            path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            connection.request("POST", path, text, {"Content-Type": "text/plain; charset=utf-8"})
            response = connection.getresponse()
            answer = response.read(_LONGEST_ANSWER)
    except TimeoutError:
        raise LabellerFailed("timeout") from None
    except (OSError, http.client.HTTPException, UnicodeError):
        raise LabellerFailed("unreachable") from None
    if response.status != _OK:
        raise LabellerFailed("http_status")
    return answer


def _connection(parts: urllib.parse.SplitResult, timeout: float) -> http.client.HTTPConnection:
    """Connected to an address that was judged: the name is not resolved a second time."""
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not addresses or not all(_is_private(one) for one in addresses):
        raise LabellerFailed("address_not_private")
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    connection.sock = socket.create_connection((addresses[0], port), timeout)
    if parts.scheme == "https":
        connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
    return connection


def _is_private(address: str) -> bool:
    """Loopback, or a private network; never a link-local address, behind which clouds keep their own services."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_loopback or (ip.is_private and not ip.is_link_local and not ip.is_unspecified)
