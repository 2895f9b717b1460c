"""Coded findings: what the radiologist stated as a code decides the label, and the text's reading is kept beside it."""

from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import pytest
from test_report_reception import Bench, bench  # noqa: F401 (bench is a fixture)

from shadow.domain.hl7 import parse_message
from shadow.reference_standard.coded_finding import CodedFinding, coded_finding
from shadow.reference_standard.fhir import fhir_resources
from shadow.reference_standard.label import Label, LabelState, read_label
from shadow.reference_standard.label_rule import CodesOfRule, Effect, known_rules, load_rule
from shadow.reference_standard.report import ParsedReport, parse_reports
from shadow.store.events import Kind

PRESENT, ABSENT, INDETERMINATE = LabelState.PRESENT, LabelState.ABSENT, LabelState.INDETERMINATE
NO_BLEED = "IMPRESSION: No intracranial haemorrhage."
BLEED = "IMPRESSION: Acute subdural haematoma."
MSH = "MSH|^~\\&|RIS|RIVERSIDE|||20260824120000-0400||ORU^R01^ORU_R01|C1|P|2.5.1"


def rule_of(name: str) -> str:
    return next(one for one in known_rules() if one.partition("/")[0] == name)


def obx(value: str, kind: str = "CWE", asked: str = "F^FINDING^L", interpretation: str = "", status: str = "F") -> str:
    return f"OBX|2|{kind}|{asked}||{value}|||{interpretation}|||{status}"


def parsed(text: str, *observations: str) -> ParsedReport:
    order = [""] * 26
    order[0], order[18], order[25] = "OBR", "R00001234", "F"
    segments = [MSH, "|".join(order), f"OBX|1|TX|T||{text}||||||F", *observations]
    (one,) = parse_reports(parse_message("\r".join(segments).encode(), "utf-8"), ZoneInfo("UTC"))
    assert isinstance(one, ParsedReport)
    return one


def label(text: str, *observations: str, rule: str = "intracranial-haemorrhage") -> Label:
    report = parsed(text, *observations)
    return read_label(load_rule(rule_of(rule)), report.text, report.codes)


@pytest.mark.parametrize(
    "observation",
    [
        obx("1386000^Intracranial hemorrhage^SCT"),
        obx("1386000^Intracranial hemorrhage^SCT", kind="CE", status="C"),
        obx("1386000^Intracranial hemorrhage^SCT", status=""),
        obx("X1^bleed^L^I60.9^Subarachnoid haemorrhage^I10C"),
        obx("I609^^I10"),
        obx("J90^^I10~I61.0^^I10"),
        obx("52101004^Present^SCT", asked="1386000^Intracranial hemorrhage^SCT"),
        obx("Y^Yes^HL70136", asked="1386000^^SCT"),
    ],
)
def test_a_code_in_a_final_line_beats_a_text_that_says_otherwise(observation: str) -> None:
    found = label(NO_BLEED, observation)
    assert (found.state, found.text_state, found.code_state, found.source) == (PRESENT, ABSENT, PRESENT, "code")


@pytest.mark.parametrize(
    "observation",
    [
        obx("1386000^^SCT", status="P"),
        obx("1386000^^SCT", status="D"),
        obx("1386000^^SCT", status="W"),
        obx("1386000^^SCT", kind="ST"),
        obx("1386000^^SCT", interpretation="NEG"),
        obx("1386000^^L"),
        obx("1386000"),
        obx("I62.03^Chronic subdural^I10C"),
        obx("36118008^Pneumothorax^SCT"),
        obx("2667000^Absent^SCT", asked="21454007^Subarachnoid haemorrhage^SCT"),
        obx("1386000^^SCT", asked="18785-6^Reason for study^LN"),
        obx("1386000^^SCT", asked="HX^Clinical history^L"),
        obx("260415000^Not detected^SCT", asked="1386000^^SCT"),
        obx("52101004^Present^SCT~2667000^Absent^SCT", asked="1386000^^SCT"),
    ],
)
def test_a_code_that_is_open_withdrawn_not_listed_or_denies_one_kind_leaves_the_text_alone(observation: str) -> None:
    found = label(NO_BLEED, observation)
    assert (found.state, found.code_state, found.source) == (ABSENT, None, "text")


def test_a_denied_code_of_the_whole_condition_beats_a_text_that_affirms() -> None:
    found = label(BLEED, obx("2667000^Absent^SCT", asked="1386000^^SCT"))
    assert (found.state, found.text_state) == (ABSENT, PRESENT)


def test_codes_that_contradict_each_other_are_no_answer() -> None:
    found = label(BLEED, obx("N^^HL70136", asked="1386000^^SCT"), obx("I61.0^^I10"))
    assert (found.state, found.text_state) == (INDETERMINATE, PRESENT)


@pytest.mark.parametrize(("code", "state"), [("4B", PRESENT), ("6", PRESENT), ("0", INDETERMINATE), ("2", ABSENT)])
def test_a_bi_rads_category_may_come_as_a_code(code: str, state: LabelState) -> None:
    assert label("Mammogram.", obx(f"{code}^^BIRADS"), rule="breast-assessment").state is state


def test_of_two_breasts_the_suspicious_one_counts() -> None:
    assert label("Mammogram.", obx("1^^BIRADS"), obx("4^^BIRADS"), rule="breast-assessment").state is PRESENT


@pytest.mark.parametrize(
    ("rule", "system", "code"),
    [
        ("pneumothorax", "http://snomed.info/sct", "36118008"),
        ("pneumothorax", "I10C", "J93.11"),
        ("pulmonary-embolism", "urn:oid:2.16.840.1.113883.6.96", "59282003"),
        ("pulmonary-embolism", "http://hl7.org/fhir/sid/icd-10-cm", "I26.99"),
        ("pleural-effusion", "SCT", "60046008"),
        ("pleural-effusion", "ICD-10", "J90"),
        ("subdural-haemorrhage", "I10C", "S06.5X0A"),
    ],
)
def test_a_condition_is_known_by_its_codes(rule: str, system: str, code: str) -> None:
    finding = coded_finding(system, code)
    assert finding is not None
    assert read_label(load_rule(rule_of(rule)), "", [finding]).state is PRESENT


@pytest.mark.parametrize(("rule", "code"), [("pneumothorax", "J93.82"), ("pulmonary-embolism", "I26.90")])
def test_a_neighbouring_code_that_means_something_else_is_not_listed(rule: str, code: str) -> None:
    finding = coded_finding("I10C", code)
    assert finding is not None
    assert read_label(load_rule(rule_of(rule)), "", [finding]).code_state is None


def test_a_diagnostic_report_states_codes_as_conclusion_or_in_contained_observations() -> None:
    sct = "http://snomed.info/sct"

    def concept(code: str, system: str = sct) -> str:
        return f'{{"coding": [{{"system": "{system}", "code": "{code}"}}]}}'

    document = f"""{{"resourceType": "DiagnosticReport", "status": "final", "conclusion": "Normal.",
        "identifier": [{{"type": {{"coding": [{{"code": "ACSN"}}]}}, "value": "R1"}}],
        "conclusionCode": [{concept("1386000")}, {concept("zebedee", "urn:local")}],
        "contained": [
          {{"resourceType": "Observation", "status": "final", "code": {concept("36118008")},
            "valueCodeableConcept": {concept("2667000")}}},
          {{"resourceType": "Observation", "status": "preliminary", "code": {concept("1")},
            "valueCodeableConcept": {concept("60046008")}}}]}}"""
    ((_, (one,)),) = fhir_resources(document.encode())
    assert isinstance(one, ParsedReport)
    assert one.codes == (CodedFinding("SNOMED CT", "1386000"), CodedFinding("SNOMED CT", "36118008", True))


def test_a_rule_file_with_an_unknown_system_or_state_is_refused() -> None:
    with pytest.raises(ValueError, match="system must be one of"):
        CodesOfRule("SNOMED", ("1",), Effect.PRESENT)
    with pytest.raises(ValueError, match="state must be"):
        CodesOfRule("ICD-10", ("1",), Effect.IGNORED)


def coded_only(*observations: str) -> bytes:
    order = [""] * 26
    order[0], order[18], order[25] = "OBR", "R00001234", "F"
    return "\r".join([MSH, "|".join(order), *observations, ""]).encode()


def test_a_report_of_codes_alone_is_one_where_the_rule_knows_a_code_and_no_text_otherwise(bench: Bench) -> None:  # noqa: F811
    bench.arrive(
        coded_only(obx("1386000^^SCT")), coded_only(obx("36118008^^SCT")), coded_only(obx("1386000^^SCT", status="P"))
    )
    bench.drain()
    labels = [(one["state"], one["source"]) for one in bench.bodies(Kind.LABEL)]
    assert labels == [("present", "code")]
    assert [one["final"] for one in bench.bodies(Kind.REPORT_VERSION)] == [True]
    assert [one["detail"] for one in bench.bodies(Kind.AUDIT)] == ["no_text", "no_text"]


def test_observations_that_a_report_refers_to_in_its_bundle_are_its_codes() -> None:
    observation = {
        "resourceType": "Observation", "id": "o1", "status": "final", "code": {"text": "Finding"},
        "valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "1386000"}]},
    }  # fmt: skip
    system = "http://terminology.hl7.org/CodeSystem/v2-0203"
    report = {
        "resourceType": "DiagnosticReport", "status": "final", "result": [{"reference": "Observation/o1"}],
        "identifier": [{"type": {"coding": [{"system": system, "code": "ACSN"}]}, "value": "R1"}],
    }  # fmt: skip
    entries = [{"resource": report}, {"resource": observation}]
    ((_, (found,)),) = fhir_resources(json.dumps({"resourceType": "Bundle", "entry": entries}).encode())
    assert isinstance(found, ParsedReport)
    assert found.codes == (CodedFinding("SNOMED CT", "1386000"),)
