"""`shadow account`: adds people and lists them."""

from __future__ import annotations

from contextlib import closing

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import IntegrityError

from shadow.domain.home import Home
from shadow.store.accounts import Accounts, FirstAccount, Role, new_password


def add_account(home: Home, name: str, role: str, console: Console) -> int:
    """Add one account; its password is printed and stored nowhere. Exit code 1 where it cannot be added."""
    try:
        chosen = Role(role)
    except ValueError:
        console.print(f"'{role}' is no role; choose one of {', '.join(Role)}.", markup=False)
        return 1
    made = FirstAccount(name, chosen, new_password())
    with closing(Accounts(home.accounts)) as accounts:
        try:
            accounts.add(made)
        except IntegrityError:
            console.print(f"There is an account '{name}' already; choose another name.", markup=False)
            return 1
        except ValueError as problem:
            console.print(f"Not added: {problem}.", markup=False)
            return 1
    console.print(f"{name} ({chosen.value}) may sign in with the password {made.password}", markup=False)
    console.print("It is shown this once and stored nowhere.")
    return 0


def list_accounts(home: Home, console: Console) -> None:
    """Print every account with its role."""
    table = Table("Name", "Role", box=SIMPLE_HEAD, pad_edge=False)
    with closing(Accounts(home.accounts)) as accounts:
        for one in accounts.all():
            table.add_row(one.name, one.role.value)
    console.print(table)
