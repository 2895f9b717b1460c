"""`shadow label explain`: a report's text with the words marked that made its label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shadow.domain.errors import ConfigurationError
from shadow.reference_standard.label import Label, read_label
from shadow.reference_standard.label_rule import known_rules, load_rule

LOOKS = {"present": ("bold white on dark_orange3", "+"), "absent": ("black on sky_blue1", "-"),
         "indeterminate": ("black on grey78", "?")}  # fmt: skip


def explain(file: Path, rules: Sequence[str], console: Console) -> None:
    """Print the text for each rule that mentions something in it, and what every rule read.

    Args:
        file: a report's text, UTF-8 or Latin-1. It is printed, so run this only where report text may be seen.
        rules: identifiers; all rules where it is empty.
        console: where to print.

    Raises:
        ConfigurationError: the file cannot be read, or a rule is not known.
    """
    try:
        octets = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(str(file), "file", f"cannot be read ({error.strerror}); check the path") from error
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    summary = Table("Rule", "The report says", "Mentions", box=None, pad_edge=False)
    for identifier in rules or known_rules():
        label = read_label(load_rule(identifier), text)
        if label.spans or rules:
            _marked(identifier, label, text, console)
        summary.add_row(identifier, label.state.value.replace("_", " "), str(len(label.spans)))
    console.print(summary)


def _marked(identifier: str, label: Label, text: str, console: Console) -> None:
    console.rule(f"{identifier}: {label.state.value.replace('_', ' ')}", align="left")
    shown, end = Text(), 0
    for span in sorted(label.spans, key=lambda one: one.start):
        style, sign = LOOKS[span.state]
        shown.append(text[end : span.start])
        shown.append(f"[{sign} {text[span.start : span.end]}]", style=style)
        end = span.end
    shown.append(text[end:])
    console.print(shown, soft_wrap=True)
    mentions = Table("Section", "Words", "State", "Because of", box=None, pad_edge=False)
    for span in label.spans:
        words = " ".join(text[span.start : span.end].split())
        mentions.add_row(span.section, words, span.state, span.trigger or "nothing that denies or doubts it")
    if label.spans:
        console.print(mentions)
    console.print()
