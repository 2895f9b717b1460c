"""Whether a report mentions the model or any other AI: its writer may then have known the result, and was not blind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shadow.protocol.reader import read_toml
from shadow.protocol.trial import TrialProtocol

_FILE = Path(__file__).parent / "rules" / "mentions" / "english_model.toml"
_SHORTEST_NAME = 4


@dataclass(frozen=True, slots=True)
class MentionsFile:
    """The word list as written; an exclusion hides what it covers."""

    identifier: str
    patterns: tuple[str, ...]
    exclusions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelMentions:
    """The word list compiled, with the names of the trial's models."""

    identifier: str
    mention: re.Pattern[str]
    exclusion: re.Pattern[str]


def mentions_model(words: ModelMentions, text: str) -> bool:
    """Whether a text mentions a model, in whichever section, affirmed or denied."""
    excluded = [found.span() for found in words.exclusion.finditer(text)]
    return any(
        not any(found.start() < end and start < found.end() for start, end in excluded)
        for found in words.mention.finditer(text)
    )


def load_model_mentions(names: Sequence[str] = ()) -> ModelMentions:
    """The shipped word list with these names; a name shorter than four characters would be found everywhere."""
    file = read_toml(_FILE, MentionsFile)
    own = [re.escape(one).replace(r"\ ", " ") for one in names if len(one) >= _SHORTEST_NAME]
    return ModelMentions(file.identifier, _any_of([*file.patterns, *own]), _any_of(file.exclusions))


def names_of_models(protocol: TrialProtocol) -> tuple[str, ...]:
    """The identifiers of the trial's models, and its vendors' products as their makers name them."""
    products = [model.vendor.product for model in protocol.models if model.vendor is not None]
    return (*(model.identifier for model in protocol.models), *products)


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-])(?:{'|'.join(patterns)})(?![\w-])".replace(" ", r"\s+"), re.IGNORECASE)
