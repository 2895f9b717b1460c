"""A label rule: its file as written, checked and compiled. The words are data, their order of work is code.

A rule is a TOML file beside this module. Its identifier ends in its version, and every label names it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from shadow.domain.errors import ConfigurationError
from shadow.protocol.reader import read_toml

_RULES = Path(__file__).parent / "rules"
_ANY_WORD = re.compile(r"\\[wWSD]|(?<!\\)\.|\[\^")


class Effect(StrEnum):
    """What becomes of a mention: a state, or `ignored`; `none` marks words that modify nothing."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"
    IGNORED = "ignored"
    NONE = "none"


class Direction(StrEnum):
    """Which way a modifier reaches: `forward` to mentions behind it, `backward` to those before it."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class SectionOfRule:
    """A section by its headings. Rank 0 is no evidence; a higher rank has the last word."""

    name: str
    rank: int
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetOfRule:
    """Patterns that mention the condition; `affirmed` is the state of a mention that nothing modifies."""

    affirmed: Effect
    general: bool
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModifierOfRule:
    """Words that change the state of a mention at most `reach_words` words away."""

    state: Effect
    direction: Direction
    reach_words: int
    patterns: tuple[str, ...]

    def __post_init__(self) -> None:
        # A modifier's words are kept in the ledger, so it must not be able to match a name.
        if any(_ANY_WORD.search(pattern) for pattern in self.patterns):
            raise ValueError("modifiers: list the words; a pattern that matches any word could match a name")


@dataclass(frozen=True, slots=True)
class Patterns:
    """A list of patterns."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A rule file as written: see shadow/reference_standard/rules/."""

    identifier: str
    target_condition: str
    abbreviations: tuple[str, ...]
    continuations: tuple[str, ...]
    sections: tuple[SectionOfRule, ...]
    targets: tuple[TargetOfRule, ...]
    exclusions: Patterns
    terminators: Patterns
    backward_terminators: Patterns
    modifiers: tuple[ModifierOfRule, ...]


@dataclass(frozen=True, slots=True)
class LabelRule:
    """A rule file with its patterns compiled.

    Attributes:
        identifier: name and version, such as `intracranial-haemorrhage/1`.
        heading: any heading, in group `line` at the start of a line or in group `inline` within one.
        sections, targets, modifiers: the file's entries, each with its pattern.
        terminators: end the reach of a forward modifier; backward_terminators: these and more.
    """

    identifier: str
    target_condition: str
    abbreviations: re.Pattern[str]
    continuations: re.Pattern[str]
    heading: re.Pattern[str]
    sections: tuple[tuple[SectionOfRule, re.Pattern[str]], ...]
    targets: tuple[tuple[TargetOfRule, re.Pattern[str]], ...]
    exclusions: re.Pattern[str]
    terminators: re.Pattern[str]
    backward_terminators: re.Pattern[str]
    modifiers: tuple[tuple[ModifierOfRule, re.Pattern[str]], ...]


def load_rule(identifier: str) -> LabelRule:
    """The rule of that identifier, from the files beside this module.

    Raises:
        ConfigurationError: no file has it, or the file does not fit.
    """
    return _compiled(identifier)


@functools.cache
def _compiled(identifier: str) -> LabelRule:
    known: list[str] = []
    for path in sorted(_RULES.glob("*.toml")):
        file = read_toml(path, RuleFile)
        known.append(file.identifier)
        if file.identifier == identifier:
            return compile_rule(file)
    raise ConfigurationError("trial file", "reference.label_rule", f"choose one of {', '.join(known)}")


def compile_rule(file: RuleFile) -> LabelRule:
    """A rule file, ready to read with."""
    return LabelRule(
        identifier=file.identifier,
        target_condition=file.target_condition,
        abbreviations=_last_word(file.abbreviations),
        continuations=_last_word(file.continuations),
        heading=_heading_pattern(file.sections),
        sections=tuple((section, _headings(section)) for section in file.sections),
        targets=tuple((target, _phrases(target.patterns)) for target in file.targets),
        exclusions=_phrases(file.exclusions.patterns),
        terminators=_phrases(file.terminators.patterns),
        backward_terminators=_phrases(file.terminators.patterns + file.backward_terminators.patterns),
        modifiers=tuple((modifier, _phrases(modifier.patterns)) for modifier in file.modifiers),
    )


def _phrases(patterns: Sequence[str]) -> re.Pattern[str]:
    """One pattern for many phrases: whole words, any white space for a blank, without case.

    The first alternative that fits is taken, so the longer ones come first: `no evidence of` before `no`.
    """
    longest_first = sorted(patterns, key=len, reverse=True)
    return re.compile("|".join(f"(?:{_phrase(pattern)})" for pattern in longest_first), re.IGNORECASE)


def _phrase(pattern: str) -> str:
    begins_with_word = pattern[0].isalnum() or pattern[0] == "("
    ends_with_word = (pattern[-1].isalnum() or pattern[-1] in ")?") and not pattern.endswith(r"\?")
    before = r"(?<![\w-])" if begins_with_word else ""
    after = r"(?![\w-])" if ends_with_word else ""
    return before + f"(?:{pattern})".replace(" ", r"\s+") + after


def _last_word(words: Sequence[str]) -> re.Pattern[str]:
    """One of the words, at the end of what is searched."""
    alternatives = "|".join(re.escape(word) for word in words)
    return re.compile(rf"(?<![\w-])(?:{alternatives})\s*\Z", re.IGNORECASE)


def _headings(section: SectionOfRule) -> re.Pattern[str]:
    return re.compile(_heading_words(section.headings), re.IGNORECASE)


def _heading_words(headings: Sequence[str]) -> str:
    return "|".join(f"(?:{heading})" for heading in headings).replace(" ", "[ \t]+")


def _heading_pattern(sections: Sequence[SectionOfRule]) -> re.Pattern[str]:
    """Headings: at the start of a line before a colon, a dash or nothing; within a line before a colon."""
    words = _heading_words([heading for section in sections for heading in section.headings])
    return re.compile(
        rf"^[ \t>*#=_-]*(?P<line>{words})[ \t]*(?:\d{{1,2}})?[ \t]*[*_]*(?::|[ \t][-–][ \t]|[ \t\r]*$)"
        rf"|(?:(?<=[.;!?])[ \t]+|[ \t]{{2,}})(?P<inline>{words})[ \t]*:",
        re.IGNORECASE | re.MULTILINE,
    )
