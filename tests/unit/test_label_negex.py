"""Negation on the NegEx kit (tests/corpora/negex): a floor for the shared language, which is not tuned on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import shadow.reference_standard.label_rule as label_rule
from shadow.reference_standard.label import LabelState, read_label
from shadow.reference_standard.label_rule import Effect, TargetOfRule, load_rule

KIT = Path(__file__).parents[1] / "corpora" / "negex" / "Annotations-1-120.txt"


def kit() -> Iterator[tuple[str, str, bool]]:
    for line in KIT.read_text(encoding="latin-1").splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) >= 4:
            yield re.sub(r"\s+", " ", fields[1].strip()), fields[2].strip().strip('"'), fields[3].strip() == "Negated"


def test_negation_reaches_the_goal_with_each_condition_of_the_kit_as_the_target() -> None:
    language = replace(load_rule("pneumothorax/2"), exclusions=re.compile(r"(?!)"))
    counts = {(said, read): 0 for said in (True, False) for read in (True, False)}
    for condition, sentence, negated in kit():
        target = TargetOfRule(Effect.PRESENT, False, (re.escape(condition).replace(r"\ ", " "),))
        rule = replace(language, targets=((target, label_rule._phrases(target.patterns)),))
        counts[negated, read_label(rule, sentence).state is LabelState.ABSENT] += 1
    assert sum(counts.values()) == 2_376
    precision = counts[True, True] / (counts[True, True] + counts[False, True])
    recall = counts[True, True] / (counts[True, True] + counts[True, False])
    assert 2 * precision * recall / (precision + recall) >= 0.95
    assert min(precision, recall) >= 0.93
