"""A label rule: its file as written, checked and compiled. The words are data, their order of work is code.

A rule is a TOML file under rules/conditions/, its language one under rules/languages/. A rule's identifier ends in
its version, and every label names it.
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
from shadow.reference_standard.coded_finding import SYSTEMS, CodedFinding, plain_code

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
class CodesOfRule:
    """Codes that state the condition, and what each says. One that ends in `*` covers all that begin like it.

    Attributes:
        system: SNOMED CT, ICD-10 (ICD-10-CM too), RadLex or BI-RADS.
        state: what the code says.
        general: the code speaks about the whole condition, so that denying it denies the condition.
    """

    system: str
    codes: tuple[str, ...]
    state: Effect
    general: bool = False

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS.values():
            raise ValueError(f"codes: system must be one of {', '.join(sorted(set(SYSTEMS.values())))}")
        if self.state not in (Effect.PRESENT, Effect.ABSENT, Effect.INDETERMINATE):
            raise ValueError("codes: state must be present, absent or indeterminate")

    def covers(self, finding: CodedFinding) -> bool:
        """Whether the finding's code is one of these."""
        return finding.system == self.system and any(
            finding.code.startswith(code[:-1]) if code.endswith("*") else finding.code == code
            for code in (plain_code(self.system, one) for one in self.codes)
        )


@dataclass(frozen=True, slots=True)
class LanguageFile:
    """How reports are written in one language: headings, sentences and modifiers, shared by the rules that name it."""

    identifier: str
    abbreviations: tuple[str, ...]
    continuations: tuple[str, ...]
    sections: tuple[SectionOfRule, ...]
    terminators: Patterns
    backward_terminators: Patterns
    modifiers: tuple[ModifierOfRule, ...]


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A rule file as written: its condition's mentions, what looks like one and is none, and modifiers of its own."""

    identifier: str
    language: str
    target_condition: str
    targets: tuple[TargetOfRule, ...]
    exclusions: Patterns
    modifiers: tuple[ModifierOfRule, ...] = ()
    codes: tuple[CodesOfRule, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelRule:
    """A rule file with its patterns compiled.

    Attributes:
        identifier: name and version, such as `intracranial-haemorrhage/3`.
        heading: any heading, in group `line` at the start of a line, in `inline` or `shouted` within one.
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
    codes: tuple[CodesOfRule, ...] = ()


def load_rule(identifier: str) -> LabelRule:
    """The rule of that identifier, from the files beside this module.

    Raises:
        ConfigurationError: no file has it, or the file does not fit.
    """
    return _compiled(identifier)


@functools.cache
def _compiled(identifier: str) -> LabelRule:
    rules = {file.identifier: file for file in _rule_files()}
    if identifier not in rules:
        raise ConfigurationError("trial file", "reference.label_rule", f"choose one of {', '.join(sorted(rules))}")
    return compile_rule(rules[identifier])


def known_rules() -> tuple[str, ...]:
    """Every rule's identifier, in order."""
    return tuple(sorted(file.identifier for file in _rule_files()))


def _rule_files() -> list[RuleFile]:
    return [read_toml(path, RuleFile) for path in sorted((_RULES / "conditions").glob("*.toml"))]


def _language(identifier: str) -> LanguageFile:
    languages = [read_toml(path, LanguageFile) for path in sorted((_RULES / "languages").glob("*.toml"))]
    found = next((one for one in languages if one.identifier == identifier), None)
    if found is None:
        known = ", ".join(one.identifier for one in languages)
        raise ConfigurationError("rule file", "language", f"'{identifier}' is not known; choose one of {known}")
    return found


def compile_rule(file: RuleFile) -> LabelRule:
    """A rule file with its language, ready to read with.

    Raises:
        ConfigurationError: its language is not known.
    """
    language = _language(file.language)
    return LabelRule(
        identifier=file.identifier,
        target_condition=file.target_condition,
        abbreviations=_last_word(language.abbreviations),
        continuations=_last_word(language.continuations),
        heading=_heading_pattern(language.sections),
        sections=tuple((section, _headings(section)) for section in language.sections),
        targets=tuple((target, _phrases(target.patterns)) for target in file.targets),
        exclusions=_phrases(file.exclusions.patterns),
        terminators=_phrases(language.terminators.patterns),
        backward_terminators=_phrases(language.terminators.patterns + language.backward_terminators.patterns),
        modifiers=tuple((modifier, _phrases(modifier.patterns)) for modifier in (*language.modifiers, *file.modifiers)),
        codes=file.codes,
    )


def _phrases(patterns: Sequence[str]) -> re.Pattern[str]:
    """One pattern for many phrases: whole words, any white space for a blank, without case.

    The first alternative that fits is taken, so the longer ones come first: `no evidence of` before `no`.
    """
    longest_first = sorted(patterns, key=len, reverse=True)
    words = [_phrase(one) for one in longest_first if _begins_with_word(one)]
    others = [_phrase(one) for one in longest_first if not _begins_with_word(one)]
    # Tested once for all of them, the boundary spares every place inside a word: four times as fast.
    parts = [rf"(?<![\w-])(?:{'|'.join(words)})"] if words else []
    return re.compile("|".join((*parts, *others)), re.IGNORECASE)


def _begins_with_word(pattern: str) -> bool:
    return pattern[0].isalnum() or pattern[0] == "("


def _phrase(pattern: str) -> str:
    ends_with_word = (pattern[-1].isalnum() or pattern[-1] in ")?") and not pattern.endswith(r"\?")
    after = r"(?![\w-])" if ends_with_word else ""
    return f"(?:(?:{pattern})".replace(" ", r"\s+") + after + ")"


def _last_word(words: Sequence[str]) -> re.Pattern[str]:
    """One of the words, at the end of what is searched."""
    alternatives = "|".join(re.escape(word) for word in words)
    return re.compile(rf"(?<![\w-])(?:{alternatives})\s*\Z", re.IGNORECASE)


def _headings(section: SectionOfRule) -> re.Pattern[str]:
    return re.compile(_heading_words(section.headings), re.IGNORECASE)


def _heading_words(headings: Sequence[str]) -> str:
    return "|".join(f"(?:{heading})" for heading in headings).replace(" ", "[ \t]+")


def _heading_pattern(sections: Sequence[SectionOfRule]) -> re.Pattern[str]:
    """Headings: at the start of a line before a colon, a dash or nothing; within a line before a colon.

    Within a line a heading follows a full stop or two blanks; one of evidence, in capitals, a single blank too: senders
    who drop line breaks would else hide their findings in the history.
    """
    words = _heading_words([heading for section in sections for heading in section.headings])
    evidence = _heading_words([heading for section in sections if section.rank for heading in section.headings])
    return re.compile(
        rf"^[ \t>*#=_-]*(?P<line>{words})[ \t]*(?:\d{{1,2}})?[ \t]*[*_]*(?::|[ \t][-–][ \t]|[ \t\r]*$)"
        rf"|(?:(?<=[.;!?])[ \t]+|[ \t]{{2,}})(?P<inline>{words})[ \t]*:"
        rf"|(?<=[^\s.;!?])[ \t](?P<shouted>{evidence}):",
        re.IGNORECASE | re.MULTILINE,
    )
