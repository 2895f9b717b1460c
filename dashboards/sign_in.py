"""The sign-in and sign-out pages: plain forms, served beside Streamlit and before it."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dashboards import installation
from dashboards.gate import SESSION_COOKIE, SIGN_IN_PATH
from shadow.store.accounts import LONGEST_NAME, SESSION_LASTS, session_identifier

SIGN_OUT_PATH = "/logout"
FORM_COOKIE = "shadow_form"
LARGEST_FORM_BYTES = 16_384

FAILURES_A_NAME = 5
FAILURES_A_CLIENT = 25
FAILURES_A_NAME_ANYWHERE = 50  # a client's address can be made up behind a proxy; a name cannot
FAILURE_WINDOW_SECONDS = 300.0

_PAGES = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)


@dataclass(slots=True)
class FailedSignIns:
    """Counts failures for each name and each client, and says how long the next try has to wait.

    Kept in memory: a restart forgives. `now` gives seconds from a monotonic clock.
    """

    now: Callable[[], float] = time.monotonic
    _at: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def wait_seconds(self, client: str, name: str) -> float:
        """Seconds until this client may try this name again; 0 when it may now."""
        self._forget()
        waits = (
            self._wait((client, name), FAILURES_A_NAME),
            self._wait((client, ""), FAILURES_A_CLIENT),
            self._wait(("", name), FAILURES_A_NAME_ANYWHERE),
        )
        return max(waits)

    def record(self, client: str, name: str) -> None:
        """Count one failure."""
        for key in {(client, name), (client, ""), ("", name)}:
            self._at.setdefault(key, []).append(self.now())

    def forgive(self, client: str, name: str) -> None:
        """Forget the failures of a name that has signed in, and the try that was counted before it did."""
        self._at.pop((client, name), None)
        for key in {(client, ""), ("", name)}:
            if self._at.get(key):
                self._at[key].pop()

    def _wait(self, key: tuple[str, str], allowed: int) -> float:
        failures = self._at.get(key, [])
        if len(failures) < allowed:
            return 0.0
        return max(0.0, failures[-allowed] + FAILURE_WINDOW_SECONDS - self.now())

    def _forget(self) -> None:
        since = self.now() - FAILURE_WINDOW_SECONDS
        kept = {key: [one for one in failures if one > since] for key, failures in self._at.items()}
        self._at = {key: failures for key, failures in kept.items() if failures}


class SignInPages:
    """The routes `/login` and `/logout`."""

    def __init__(self) -> None:
        self._failed = FailedSignIns()

    async def sign_in(self, request: Request) -> Response:
        """Show the form, or take it: a session in a cookie on success."""
        if request.method == "GET":
            return _form_page(request, target=local_target(request.query_params.get("next", "/")))
        form = await _read_form(request)
        if form is None:
            return _form_page(request, message="The form had expired. Please try again.", status=400)
        name = str(form.get("name", "")).strip()
        target = local_target(str(form.get("next", "/")))
        client = request.client.host if request.client else ""
        wait = self._failed.wait_seconds(client, name[:LONGEST_NAME])
        if wait:
            minutes = int(wait // 60) + 1
            words = f"Too many failed attempts. Try again in {minutes} minute{'s' if minutes > 1 else ''}."
            return _form_page(request, target=target, message=words, name=name, status=429)
        # Counted before the slow check, so that attempts sent at the same time cannot slip past the limit.
        self._failed.record(client, name[:LONGEST_NAME])
        accounts = installation.accounts()
        account = await run_in_threadpool(accounts.authenticate, name, str(form.get("password", "")))
        if account is None:
            words = "Name or password is not right."
            return _form_page(request, target=target, message=words, name=name, status=401)
        self._failed.forgive(client, name[:LONGEST_NAME])
        token = await run_in_threadpool(accounts.open_session, account)
        response = RedirectResponse(target, 303)
        _set_cookie(response, request, SESSION_COOKIE, token, int(SESSION_LASTS.total_seconds()))
        response.delete_cookie(FORM_COOKIE, path="/", httponly=True, samesite="strict")
        return response

    async def sign_out(self, request: Request) -> Response:
        """Ask, then end the session."""
        if request.method == "GET":
            return _form_page(request, template="sign_out.html")
        if await _read_form(request) is None:
            words = "The form had expired. Please try again."
            return _form_page(request, template="sign_out.html", message=words, status=400)
        token = request.cookies.get(SESSION_COOKIE, "")
        await run_in_threadpool(installation.accounts().revoke, session_identifier(token))
        response = RedirectResponse(SIGN_IN_PATH, 303)
        response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
        return response


def local_target(target: str) -> str:
    r"""A path on this server to go to after signing in; anything else becomes the first page.

    >>> local_target("/subgroups?sites=hillside"), local_target("//elsewhere.example"), local_target("/\\x")
    ('/subgroups?sites=hillside', '/', '/')
    """
    plain = target.isascii() and target.isprintable() and "\\" not in target
    inside = target.startswith("/") and not target.startswith("//")
    ours = not target.startswith((SIGN_IN_PATH, SIGN_OUT_PATH, "/_stcore"))
    return target if plain and inside and ours else "/"


async def _read_form(request: Request) -> FormData | None:
    """The form, where its token is the one in the browser's cookie; else None."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > LARGEST_FORM_BYTES:
        return None
    form = await request.form(max_files=0, max_fields=8, max_part_size=LARGEST_FORM_BYTES)
    expected = request.cookies.get(FORM_COOKIE, "")
    given = str(form.get("form_token", ""))
    right = bool(expected) and hmac.compare_digest(given.encode(), expected.encode())
    return form if right else None


def _form_page(
    request: Request,
    *,
    template: str = "sign_in.html",
    target: str = "/",
    message: str = "",
    name: str = "",
    status: int = 200,
) -> Response:
    form_token = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(24)
    body = _PAGES.get_template(template).render(form_token=form_token, target=target, message=message, name=name)
    response = HTMLResponse(body, status, headers={"cache-control": "no-store"})
    _set_cookie(response, request, FORM_COOKIE, form_token, 3600)
    return response


def _set_cookie(response: Response, request: Request, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
