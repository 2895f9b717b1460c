"""The label rule on sentences and reports written by hand, in both spellings."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shadow.reference_standard.label_rule as label_rule
from shadow.domain.errors import ConfigurationError
from shadow.protocol.reader import read_toml
from shadow.reference_standard.label import LabelState, read_label
from shadow.reference_standard.label_rule import (
    Direction,
    Effect,
    LabelRule,
    ModifierOfRule,
    RuleFile,
    compile_rule,
    load_rule,
)

RULE_FILE = Path(label_rule.__file__).parent / "rules" / "conditions" / "intracranial_haemorrhage.toml"
RULE = load_rule("intracranial-haemorrhage/3")
PINNED = {
    "acute-fracture/1": "7044ee5706d466f9",
    "breast-assessment/2": "11e3317a31e9eff2",
    "cardiomegaly/2": "ea32b9f2a189a708",
    "consolidation/2": "47b588270bded26f",
    "epidural-haemorrhage/2": "59535f9a1caacc25",
    "fracture/2": "a94839dadef840a6",
    "intracranial-haemorrhage/3": "9e05f73287392af1",
    "intraparenchymal-haemorrhage/2": "d5fc081249c080af",
    "intraventricular-haemorrhage/2": "6221a7687ebb9a34",
    "large-vessel-occlusion/2": "c16dee71706f074a",
    "pleural-effusion/2": "cd1c08f7be75d222",
    "pneumothorax/2": "2af875639ad5f168",
    "pulmonary-embolism/2": "fc981c53d902e6fb",
    "pulmonary-nodule/2": "b22e82267e5f2fa1",
    "pulmonary-oedema/1": "57585d6274a7cd0d",
    "subarachnoid-haemorrhage/2": "e8753026b32db477",
    "subdural-haemorrhage/2": "4103c2d7c54bebe8",
}
PRESENT, ABSENT, INDETERMINATE, NOT_MENTIONED = (
    LabelState.PRESENT,
    LabelState.ABSENT,
    LabelState.INDETERMINATE,
    LabelState.NOT_MENTIONED,
)

SENTENCES = [
    # affirmed, both spellings, many words for one thing
    ("There is an acute left subdural haematoma measuring 8 mm.", PRESENT),
    ("There is an acute left subdural hematoma measuring 8 mm.", PRESENT),
    ("Hyperdense blood in the sylvian fissures, consistent with subarachnoid hemorrhage.", PRESENT),
    ("Right basal ganglia haemorrhage with surrounding oedema.", PRESENT),
    ("Intraparenchymal bleed in the left frontal lobe.", PRESENT),
    ("Small volume SAH over the right convexity.", PRESENT),
    ("Blood products layering in the occipital horns of the lateral ventricles.", PRESENT),
    ("Haemorrhagic transformation of the left MCA infarct.", PRESENT),
    ("Lentiform extradural haematoma beneath a temporal fracture.", PRESENT),
    ("Stable subdural hematoma, unchanged from prior.", PRESENT),
    ("No significant change in the right subdural haematoma.", PRESENT),
    ("The subdural haematoma has not changed.", PRESENT),
    ("Without change in the intraventricular hemorrhage.", PRESENT),
    ("Partial resolution of the subarachnoid haemorrhage.", PRESENT),
    ("Resolving parenchymal haematoma.", PRESENT),
    ("Acute on chronic subdural haematoma.", PRESENT),
    ("Acute-on-chronic left SDH.", PRESENT),
    ("Subacute subdural hematoma over the left convexity.", PRESENT),
    ("Known subdural haematoma is again seen.", PRESENT),
    ("Previously noted haemorrhage is unchanged.", PRESENT),
    ("No midline shift, but a thin subdural haematoma is present.", PRESENT),
    ("There is no infarct; small subarachnoid haemorrhage is present.", PRESENT),
    ("Subdural haematoma without midline shift.", PRESENT),
    ("Intracranial haemorrhage is present and skull fracture is not seen.", PRESENT),
    ("Subarachnoid haemorrhage, likely due to trauma.", PRESENT),
    ("SAH in the sylvian fissure, hydrocephalus is not seen.", PRESENT),
    ("Cerebellar haemorrhage with effacement of the fourth ventricle is not excluded from surgery.", PRESENT),
    # denied
    ("No acute intracranial haemorrhage.", ABSENT),
    ("No acute intracranial hemorrhage.", ABSENT),
    ("No evidence of acute infarct, mass, midline shift, hydrocephalus or intracranial hemorrhage.", ABSENT),
    ("There is no haemorrhage, mass or extra-axial collection.", ABSENT),
    ("Negative for intracranial bleed.", ABSENT),
    ("Intracranial haemorrhage is not seen.", ABSENT),
    ("Haemorrhage, mass or midline shift is not identified.", ABSENT),
    ("Neither haemorrhage nor infarct.", ABSENT),
    ("The previously described subdural haematoma has resolved.", ABSENT),
    ("Interval resolution of the subarachnoid haemorrhage.", ABSENT),
    ("The haematoma is no longer visible.", ABSENT),
    ("Haemorrhage has been excluded.", ABSENT),
    ("Intracranial haemorrhage: none.", ABSENT),
    ("Hemorrhage: Absent", ABSENT),
    ("Haemorrhage: no.", ABSENT),
    ("BRAIN: No haemorrhage or infarct.", ABSENT),
    ("Brain parenchyma: no intracranial hemorrhage can be identified", ABSENT),
    ("Nothing to suggest subarachnoid haemorrhage.", ABSENT),
    ("No findings suspicious for haemorrhage.", ABSENT),
    ("Haemorrhage is unlikely.", ABSENT),
    ("Calcification of the falx, not to be confused with haemorrhage.", ABSENT),
    ("No acute intracranial abnormality.", ABSENT),
    ("No acute intracranial pathology identified.", ABSENT),
    ("Chronic left subdural haematoma, low density.", ABSENT),
    ("Chronic bilateral subdural collections.", ABSENT),
    ("Hypodense subdural collection in keeping with hygroma.", ABSENT),
    ("Old left thalamic hemorrhage with cavitation.", ABSENT),
    ("Suspected SAH is not confirmed.", ABSENT),
    ("NO EVIDENCE OF ACUTE\nINTRACRANIAL HEMORRHAGE", ABSENT),
    # in doubt
    ("Subarachnoid haemorrhage cannot be excluded.", INDETERMINATE),
    ("Subtle SAH can not be entirely excluded.", INDETERMINATE),
    ("Possible small subdural hematoma along the falx.", INDETERMINATE),
    ("Hyperdensity which may represent calcification or a small haemorrhage.", INDETERMINATE),
    ("Findings suspicious for subarachnoid haemorrhage.", INDETERMINATE),
    ("Equivocal hyperdensity, ?SAH.", INDETERMINATE),
    ("Equivocal hyperdensity, ? SAH.", INDETERMINATE),
    ("Calcification versus haemorrhage.", INDETERMINATE),
    ("A small haemorrhage is possible.", INDETERMINATE),
    ("Unable to exclude a thin extradural haematoma.", INDETERMINATE),
    ("Petechial haemorrhage is not excluded.", INDETERMINATE),
    ("No mass effect, and haemorrhage is possible.", INDETERMINATE),
    ("No subdural haematoma. Possible subarachnoid haemorrhage.", INDETERMINATE),
    ("No mass or infarct, possibly a trace of haemorrhage.", INDETERMINATE),
    # the nearest word decides
    ("Possible old infarct, no haemorrhage.", ABSENT),
    ("No infarct, possible haemorrhage.", INDETERMINATE),
    # not about bleeding in the head today
    ("Large left scalp haematoma.", NOT_MENTIONED),
    ("Subgaleal hematoma over the vertex.", NOT_MENTIONED),
    ("Periorbital soft tissue haematoma.", NOT_MENTIONED),
    ("Haematoma overlying the right parietal scalp.", NOT_MENTIONED),
    ("History of subdural haematoma.", NOT_MENTIONED),
    ("Status post evacuation of subdural haematoma.", NOT_MENTIONED),
    ("Repeat imaging if haemorrhage is suspected clinically.", NOT_MENTIONED),
    ("Increased risk of bleeding.", NOT_MENTIONED),
    ("Scattered microhaemorrhages.", NOT_MENTIONED),
    ("Nonhaemorrhagic infarct of the left MCA territory.", NOT_MENTIONED),
    ("Non-hemorrhagic contusion.", NOT_MENTIONED),
    ("Blood vessels are patent.", NOT_MENTIONED),
    ("No new haemorrhage.", NOT_MENTIONED),
    ("Acute intracranial abnormality as described above.", NOT_MENTIONED),
    ("Normal ventricles and sulci.", NOT_MENTIONED),
    ("", NOT_MENTIONED),
]


@pytest.mark.parametrize(("sentence", "state"), SENTENCES)
def test_a_sentence_is_read_as_a_radiologist_means_it(sentence: str, state: LabelState) -> None:
    assert read_label(RULE, sentence).state is state


@pytest.mark.parametrize(("sentence", "state"), SENTENCES)
def test_a_sentence_means_the_same_in_capitals_in_the_impression(sentence: str, state: LabelState) -> None:
    report = f"FINDINGS:\nVentricles are normal.\n\nIMPRESSION:\n1. {sentence.upper()}"
    assert read_label(RULE, report).state is state


@pytest.mark.parametrize(("sentence", "state"), SENTENCES)
def test_the_history_is_no_evidence_whatever_it_says(sentence: str, state: LabelState) -> None:
    report = f"CLINICAL HISTORY: {sentence}\n\nFINDINGS:\nVentricles are normal."
    assert read_label(RULE, report).state is NOT_MENTIONED


REPORTS = [
    (
        "the history trap",
        (
            "INDICATION: History of subdural haematoma, now headache.\nCOMPARISON: CT with SAH.\n"
            "TECHNIQUE: Without contrast.\nFINDINGS: Ventricles normal.\nIMPRESSION: No acute intracranial abnormality."
        ),
        ABSENT,
    ),
    (
        "headings in capitals behind text without a full stop",
        "INDICATION: fall, SDH on CT FINDINGS: No haemorrhage IMPRESSION: No intracranial haemorrhage",
        ABSENT,
    ),
    (
        "a word in the text that could be a heading",
        "HISTORY: Evacuated SDH, see impression: of last week.",
        NOT_MENTIONED,
    ),
    (
        "headings within one line",
        "HISTORY: fall, ?SDH. FINDINGS: Left subdural haematoma of 6 mm. IMPRESSION: Acute SDH.",
        PRESENT,
    ),
    (
        "a doubt that the impression answers",
        "FINDINGS:\nPossible subarachnoid hemorrhage, likely artifact.\n\nIMPRESSION:\nNo intracranial hemorrhage.",
        ABSENT,
    ),
    (
        "a doubt that the impression does not answer",
        "FINDINGS:\nPossible subarachnoid hemorrhage.\n\nIMPRESSION:\nNo subdural hematoma.",
        INDETERMINATE,
    ),
    (
        "a denial of one kind beside another kind",
        "FINDINGS:\nThin left SDH.\nIMPRESSION:\n1. Left convexity collection, unchanged.\n2. No SAH.",
        PRESENT,
    ),
    (
        "findings and impression contradict each other",
        "FINDINGS:\nAcute subdural haematoma.\nIMPRESSION:\nNo intracranial haemorrhage.",
        INDETERMINATE,
    ),
    (
        "an addendum that corrects to present",
        "IMPRESSION:\nNo intracranial hemorrhage.\n\nADDENDUM:\nOn review there is a small subdural hematoma.",
        PRESENT,
    ),
    (
        "an addendum that takes the finding back",
        "IMPRESSION:\nSmall SAH.\n\nADDENDUM by reader 2:\nOn review artefact; no intracranial haemorrhage.",
        INDETERMINATE,
    ),
    (
        "an addendum about something else",
        "IMPRESSION:\nSmall SAH.\n\nADDENDUM: No new haemorrhage. Discussed by telephone.",
        PRESENT,
    ),
    (
        "lines without full stops",
        "FINDINGS\nNo midline shift\nSubdural haematoma on the left\nNo fracture",
        PRESENT,
    ),
    (
        "a sentence that wraps",
        (
            "FINDINGS:\nThere is no evidence of acute territorial infarction, mass effect or\n"
            "Intracranial haemorrhage. Ventricles normal."
        ),
        ABSENT,
    ),
    (
        "words after the recommendation's heading",
        "IMPRESSION: Normal.\nRECOMMENDATION: Repeat CT to look for subdural haematoma.",
        NOT_MENTIONED,
    ),
]


@pytest.mark.parametrize(("case", "report", "state"), REPORTS, ids=[case for case, _, _ in REPORTS])
def test_a_report_is_read_by_its_sections(case: str, report: str, state: LabelState) -> None:
    assert read_label(RULE, report).state is state


def test_spans_point_into_the_text_as_it_came() -> None:
    text = "HISTORY: SAH.\r\nFINDINGS:  Größe normal. Small\n left  subdural\nhaematoma. SAH cannot be\nexcluded."
    label = read_label(RULE, text)
    assert [(text[one.start : one.end], one.section, one.state, one.trigger) for one in label.spans] == [
        ("subdural\nhaematoma", "FINDINGS", "present", ""),
        ("SAH", "FINDINGS", "indeterminate", "cannot be excluded"),
    ]


def test_a_span_names_the_section_and_the_words_that_decided() -> None:
    label = read_label(RULE, "FINDINGS: x\nADDENDUM: No evidence of haemorrhage.")
    (span,) = label.spans
    assert (span.section, span.state, span.trigger) == ("ADDENDUM", "absent", "No")


def test_a_name_in_the_text_never_becomes_part_of_a_label() -> None:
    text = "FINDINGS: No Zebedee evidence of Zebedee haemorrhage, Zebedee cannot be excluded. ZEBEDEE: SAH Zebedee."
    assert "zebedee" not in repr(read_label(RULE, text)).lower()


VOCABULARY = st.sampled_from(
    "no not haemorrhage hematoma SAH subdural chronic possible cannot be excluded , . ; : ? \n \r\n FINDINGS: "
    "IMPRESSION: HISTORY: ADDENDUM and or is seen with 8 mm - history of resolved acute on versus évident".split(" ")
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=400), st.lists(VOCABULARY, max_size=60).map(" ".join)))
def test_no_text_breaks_the_reader_and_every_span_lies_in_it(text: str) -> None:
    label = read_label(RULE, text)
    assert all(0 <= one.start < one.end <= len(text) for one in label.spans)
    assert (label.state is NOT_MENTIONED) == (not label.spans)
    assert all(one.state in ("present", "absent", "indeterminate") for one in label.spans)
    assert list(label.spans) == sorted(label.spans, key=lambda one: one.start)


@pytest.mark.parametrize("unit", ["no ", "haemorrhage ", "a", "?", "\n", ": ", "no haemorrhage, ", "FINDINGS: "])
def test_reading_time_grows_with_the_text_not_with_its_square(unit: str) -> None:
    def seconds(characters: int) -> float:
        text = (unit * characters)[:characters]
        start = time.process_time()
        read_label(RULE, text)
        return time.process_time() - start

    assert seconds(20_000) < 5.0


def test_an_unknown_rule_names_those_that_exist() -> None:
    with pytest.raises(ConfigurationError, match="intracranial-haemorrhage/3"):
        load_rule("intracranial-haemorrhage/0")


def test_a_modifier_that_could_match_a_name_is_refused() -> None:
    for pattern in (r"no \w+ evidence", "no .* evidence", "no [^ ]+ evidence", r"no \S+"):
        with pytest.raises(ValueError, match="list the words"):
            ModifierOfRule(Effect.ABSENT, Direction.FORWARD, 5, (pattern,))


def test_every_modifier_of_the_shipped_rule_matches_a_list_of_words_only() -> None:
    file = read_toml(RULE_FILE, RuleFile)
    assert isinstance(compile_rule(file), LabelRule)
    assert sum(len(modifier.patterns) for modifier, _ in RULE.modifiers) > 80


def test_a_rule_of_an_unknown_language_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="english-radiology/2"):
        compile_rule(replace(read_toml(RULE_FILE, RuleFile), language="latin/1"))


def test_a_rule_keeps_its_words_as_long_as_it_keeps_its_version() -> None:
    """The digest of a rule's file and of its language's; another wording is another version: raise it, pin it here."""
    rules = Path(label_rule.__file__).parent / "rules"
    language = (rules / "languages" / "english_radiology.toml").read_bytes()
    found = {
        read_toml(path, RuleFile).identifier: hashlib.sha256(path.read_bytes() + language).hexdigest()[:16]
        for path in sorted((rules / "conditions").glob("*.toml"))
    }
    assert found == PINNED
