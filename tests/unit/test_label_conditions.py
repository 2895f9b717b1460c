"""Every condition's rule on sentences written by hand (tests/corpora/label_sentences): affirmed, denied, in doubt."""

from __future__ import annotations

from pathlib import Path

import pytest

from shadow.reference_standard.label import LabelState, read_label
from shadow.reference_standard.label_rule import known_rules, load_rule

CORPUS = Path(__file__).parents[1] / "corpora" / "label_sentences"
STATES = {
    "+": LabelState.PRESENT,
    "-": LabelState.ABSENT,
    "?": LabelState.INDETERMINATE,
    "0": LabelState.NOT_MENTIONED,
}
RULES = {identifier.partition("/")[0]: identifier for identifier in known_rules()}
CHEST = (
    "cardiomegaly",
    "consolidation",
    "fracture",
    "pleural-effusion",
    "pneumothorax",
    "pulmonary-nodule",
    "pulmonary-oedema",
)


def lines(name: str) -> list[str]:
    return (CORPUS / name).read_text(encoding="utf-8").splitlines()


def sentences(rule: str) -> list[tuple[str, LabelState]]:
    return [(one[2:].replace(" | ", "\n"), STATES[one[0]]) for one in lines(f"{rule.replace('-', '_')}.txt")]


CASES = [(rule, sentence, state) for rule in RULES for sentence, state in sentences(rule)]
REPORTS = [
    (rule, rule in found.split(), text.strip().replace(" | ", "\n"))
    for found, _, text in (one.partition(":") for one in lines("chest_reports.txt"))
    for rule in CHEST
]


@pytest.mark.parametrize("rule", sorted({rule for rule, _, _ in CASES}))
def test_every_sentence_is_read_as_a_radiologist_would(rule: str) -> None:
    reader = load_rule(RULES[rule])
    read = [(sentence, state, read_label(reader, sentence).state) for one, sentence, state in CASES if one == rule]
    assert read
    assert [one for one in read if one[1] is not one[2]] == []


@pytest.mark.parametrize("rule", sorted({rule for rule, _, _ in REPORTS}))
def test_every_chest_report_has_the_findings_that_it_names_and_no_other(rule: str) -> None:
    reader = load_rule(RULES[rule])
    read = [
        (report, found, read_label(reader, report).state is LabelState.PRESENT)
        for one, found, report in REPORTS
        if one == rule
    ]
    assert read
    assert [one for one in read if one[1] is not one[2]] == []


@pytest.mark.parametrize("rule", [*CHEST, "intracranial-haemorrhage", "pulmonary-embolism", "large-vessel-occlusion"])
def test_a_rule_that_trials_are_made_of_has_forty_sentences_of_all_kinds(rule: str) -> None:
    states = [state for _, state in sentences(rule)]
    assert len(states) >= 40
    assert min(states.count(state) for state in LabelState) >= 3


def test_a_healed_fracture_is_a_fracture_and_no_acute_one() -> None:
    report = "FINDINGS: Healed left rib fractures.\nIMPRESSION: No acute fracture."
    assert read_label(load_rule(RULES["fracture"]), report).state is LabelState.PRESENT
    assert read_label(load_rule(RULES["acute-fracture"]), report).state is LabelState.ABSENT
