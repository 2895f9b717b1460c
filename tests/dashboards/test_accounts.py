"""Accounts and sessions, in a real file."""

from __future__ import annotations

import shutil
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError
from typer.testing import CliRunner

from shadow.cli import app
from shadow.store.accounts import (
    SESSION_LASTS,
    Account,
    AccountAction,
    AccountEvent,
    Accounts,
    FirstAccount,
    Role,
    create_first_accounts,
    session_identifier,
)

T0 = datetime(2026, 11, 1, 8, tzinfo=UTC)
PASSWORD = "a long enough password"


@dataclass(slots=True)
class HandClock:
    """A clock that a test moves."""

    instant: datetime = T0

    def now(self) -> datetime:
        return self.instant


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one account: hashing a password is slow on purpose."""
    path = tmp_path_factory.mktemp("prepared") / "accounts.db"
    made = Accounts(path)
    made.add(FirstAccount("rena", Role.REVIEWER, PASSWORD))
    made.close()
    return path


@pytest.fixture
def accounts(tmp_path: Path, clock: HandClock, prepared: Path) -> Accounts:
    shutil.copy(prepared, tmp_path / "accounts.db")
    return Accounts(tmp_path / "accounts.db", clock)


def test_a_new_trial_gets_one_account_for_each_role_and_each_password_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    made = create_first_accounts(path)
    assert [one.role for one in made] == list(Role)
    assert len({one.password for one in made}) == len(Role)
    opened = Accounts(path)
    assert [opened.authenticate(one.name, one.password) for one in made] == [
        Account(one.name, one.role) for one in made
    ]


def test_first_accounts_are_made_only_once(tmp_path: Path) -> None:
    assert create_first_accounts(tmp_path / "accounts.db")
    assert create_first_accounts(tmp_path / "accounts.db") == ()


def test_the_files_hold_neither_passwords_nor_tokens_and_only_the_owner_reads_them(
    tmp_path: Path, accounts: Accounts
) -> None:
    token = accounts.open_session(Account("rena", Role.REVIEWER))
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    assert b"rena" in content
    assert PASSWORD.encode() not in content
    assert token.encode() not in content
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_password_never_shows_in_a_log_of_the_account() -> None:
    assert PASSWORD not in repr(FirstAccount("rena", Role.REVIEWER, PASSWORD))


@pytest.mark.parametrize(("name", "password"), [("rena", "wrong"), ("nobody", PASSWORD), ("rena", ""), ("", PASSWORD)])
def test_a_wrong_name_or_password_opens_nothing(accounts: Accounts, name: str, password: str) -> None:
    assert accounts.authenticate(name, password) is None


def test_a_password_longer_than_the_limit_opens_nothing_even_if_it_starts_right(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "accounts.db")
    longest = "x" * 1024
    accounts.add(FirstAccount("rena", Role.REVIEWER, longest))
    assert accounts.authenticate("rena", longest) is not None
    assert accounts.authenticate("rena", longest + "y") is None


def test_a_session_ends_after_its_hours(accounts: Accounts, clock: HandClock) -> None:
    identifier = session_identifier(accounts.open_session(Account("rena", Role.REVIEWER)))
    clock.instant = T0 + SESSION_LASTS - timedelta(seconds=1)
    session = accounts.session(identifier)
    assert session is not None
    assert (session.name, session.role, session.expires_at) == ("rena", Role.REVIEWER, T0 + SESSION_LASTS)
    clock.instant = T0 + SESSION_LASTS
    assert accounts.session(identifier) is None


def test_a_revoked_session_ends_at_once_and_another_goes_on(accounts: Accounts) -> None:
    first, second = (session_identifier(accounts.open_session(Account("rena", Role.REVIEWER))) for _ in range(2))
    accounts.revoke(first)
    assert accounts.session(first) is None
    assert accounts.session(second) is not None
    accounts.revoke_all("rena")
    assert accounts.session(second) is None


def test_the_token_is_no_identifier_and_the_identifier_no_token(accounts: Accounts) -> None:
    token = accounts.open_session(Account("rena", Role.REVIEWER))
    assert accounts.session(token) is None
    assert accounts.session(session_identifier(session_identifier(token))) is None


def test_a_taken_name_and_a_short_password_are_refused(accounts: Accounts) -> None:
    with pytest.raises(IntegrityError):
        accounts.add(FirstAccount("rena", Role.ADMIN, PASSWORD))
    with pytest.raises(ValueError, match="12 to 1024"):
        accounts.add(FirstAccount("new", Role.VIEWER, "short"))
    with pytest.raises(ValueError, match="1 to 64"):
        accounts.add(FirstAccount("", Role.VIEWER, PASSWORD))
    assert accounts.count() == 1


def test_signing_in_refusals_and_revocations_are_told_to_the_audit(tmp_path: Path, clock: HandClock) -> None:
    events: list[AccountEvent] = []
    accounts = Accounts(tmp_path / "accounts.db", clock, events.append)
    accounts.add(FirstAccount("rena", Role.REVIEWER, PASSWORD))
    accounts.authenticate("rena", "wrong")
    accounts.revoke(session_identifier(accounts.open_session(Account("rena", Role.REVIEWER))))
    accounts.revoke("no session")
    assert [(one.action, one.name) for one in events] == [
        (AccountAction.ACCOUNT_ADDED, "rena"),
        (AccountAction.SIGN_IN_REFUSED, "rena"),
        (AccountAction.SIGNED_IN, "rena"),
        (AccountAction.SESSION_REVOKED, "rena"),
    ]


def test_a_person_is_added_by_name_and_role_and_the_password_shown_opens_the_account(tmp_path: Path) -> None:
    def shadow(*arguments: str) -> tuple[int, str]:
        found = CliRunner().invoke(app, ["account", *arguments, "--home", str(tmp_path)])
        return found.exit_code, found.output

    code, output = shadow("add", "dr.brown", "--role", "reviewer")
    password = output.split("password ")[1].split()[0]
    accounts = Accounts(tmp_path / "accounts.db")
    assert code == 0 and accounts.authenticate("dr.brown", password) == Account("dr.brown", Role.REVIEWER)
    accounts.close()
    assert shadow("add", "dr.brown", "--role", "signer")[0] == 1
    assert "choose one of viewer, reviewer, signer, admin" in shadow("add", "x", "--role", "reader")[1]
    assert "printable" in shadow("add", "two\nlines", "--role", "viewer")[1]
    assert "dr.brown" in shadow("list")[1]
