"""Nobody gets past here without a session: an ASGI layer around every request and every WebSocket.

It also removes what only it may say (the session header that Streamlit trusts) and adds the policy that keeps
the browser from loading anything from elsewhere. It is plain ASGI, since Starlette's own middleware class
does not see WebSockets.
"""

from __future__ import annotations

from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards import installation
from shadow.store.accounts import Session, session_identifier

SESSION_COOKIE = "shadow_session"
SIGN_IN_PATH = "/login"
OPEN_PATHS = frozenset({SIGN_IN_PATH, "/_stcore/health"})
OUR_HEADERS = b"x-shadow-"
SESSION_HEADER = b"x-shadow-session"
CLOSE_NO_SESSION = 4401

Headers = list[tuple[bytes, bytes]]


def content_security_policy(frame_ancestors: Sequence[str]) -> str:
    """The policy: everything from here, nothing from elsewhere, shown in no other page but those named."""
    return "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' blob:",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self' ws: wss:",
            "worker-src 'self' blob:",
            " ".join(("frame-ancestors 'self'", *frame_ancestors)),
            "form-action 'self'",
            "base-uri 'self'",
            "object-src 'none'",
        )
    )


class Gate:
    """Lets a request through with its session's identifier, or not at all."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._policy = content_security_policy(installation.airflow_origins())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or one WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if not _is_ours(name)]
        session = _session_of(headers)
        guarded = self._with_policy(scope, send)
        if session is not None:
            headers.append((SESSION_HEADER, session.identifier.encode()))
        elif scope["path"] not in OPEN_PATHS:
            await _refuse(scope, headers, receive, guarded)
            return
        await self._app({**scope, "headers": headers}, receive, guarded)

    def _with_policy(self, scope: Scope, send: Send) -> Send:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = self._policy
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "same-origin"
            await send(message)

        return send_with_policy if scope["type"] == "http" else send


def _is_ours(name: bytes) -> bool:
    """Whether a header claims to come from the gate, also with the underscores that some servers accept."""
    return name.lower().replace(b"_", b"-").startswith(OUR_HEADERS)


def token_in(headers: Headers) -> str:
    """The session token of a request's cookies, or empty."""
    for name, value in headers:
        if name.lower() != b"cookie":
            continue
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(value.decode("latin-1"))
        except CookieError:
            continue
        if SESSION_COOKIE in cookies:
            return cookies[SESSION_COOKIE].value
    return ""


def _session_of(headers: Headers) -> Session | None:
    token = token_in(headers)
    return installation.accounts().session(session_identifier(token)) if token else None


def _asks_for_a_page(headers: dict[bytes, bytes]) -> bool:
    """Browsers name what they fetch, except over plain http to another machine: there, what they accept tells."""
    destination = headers.get(b"sec-fetch-dest")
    if destination is None:
        return b"text/html" in headers.get(b"accept", b"")
    return destination in (b"document", b"iframe")


async def _refuse(scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
    """A page goes to the sign-in page and comes back; all else is refused.

    Only pages are sent there: a browser also asks for icons and the like, and each such request would replace
    the form's token under the reader's hands.
    """
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": CLOSE_NO_SESSION})
        return
    if scope["method"] == "GET" and _asks_for_a_page(dict(headers)):
        query = scope["query_string"].decode("latin-1")
        target = quote(scope["path"] + (f"?{query}" if query else ""), safe="")
        await RedirectResponse(f"{SIGN_IN_PATH}?next={target}", 303)(scope, receive, send)
        return
    await PlainTextResponse("Sign in first.", 401)(scope, receive, send)
