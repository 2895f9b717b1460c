"""Where FHIR servers send reports by themselves: REST-hook subscriptions of R4, notification Bundles of R5.

A body is in the journal, on disk, before the answer. Nothing is judged here: junk is taken and counted when the journal
is read, because a refusal would make the sender's queue stand still. An empty body says that there is news: the server
is asked at once.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Callable, Collection

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from shadow.protocol.deployment import FhirListener

_LOGGER = logging.getLogger("shadow.reports")
TAKEN, UNAUTHORISED, FORBIDDEN, UNKNOWN, TOO_LARGE, DISK = 200, 401, 403, 404, 413, 503


def hook_application(
    settings: FhirListener,
    token: str,
    sites: Collection[str],
    keep: Callable[[str, bytes], None],
    news: Callable[[str], None],
) -> Starlette:
    """The listener as an ASGI application.

    Args:
        settings: its limits.
        token: what senders must show.
        sites: identifiers; the first part of the path names one.
        keep: makes a body of a site durable.
        news: asks the site's server at once.
    """
    networks = [ipaddress.ip_network(one) for one in settings.allowed_addresses]
    expected = f"Bearer {token}".encode()

    async def receive(request: Request) -> Response:
        refusal = _refusal(request)
        if refusal is not None:
            _LOGGER.warning("hook refused status=%d", refusal)
            return Response(status_code=refusal)
        try:
            body = await _body(request, settings.maximum_body_bytes)
        except ClientDisconnect:
            return Response(status_code=DISK)
        if body is None:
            _LOGGER.warning("hook refused status=%d", TOO_LARGE)
            return Response(status_code=TOO_LARGE)
        site = str(request.path_params["site"])
        if not body.strip():
            news(site)
            return Response(status_code=TAKEN)
        try:
            await run_in_threadpool(keep, site, body)
        except OSError as error:
            _LOGGER.error("hook refused status=%d errno=%s", DISK, error.errno)
            return Response(status_code=DISK)
        return Response(status_code=TAKEN)

    def _refusal(request: Request) -> int | None:
        if networks:
            address = request.client.host if request.client else ""
            if not address or not any(ipaddress.ip_address(address) in one for one in networks):
                return FORBIDDEN
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), expected):
            return UNAUTHORISED
        return None if request.path_params["site"] in sites else UNKNOWN

    paths = ("/{site}", "/{site}/{rest:path}")
    return Starlette(routes=[Route(path, receive, methods=["POST", "PUT"]) for path in paths])


async def _body(request: Request, limit: int) -> bytes | None:
    """The whole body; None where it is larger than the limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)
