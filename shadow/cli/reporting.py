"""Verbs around reports and the people who read: accounts, links, quarantine, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from shadow.cli.options import DEFAULT_HOME, HomeOption
from shadow.domain.home import Home

label_app = typer.Typer(help="How reports become labels.", no_args_is_help=True)
linkage_app = typer.Typer(help="Reports that found no study, and a person's word on them.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Messages of the report feed that could not be used.", no_args_is_help=True)
account_app = typer.Typer(help="Who may look at the dashboard, and read blind.", no_args_is_help=True)


@account_app.command("add")
def account_add(
    name: Annotated[str, typer.Argument(help="The person's account name.")],
    role: Annotated[str, typer.Option(help="viewer, reviewer, signer or admin.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Add a person's account and print its password, once."""
    from shadow.supervision.people import add_account

    raise typer.Exit(add_account(Home(home), name, role, Console()))


@account_app.command("list")
def account_list(home: HomeOption = DEFAULT_HOME) -> None:
    """Print the accounts with their roles."""
    from shadow.supervision.people import list_accounts

    list_accounts(Home(home), Console())


@linkage_app.command("list")
def linkage_list(home: HomeOption = DEFAULT_HOME) -> None:
    """Print every report without a study, with the studies that may be meant; exit 1 where there is one."""
    from shadow.supervision.linkage_review import list_unmatched

    raise typer.Exit(list_unmatched(Home(home), Console()))


@linkage_app.command("resolve")
def linkage_resolve(
    from_key: Annotated[str, typer.Argument(help="The key that is wrong, as `list` prints it.")],
    to_key: Annotated[str, typer.Argument(help="The key that it stands for.")],
    reason: Annotated[str, typer.Option(help="Why, without a name or number of a patient; it stays on record.")],
    what: Annotated[str, typer.Option(help="accession, or patient for a merge that no message told of.")] = "accession",
    undo: Annotated[bool, typer.Option("--undo", help="Take the correction back.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Say which study a report belongs to; on record with who said it, and never deleted."""
    from shadow.supervision.linkage_review import resolve

    raise typer.Exit(resolve(Home(home), what, (from_key, to_key), reason, Console(), active=not undo))


@quarantine_app.command("list")
def quarantine_list(home: HomeOption = DEFAULT_HOME) -> None:
    """Print every message in quarantine by its digest, with the reason; exit 1 where there is one."""
    from shadow.supervision.quarantine_review import list_quarantined

    raise typer.Exit(list_quarantined(Home(home), Console()))


@quarantine_app.command("replay")
def quarantine_replay(
    message: Annotated[str, typer.Argument(help="The beginning of its digest, as `list` prints it.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every message in quarantine.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Read a message again from the journal, once the cause is mended; it keeps the instant of its arrival."""
    from shadow.supervision.quarantine_review import replay_quarantined

    raise typer.Exit(replay_quarantined(Home(home), message, Console(), everything=everything))


@label_app.command("explain")
def label_explain(
    file: Annotated[Path, typer.Argument(help="A report's text. It is printed: mind who looks on.")],
    rule: Annotated[
        list[str] | None, typer.Option(help="A rule, such as pneumothorax/2; all where none is named.")
    ] = None,
) -> None:
    """Print a report's text with the words marked that made its label, and what each rule read."""
    from shadow.supervision.explain import explain

    explain(file, rule or [], Console())


@label_app.command("agreement")
def label_agreement(home: HomeOption = DEFAULT_HOME) -> None:
    """Print how far the label rules agree with the second labeller and with coded findings."""
    from shadow.supervision.label_readers import label_agreement as print_label_agreement

    print_label_agreement(Home(home), Console())


@label_app.command("mentions")
def label_mentions(home: HomeOption = DEFAULT_HOME) -> None:
    """Print the studies whose reports mention the model or another AI: their writers were not blind."""
    from shadow.supervision.label_readers import model_mentions

    model_mentions(Home(home), Console())
