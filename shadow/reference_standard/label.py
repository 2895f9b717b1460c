"""Report text to present, absent, indeterminate or not mentioned, with the words that decided.

Sections, sentences, mentions, and modifiers that reach a mention until a terminator stops them: the ConText
algorithm (Harkema et al. 2009, J Biomed Inform 42:839-851), with the words in a rule file. All offsets point
into the text as it came; nothing is re-flowed, lowered or trimmed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shadow.reference_standard.coded_finding import CodedFinding
from shadow.reference_standard.label_rule import Direction, Effect, LabelRule, ModifierOfRule, TargetOfRule
from shadow.store.events import Span

_BODY = "BODY"
_LINE_THAT_WRAPPED = 55
_LONGEST_SENTENCE = 1200
_SENTENCE_END = re.compile(r"[.!](?=\s|\Z)|(?<=\S)\?(?=\s|\Z)|\n")
_AND_OR = re.compile(r"\b(?:or|and)\b", re.IGNORECASE)
_BULLET = re.compile(r"[ \t]*(?:\d{1,2}[.)]|[-*•>])[ \t]")


class LabelState(StrEnum):
    """What a report says about the target condition."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"
    NOT_MENTIONED = "not_mentioned"


@dataclass(frozen=True, slots=True)
class Label:
    """What a rule read in one report, and every mention that took part.

    Attributes:
        text_state: what the text says.
        code_state: what the codes say that the rule lists; None without one.
    """

    text_state: LabelState
    spans: tuple[Span, ...]
    code_state: LabelState | None = None

    @property
    def state(self) -> LabelState:
        """The label: a coded finding is what the radiologist stated outright, so it beats the reading of the text."""
        return self.text_state if self.code_state is None else self.code_state

    @property
    def source(self) -> str:
        """Whether `text` or `code` decided."""
        return "text" if self.code_state is None else "code"


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    rank: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Mention:
    start: int
    end: int
    target: TargetOfRule


@dataclass(frozen=True, slots=True)
class _Modifier:
    start: int
    end: int
    rule: ModifierOfRule


@dataclass(frozen=True, slots=True)
class _Evidence:
    rank: int
    effect: Effect
    general: bool


def read_label(rule: LabelRule, text: str, codes: Iterable[CodedFinding] = ()) -> Label:
    """What the rule reads in a report: in its text, and in its coded findings where it has any that the rule lists.

    Only sections with a rank are evidence. A mention that affirms the condition makes the report `present`,
    one in doubt `indeterminate`, one denied `absent`, in this order. A general denial in a section of higher
    rank turns `indeterminate` into `absent`, and `present` into `indeterminate`: the report contradicts
    itself. Coded findings follow the same order.
    """
    evidence: list[_Evidence] = []
    spans: list[Span] = []
    for section in _sections(rule, text):
        if section.rank == 0:
            continue
        for start, end in _sentences(rule, text, section.start, section.end):
            for mention, effect, trigger in _read_sentence(rule, text, start, end):
                if effect is Effect.IGNORED:
                    continue
                evidence.append(_Evidence(section.rank, effect, mention.target.general))
                spans.append(Span(mention.start, mention.end, section.name, effect.value, trigger))
    return Label(_state(evidence), tuple(spans), _code_state(rule, codes))


def _code_state(rule: LabelRule, codes: Iterable[CodedFinding]) -> LabelState | None:
    """What listed codes say; None without one. The whole condition both stated and denied is no answer."""
    stated: set[Effect] = set()
    denied = False
    for finding in codes:
        for listed in rule.codes:
            if listed.covers(finding):
                if not finding.absent:
                    stated.add(listed.state)
                elif listed.general and listed.state is Effect.PRESENT:
                    denied = True
    if denied and stated - {Effect.ABSENT}:
        return LabelState.INDETERMINATE
    for effect in (Effect.PRESENT, Effect.INDETERMINATE, Effect.ABSENT):
        if effect in stated:
            return LabelState(effect.value)
    return LabelState.ABSENT if denied else None


def _state(evidence: Sequence[_Evidence]) -> LabelState:
    for effect, contradicted in (
        (Effect.PRESENT, LabelState.INDETERMINATE),
        (Effect.INDETERMINATE, LabelState.ABSENT),
    ):
        ranks = [one.rank for one in evidence if one.effect is effect]
        if ranks:
            denied = _denied_above(evidence, max(ranks))
            return contradicted if denied else LabelState(effect.value)
    return LabelState.ABSENT if evidence else LabelState.NOT_MENTIONED


def _denied_above(evidence: Sequence[_Evidence], rank: int) -> bool:
    """Whether sections of higher rank deny in general, without a doubt of their own."""
    above = [one for one in evidence if one.rank > rank]
    return all(one.effect is Effect.ABSENT for one in above) and any(one.general for one in above)


def _sections(rule: LabelRule, text: str) -> Iterator[_Section]:
    """The text cut at its headings; what stands before the first one is BODY."""
    name, rank, start = _BODY, 1, 0
    for heading in rule.heading.finditer(text):
        words = heading["line"] or heading["inline"] or heading["shouted"]
        if (heading["inline"] and not words[:1].isupper()) or (heading["shouted"] and not words.isupper()):
            continue
        section = next((one for one, pattern in rule.sections if pattern.fullmatch(words)), None)
        if section is not None:
            yield _Section(name, rank, start, heading.start())
            name, rank, start = section.name, section.rank, heading.end()
    yield _Section(name, rank, start, len(text))


def _sentences(rule: LabelRule, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The sentences between two offsets, as offsets; a line break ends one unless the sentence wraps."""
    begin = start
    for found in _SENTENCE_END.finditer(text, start, end):
        at = found.start()
        goes_on = _wraps(rule, text, at, start, end) if found[0] == "\n" else _abbreviated(rule, text, at)
        if not goes_on:
            yield from _bounded(text, begin, at)
            begin = found.end()
    yield from _bounded(text, begin, end)


def _bounded(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """One sentence, cut at a blank where it is longer than any real one: reading time must not explode."""
    while end - start > _LONGEST_SENTENCE:
        blank = text.rfind(" ", start + 1, start + _LONGEST_SENTENCE)
        cut = blank if blank > start else start + _LONGEST_SENTENCE
        yield start, cut
        start = cut
    if end > start:
        yield start, end


def _abbreviated(rule: LabelRule, text: str, at: int) -> bool:
    return text[at] == "." and rule.abbreviations.search(text, max(0, at - 8), at) is not None


def _wraps(rule: LabelRule, text: str, at: int, start: int, end: int) -> bool:
    """Whether the line break at this offset stands inside a sentence."""
    line_start = text.rfind("\n", start, at) + 1 or start
    line = text[line_start:at].rstrip()
    following = text[at + 1 : min(end, at + 80)].lstrip(" \t\r")
    if not line.strip() or not following or following[0] == "\n" or line[-1] in ".!?:;":
        return False
    if _BULLET.match(following):
        return False
    if line[-1] == "," or following[0].islower() or following[0] in "(,":
        return True
    return len(line) >= _LINE_THAT_WRAPPED or rule.continuations.search(line) is not None


def _read_sentence(rule: LabelRule, text: str, start: int, end: int) -> Iterator[tuple[_Mention, Effect, str]]:
    """Every mention of a sentence with what became of it and the words that decided."""
    mentions = _mentions(rule, text, start, end)
    if not mentions:
        return
    modifiers = _modifiers(rule, text, start, end, mentions)
    for mention in mentions:
        decisive = _behind(rule, text, mention, modifiers) or _before(rule, text, mention, modifiers)
        if mention.target.affirmed is Effect.IGNORED:
            denied = decisive is not None and decisive.rule.state is Effect.ABSENT
            effect = Effect.ABSENT if denied else Effect.IGNORED
        else:
            effect = mention.target.affirmed if decisive is None else decisive.rule.state
        trigger = "" if decisive is None else " ".join(text[decisive.start : decisive.end].split())
        yield mention, effect, trigger.strip(": ")


def _mentions(rule: LabelRule, text: str, start: int, end: int) -> list[_Mention]:
    found = [
        _Mention(match.start(), match.end(), target)
        for target, pattern in rule.targets
        for match in pattern.finditer(text, start, end)
    ]
    if not found:
        return []
    excluded = [match.span() for match in rule.exclusions.finditer(text, start, end)]
    kept: list[_Mention] = []
    for one in sorted(found, key=lambda mention: (mention.start - mention.end, mention.start)):
        taken = [(other.start, other.end) for other in kept]
        if not any(one.start < until and since < one.end for since, until in (*excluded, *taken)):
            kept.append(one)
    return sorted(kept, key=lambda mention: mention.start)


def _modifiers(rule: LabelRule, text: str, start: int, end: int, mentions: Sequence[_Mention]) -> list[_Modifier]:
    """The modifiers of a sentence: of overlapping ones the longest, and none inside a mention."""
    found = [
        _Modifier(match.start(), match.end(), modifier)
        for modifier, pattern in rule.modifiers
        for match in pattern.finditer(text, start, end)
    ]
    kept: list[_Modifier] = []
    for one in sorted(found, key=lambda modifier: (modifier.start - modifier.end, modifier.start)):
        hidden = any(
            one.start < other.end
            and other.start < one.end
            and (other.rule.direction is one.rule.direction or other.end - other.start > one.end - one.start)
            for other in kept
        )
        inside = any(one.start < mention.end and mention.start < one.end for mention in mentions)
        if not hidden and not inside:
            kept.append(one)
    return kept


def _before(rule: LabelRule, text: str, mention: _Mention, modifiers: Sequence[_Modifier]) -> _Modifier | None:
    """The nearest forward modifier that reaches the mention."""
    reaching = (
        one
        for one in modifiers
        if one.rule.direction is Direction.FORWARD
        and one.rule.state is not Effect.NONE
        and one.end <= mention.start
        and len(text[one.end : mention.start].split()) <= one.rule.reach_words
        and not _terminated(rule.terminators, text, one.end, mention.start, modifiers)
    )
    return max(reaching, key=lambda one: one.end, default=None)


def _behind(rule: LabelRule, text: str, mention: _Mention, modifiers: Sequence[_Modifier]) -> _Modifier | None:
    """The nearest backward modifier that reaches the mention; past a comma only at an enumeration's end."""
    reaching = (
        one
        for one in modifiers
        if one.rule.direction is Direction.BACKWARD
        and one.rule.state is not Effect.NONE
        and one.start >= mention.end
        and len(text[mention.end : one.start].split()) <= one.rule.reach_words
        and not _terminated(rule.backward_terminators, text, mention.end, one.start, modifiers)
        and _is_enumeration(text[mention.end : one.start])
    )
    return min(reaching, key=lambda one: one.start, default=None)


def _terminated(terminators: re.Pattern[str], text: str, start: int, end: int, modifiers: Sequence[_Modifier]) -> bool:
    """Whether a terminator stands in a gap; words that belong to a modifier terminate nothing."""
    return any(
        not any(one.start < found.end() and found.start() < one.end for one in modifiers)
        for found in terminators.finditer(text, start, end)
    )


def _is_enumeration(gap: str) -> bool:
    comma = gap.rfind(",")
    return comma < 0 or not gap[comma + 1 :].strip() or _AND_OR.search(gap, comma) is not None
