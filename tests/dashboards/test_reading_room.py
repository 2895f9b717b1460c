"""Two readers and a third person settle a study in a real browser, and learn nothing but its images."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, Dashboard, drawn, run_dashboard, sign_in
from example_snapshot import publish_example
from head_ct import as_file, head_slice
from playwright.sync_api import Browser, Page, expect

from shadow.domain.home import Home
from shadow.store.accounts import Accounts, FirstAccount, Role
from shadow.store.events import Kind
from shadow.wiring.trial import open_trial, register_trial

pytestmark = pytest.mark.server

STUDIES = ("study-a", "study-b")
PASSWORD = "a password of some length"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A dashboard over a registered trial with two studies to read."""
    home = Home(tmp_path_factory.mktemp("reading"))
    register_trial(PROJECT / "configs" / "trials" / "demo-head-ct.toml", home)
    for shade, study in enumerate(STUDIES):
        folder = home.studies / study / "r1"
        folder.mkdir(parents=True)
        for number in range(1, 9):
            pixels = np.full((64, 64), 1024 + 20 * number + shade)
            (folder / f"{number}.dcm").write_bytes(
                as_file(head_slice(study=str(shade + 1), number=number, pixels=pixels))
            )
    publish_example(home.snapshots, withheld=STUDIES)
    for running in run_dashboard(home.root):
        accounts = Accounts(home.accounts)
        accounts.add(FirstAccount("third", Role.REVIEWER, PASSWORD))
        accounts.close()
        yield running


def reads(dashboard: Dashboard) -> list[tuple[str, str, str, bool]]:
    with open_trial(dashboard.home).open_ledger() as ledger:
        bodies = [json.loads(row.body or "") for row in ledger.of_kind(Kind.ADJUDICATION)]
    return [(one["study_key"], one["reader"], one["answer"], one["arbiter"]) for one in bodies]


def answer(page: Page, words: str) -> None:
    """Wait for the images, choose, lock, and wait for what comes next."""
    stage = page.locator('[data-drawn]:not([data-drawn=""])')
    expect(stage).to_be_visible()
    page.get_by_text(words, exact=True).click()
    page.get_by_role("button", name="Lock my answer").click()
    expect(page.get_by_text("Locked.")).to_be_visible()
    drawn(page)


def as_third(browser: Browser, dashboard: Dashboard) -> Page:
    page = browser.new_context().new_page()
    page.goto(dashboard.url + "/reading")
    page.fill("#name", "third")
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.locator("h1", has_text="?").wait_for()
    drawn(page)
    return page


def test_two_read_and_a_third_settles_what_they_differ_on(visitor: Page, browser: Browser, room: Dashboard) -> None:
    asked: list[str] = []
    visitor.on("request", lambda request: asked.append(request.url))
    sign_in(visitor, room, Role.REVIEWER, "/reading")
    expect(visitor.get_by_text("2 are open to you")).to_be_visible()
    stage = visitor.locator(".stage")
    expect(stage).to_have_attribute("data-drawn", "5")
    stage.press("End")
    expect(stage).to_have_attribute("data-drawn", "8")
    stage.press("4")
    expect(visitor.get_by_role("button", name="Bone")).to_have_attribute("aria-pressed", "true")
    page_text = visitor.content() + " ".join(asked)
    assert not any(study in page_text for study in STUDIES), "the key of a study never reaches the browser"
    answer(visitor, "Bleeds present")
    answer(visitor, "No bleeds")
    expect(visitor.get_by_text("Nothing is left for you to read.")).to_be_visible()

    second = browser.new_context().new_page()
    sign_in(second, room, Role.SIGNER, "/reading")
    answer(second, "Bleeds present")
    answer(second, "The images do not tell")

    third = as_third(browser, room)
    expect(third.get_by_text("1 is open to you")).to_be_visible()
    assert "differ" not in third.locator(".stMain, [data-testid=stMain]").inner_text()
    answer(third, "No bleeds")
    assert reads(room) == [
        ("study-a", "reviewer", "present", False),
        ("study-b", "reviewer", "absent", False),
        ("study-a", "signer", "present", False),
        ("study-b", "signer", "indeterminate", False),
        ("study-b", "third", "absent", True),
    ]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
def test_who_does_not_read_sees_no_images(visitor: Page, room: Dashboard, role: Role) -> None:
    sign_in(visitor, room, role)
    assert visitor.get_by_text("Blinded reading").count() == 0
    visitor.goto(room.url + "/reading")
    drawn(visitor)
    assert visitor.locator(".stage").count() == 0


def test_an_image_goes_to_the_person_who_holds_the_study_alone(room: Dashboard) -> None:
    for path in ("/reading/nothing/0/0", f"/reading/{STUDIES[0]}/0/0"):
        with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(room.url + path, timeout=5):
            pass
        assert refused.value.code == 401
        refused.value.close()


def test_a_study_that_is_read_blind_is_not_listed_with_what_was_said_of_it(visitor: Page, tmp_path: Path) -> None:
    example = publish_example(Home(tmp_path).snapshots)
    from dashboards.boxes import box_named, read_cases

    missed = box_named("missed")
    assert missed is not None
    first = read_cases(example.cases, missed)[0].study_key
    publish_example(Home(tmp_path).snapshots, withheld=(first,))
    for running in run_dashboard(tmp_path):
        sign_in(visitor, running, Role.REVIEWER, "/accounting?box=Missed")
        expect(visitor.get_by_text("1 is being read blind")).to_be_visible()
