"""A trial's folder with a published snapshot, a dashboard on a real port, and a real browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from example_snapshot import publish_example
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from shadow.assessment.snapshot_file import Published
from shadow.domain.home import Home
from shadow.store.accounts import Accounts, Role, create_first_accounts

PROJECT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
STARTING_SECONDS = 60.0
SLOWEST_PAGE_MS = 30_000


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard that runs."""

    url: str
    port: int
    home: Home
    passwords: dict[Role, str]

    @property
    def accounts(self) -> Accounts:
        return Accounts(self.home.accounts)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty trial's folder, named in the environment."""
    monkeypatch.setenv("SHADOW_HOME", str(tmp_path))
    return Home(tmp_path)


@pytest.fixture
def published(home: Home) -> Published:
    """The example, published in the folder."""
    return publish_example(home.snapshots)


def run_dashboard(folder: Path) -> Iterator[Dashboard]:
    home = Home(folder)
    passwords = {one.role: one.password for one in create_first_accounts(home.accounts)}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    environment = dict(os.environ, SHADOW_HOME=str(folder), SHADOW_AIRFLOW_ORIGIN="http://127.0.0.1:8080")
    command = [sys.executable, "-m", "streamlit", "run", str(PROJECT / "dashboards" / "asgi.py")]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1"]
    with (folder / "dashboard.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_healthy(process, url, folder / "dashboard.log")
        yield Dashboard(url, port, home, passwords)
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(f"the dashboard did not start: {log.read_text(errors='replace')}")


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """One dashboard over the example snapshot, shared by the journeys."""
    folder = tmp_path_factory.mktemp("dashboard")
    publish_example(Home(folder).snapshots)
    yield from run_dashboard(folder)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Page]:
    """A fresh visitor's page; every test that uses it also asserts that nothing was asked of another host."""
    context: BrowserContext = browser.new_context(viewport={"width": 1360, "height": 900})
    page = context.new_page()
    page.set_default_timeout(SLOWEST_PAGE_MS)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda opened: asked.append(opened.url))
    yield page
    local = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
    elsewhere = [url for url in asked if not url.startswith(local)]
    context.close()
    assert asked
    assert elsewhere == []


def drawn(page: Page) -> None:
    """Wait until the page's script has run and its title stands."""
    app = page.locator("[data-testid=stApp][data-test-script-state=notRunning]")
    expect(app).to_be_visible(timeout=SLOWEST_PAGE_MS)


def sign_in(page: Page, dashboard: Dashboard, role: Role, path: str = "/") -> None:
    """Open a path, sign in on the way, and wait for the page."""
    page.goto(dashboard.url + path)
    page.fill("#name", role.value)
    page.fill("#password", dashboard.passwords[role])
    page.click("button[type=submit]")
    page.locator("h1", has_text="?").wait_for()
    drawn(page)
