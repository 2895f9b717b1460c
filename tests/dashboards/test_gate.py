"""The gate and the sign-in pages, as ASGI: what gets through, and with which headers."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dashboards.gate import SESSION_COOKIE, Gate, content_security_policy
from dashboards.sign_in import (
    FAILURE_WINDOW_SECONDS,
    FAILURES_A_CLIENT,
    FAILURES_A_NAME,
    FAILURES_A_NAME_ANYWHERE,
    FailedSignIns,
    local_target,
)
from shadow.domain.errors import SetupError
from shadow.domain.home import Home
from shadow.store.accounts import Account, Accounts, FirstAccount, Role, session_identifier

VIEWER = FirstAccount("vera", Role.VIEWER, "a long enough password")
REVIEWER = FirstAccount("rena", Role.REVIEWER, "a long enough password")


@dataclass(slots=True)
class Behind:
    """The application behind the gate: it remembers what reached it."""

    reached: list[dict[bytes, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        self.reached.append(dict(scope["headers"]))
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"inside"})


def ask(gate: Gate, kind: str = "http", path: str = "/", **headers: str) -> list[dict[str, Any]]:
    """What the gate answers to one request; header names use underscores here and hyphens on the wire."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request" if kind == "http" else "websocket.connect", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    wire = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "method": "GET", "path": path, "query_string": b"a=1", "headers": wire}
    asyncio.run(gate(scope, receive, send))
    return sent


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with both accounts: hashing a password is slow on purpose."""
    path = tmp_path_factory.mktemp("prepared") / "accounts.db"
    made = Accounts(path)
    made.add(VIEWER, REVIEWER)
    made.close()
    return path


@pytest.fixture
def accounts(home: Home, prepared: Path) -> Accounts:
    shutil.copy(prepared, home.accounts)
    return Accounts(home.accounts)


def cookie_of(accounts: Accounts, account: FirstAccount) -> tuple[str, str]:
    """A new session: its cookie header and its identifier."""
    token = accounts.open_session(Account(account.name, account.role))
    return f"other=1; {SESSION_COOKIE}={token}", session_identifier(token)


def test_a_session_gets_through_with_its_identifier(accounts: Accounts) -> None:
    behind = Behind()
    cookie, identifier = cookie_of(accounts, VIEWER)
    answer = ask(Gate(behind), cookie=cookie)
    assert answer[0]["status"] == 200
    assert behind.reached[0][b"x-shadow-session"] == identifier.encode()


@pytest.mark.parametrize("name", ["x_shadow_session", "X_Shadow_Session", "x_shadow_role"])
def test_a_forged_header_never_gets_through(accounts: Accounts, name: str) -> None:
    behind = Behind()
    _, reviewers = cookie_of(accounts, REVIEWER)
    cookie, viewers = cookie_of(accounts, VIEWER)
    assert ask(Gate(behind), **{name: reviewers})[0]["status"] == 401
    ask(Gate(behind), cookie=cookie, **{name: reviewers})
    ask(Gate(behind), kind="websocket", cookie=cookie, **{name: reviewers})
    assert len(behind.reached) == 2
    for headers in behind.reached:
        ours = {key.lower(): value for key, value in headers.items() if key.lower().startswith(b"x-shadow")}
        assert ours == {b"x-shadow-session": viewers.encode()}


def test_a_websocket_without_a_session_is_closed(accounts: Accounts) -> None:
    behind = Behind()
    assert ask(Gate(behind), kind="websocket") == [{"type": "websocket.close", "code": 4401}]
    assert behind.reached == []


def test_a_page_leads_to_the_sign_in_page_and_back_and_all_else_is_refused(accounts: Accounts) -> None:
    gate = Gate(Behind())
    page = ask(gate, path="/subgroups", sec_fetch_dest="document")[0]
    assert page["status"] == 303
    assert dict(page["headers"])[b"location"] == b"/login?next=%2Fsubgroups%3Fa%3D1"
    assert ask(gate, sec_fetch_dest="iframe")[0]["status"] == 303
    assert ask(gate, accept="text/html,*/*")[0]["status"] == 303
    assert ask(gate, path="/favicon.ico", sec_fetch_dest="image", accept="text/html")[0]["status"] == 401
    assert ask(gate)[0]["status"] == 401


@pytest.mark.parametrize("cookie", ["", "shadow_session=", "shadow_session=guess", 'shadow_session="a', "\x7f;;=", "="])
def test_a_cookie_that_is_no_session_does_not_get_through(accounts: Accounts, cookie: str) -> None:
    behind = Behind()
    assert ask(Gate(behind), cookie=cookie)[0]["status"] == 401
    assert behind.reached == []


def test_health_is_open_to_the_supervisor(accounts: Accounts) -> None:
    assert ask(Gate(Behind()), path="/_stcore/health")[0]["status"] == 200
    assert ask(Gate(Behind()), path="/_stcore/healthy")[0]["status"] == 401


def test_only_airflow_may_show_the_dashboard_in_a_frame(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "frame-ancestors 'self';" in content_security_policy(())
    monkeypatch.setenv("SHADOW_AIRFLOW_ORIGIN", "http://127.0.0.1:8080")
    answer = ask(Gate(Behind()), path="/_stcore/health")[0]
    assert b"frame-ancestors 'self' http://127.0.0.1:8080;" in dict(answer["headers"])[b"content-security-policy"]
    monkeypatch.setenv("SHADOW_AIRFLOW_ORIGIN", "http://a.example; script-src *")
    with pytest.raises(SetupError, match="SHADOW_AIRFLOW_ORIGIN"):
        Gate(Behind())


@pytest.mark.parametrize(
    "target",
    ["//elsewhere.example", "https://elsewhere.example", "/\\elsewhere", "/a\nb", "", "/login", "/logout", "é"],
)
def test_after_signing_in_nobody_is_sent_elsewhere(target: str) -> None:
    assert local_target(target) == "/"
    assert local_target("/accounting?box=Missed") == "/accounting?box=Missed"


@dataclass(slots=True)
class HandTime:
    """Seconds that a test moves."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_after_some_failures_a_name_waits_and_another_name_does_not() -> None:
    now = HandTime()
    failed = FailedSignIns(now)
    for _ in range(FAILURES_A_NAME):
        assert failed.wait_seconds("client", "rena") == 0.0
        failed.record("client", "rena")
    assert failed.wait_seconds("client", "rena") == FAILURE_WINDOW_SECONDS
    assert failed.wait_seconds("client", "vera") == 0.0
    assert failed.wait_seconds("elsewhere", "rena") == 0.0
    now.seconds = FAILURE_WINDOW_SECONDS
    assert failed.wait_seconds("client", "rena") == 0.0


def test_a_client_that_tries_many_names_waits_too() -> None:
    failed = FailedSignIns(HandTime())
    for number in range(FAILURES_A_CLIENT):
        failed.record("client", f"name {number}")
    assert failed.wait_seconds("client", "rena") > 0.0


def test_a_name_tried_from_many_made_up_addresses_waits_too() -> None:
    failed = FailedSignIns(HandTime())
    for number in range(FAILURES_A_NAME_ANYWHERE):
        assert failed.wait_seconds(f"client {number}", "rena") == 0.0
        failed.record(f"client {number}", "rena")
    assert failed.wait_seconds("another", "rena") > 0.0
    assert failed.wait_seconds("another", "vera") == 0.0


def test_signing_in_often_is_not_failing() -> None:
    failed = FailedSignIns(HandTime())
    for _ in range(3 * FAILURES_A_CLIENT):
        failed.record("client", "rena")
        failed.forgive("client", "rena")
    assert failed.wait_seconds("client", "rena") == 0.0
