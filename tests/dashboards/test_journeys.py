"""Journeys through a real dashboard with a real browser. Each also asserts that nothing leaves this machine."""

from __future__ import annotations

import http.client
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from conftest import Dashboard, run_dashboard, sign_in
from example_snapshot import publish_example
from playwright.sync_api import Page, expect

from shadow.domain.home import Home
from shadow.store.accounts import Account, Role, session_identifier

pytestmark = pytest.mark.server

REFRESHED_MS = 25_000


@pytest.mark.parametrize("role", list(Role))
def test_each_role_signs_in_on_the_way_to_a_deep_link(visitor: Page, dashboard: Dashboard, role: Role) -> None:
    sign_in(visitor, dashboard, role, "/subgroups?measure=Specificity")
    expect(visitor).to_have_url(f"{dashboard.url}/subgroups?measure=Specificity")
    expect(visitor.locator("h1")).to_have_text("Where does the AI do worse?")
    expect(visitor.get_by_text("The AI cleared").first).to_be_visible()
    expect(visitor.locator(".shadow-person")).to_contain_text(f"{role.value} ({role.value})")


def test_a_viewer_who_is_first_on_a_fresh_server_gets_no_cases_by_deep_link(visitor: Page, tmp_path: Path) -> None:
    publish_example(Home(tmp_path).snapshots)
    for fresh in run_dashboard(tmp_path):
        sign_in(visitor, fresh, Role.VIEWER, "/accounting?box=Missed")
        expect(visitor.locator("h1")).to_have_text("Where did every study go?")
        expect(visitor.locator('[aria-label="Missed: 20"]')).to_be_visible()
        assert visitor.get_by_text("List the studies in").count() == 0
        assert visitor.locator("[data-box]").count() == 0
        assert visitor.locator("[data-testid=stDataFrame]").count() == 0


def test_a_cell_of_the_heatmap_says_its_value(visitor: Page, dashboard: Dashboard) -> None:
    sign_in(visitor, dashboard, Role.VIEWER, "/subgroups")
    cell = visitor.locator('[aria-label="Riverside CT-2, Night: 16 of 31 found, 52%, Not met"]')
    expect(cell.first).to_be_visible()
    expect(visitor.locator('[aria-label="Hillside CT-2, Night: n = 2, too few"]').first).to_be_attached()
    expect(visitor.get_by_text("16 of 31 bleeds", exact=True)).to_be_visible()


def test_the_boxes_that_a_reader_sees_add_up(visitor: Page, dashboard: Dashboard) -> None:
    sign_in(visitor, dashboard, Role.VIEWER, "/accounting")
    labels = visitor.locator("svg[role=group] g[aria-label]")
    expect(labels.first).to_be_visible()
    seen = [str(labels.nth(place).get_attribute("aria-label")) for place in range(labels.count())]
    counts = [int(re.split(": | \\(", label)[1].replace(",", "")) for label in seen]
    received, excluded, eligible = counts[:3]
    assert received == excluded + eligible == 1461
    assert sum(counts[3:8]) == sum(counts[8:12]) == eligible
    assert sum(counts[12:15]) == counts[8] == 171
    assert sum(counts[15:18]) == counts[9]


def test_a_reviewer_selects_a_box_with_the_keyboard_and_gets_its_final_studies(
    visitor: Page, dashboard: Dashboard
) -> None:
    sign_in(visitor, dashboard, Role.REVIEWER, "/accounting")
    visitor.locator('[data-box="ai-positive"]').press("Enter")
    expect(visitor.get_by_text("269 studies. 15 without a final report are counted here")).to_be_visible()
    expect(visitor.locator("[data-testid=stDataFrame]")).to_be_visible()
    expect(visitor).to_have_url(re.compile(r"box=AI"))
    assert visitor.locator('[data-box="pending"]').count() == 0
    visitor.locator('[data-box="missed"]').click()
    expect(visitor.get_by_text("20 studies.")).to_be_visible()


def test_an_open_page_dies_at_the_next_click_once_its_session_is_revoked(visitor: Page, dashboard: Dashboard) -> None:
    sign_in(visitor, dashboard, Role.SIGNER, "/subgroups")
    expect(visitor.locator('[aria-label^="Riverside CT-2, Night"]').first).to_be_visible()
    dashboard.accounts.revoke_all(Role.SIGNER.value)
    visitor.get_by_text("Specificity", exact=True).click()
    expect(visitor.get_by_text("Your session has ended")).to_be_visible()
    expect(visitor.locator('[aria-label^="Riverside CT-2, Night"]')).to_have_count(0)


def test_signing_out_ends_the_session_and_the_way_back(visitor: Page, dashboard: Dashboard) -> None:
    sign_in(visitor, dashboard, Role.ADMIN)
    cookie = next(one for one in visitor.context.cookies() if one["name"] == "shadow_session")
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    visitor.get_by_role("link", name="Sign out").click()
    visitor.get_by_role("button", name="Sign out").click()
    expect(visitor.get_by_role("heading", name="Sign in")).to_be_visible()
    assert dashboard.accounts.session(session_identifier(cookie["value"])) is None
    visitor.goto(dashboard.url)
    expect(visitor).to_have_url(re.compile("/login"))


def test_a_wrong_password_says_so_and_asks_again(visitor: Page, dashboard: Dashboard) -> None:
    visitor.goto(f"{dashboard.url}/accounting")
    visitor.fill("#name", "stranger")
    visitor.fill("#password", "not it")
    visitor.click("button[type=submit]")
    expect(visitor.get_by_role("alert")).to_have_text("Name or password is not right.")


def test_a_page_shows_a_new_snapshot_by_itself(visitor: Page, tmp_path: Path) -> None:
    for fresh in run_dashboard(tmp_path):
        sign_in(visitor, fresh, Role.VIEWER)
        expect(visitor.get_by_text("Nothing is published yet")).to_be_visible()
        publish_example(fresh.home.snapshots)
        expect(visitor.get_by_text("16 of 31 bleeds", exact=True)).to_be_visible(timeout=REFRESHED_MS)


def request(dashboard: Dashboard, method: str, path: str, body: str = "", **headers: str) -> http.client.HTTPResponse:
    """One request without a browser; header names use underscores here and hyphens on the wire."""
    connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


def test_forged_headers_open_neither_page_nor_websocket(dashboard: Dashboard) -> None:
    token = dashboard.accounts.open_session(Account(Role.REVIEWER.value, Role.REVIEWER))
    forged = {"X_Shadow_Session": session_identifier(token), "X_Shadow_Role": "admin"}
    assert request(dashboard, "GET", "/", **forged).status == 401
    assert request(dashboard, "GET", "/_stcore/stream", **UPGRADE, **forged).status == 403
    opened = request(dashboard, "GET", "/_stcore/stream", **UPGRADE, Cookie=f"shadow_session={token}")
    assert opened.status == 101


def sign_in_form(dashboard: Dashboard, name: str, password: str, *, with_cookie: bool = True) -> int:
    """The status of a form sent without a browser."""
    page = request(dashboard, "GET", "/login")
    cookies = page.headers.get_all("set-cookie") or []
    form_token = next(one.split(";")[0].split("=", 1)[1] for one in cookies if one.startswith("shadow_form="))
    body = urlencode({"name": name, "password": password, "form_token": form_token, "next": "/"})
    headers = {"Content_Type": "application/x-www-form-urlencoded"}
    if with_cookie:
        headers["Cookie"] = f"shadow_form={form_token}"
    return request(dashboard, "POST", "/login", body, **headers).status


def test_a_form_from_elsewhere_signs_nobody_in(dashboard: Dashboard) -> None:
    password = dashboard.passwords[Role.VIEWER]
    assert sign_in_form(dashboard, "viewer", password, with_cookie=False) == 400
    assert sign_in_form(dashboard, "viewer", password) == 303


def test_guessing_a_password_is_slowed_down(dashboard: Dashboard) -> None:
    tried = [sign_in_form(dashboard, "guessed", f"guess {number}") for number in range(6)]
    assert tried == [401, 401, 401, 401, 401, 429]
    assert sign_in_form(dashboard, "viewer", dashboard.passwords[Role.VIEWER]) == 303
