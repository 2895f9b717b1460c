"""Every condition's rule on sentences written by hand: affirmed, denied, in doubt, and what only looks like it."""

from __future__ import annotations

import pytest

from shadow.reference_standard.label import LabelState, read_label
from shadow.reference_standard.label_rule import known_rules, load_rule

PRESENT, ABSENT, DOUBT, NOTHING = (
    LabelState.PRESENT,
    LabelState.ABSENT,
    LabelState.INDETERMINATE,
    LabelState.NOT_MENTIONED,
)

SENTENCES: dict[str, list[tuple[str, LabelState]]] = {
    "pulmonary-embolism/1": [
        ("Acute pulmonary embolism in the right lower lobe segmental arteries.", PRESENT),
        ("Filling defects within the segmental branches of the left lower lobe.", PRESENT),
        ("Saddle embolus with right heart strain.", PRESENT),
        ("No pulmonary embolus identified.", ABSENT),
        ("No filling defect to suggest pulmonary embolism.", ABSENT),
        ("Negative for PE.", ABSENT),
        ("Subsegmental pulmonary embolism cannot be excluded.", DOUBT),
        ("Possible subsegmental embolus in the lingula.", DOUBT),
        ("Technique: CT angiography, pulmonary embolism protocol.", NOTHING),
        ("Indication: shortness of breath, rule out PE.\nFindings: Clear lungs.", NOTHING),
    ],
    "pneumothorax/1": [
        ("Small right apical pneumothorax.", PRESENT),
        ("Moderate left hydropneumothorax, unchanged.", PRESENT),
        ("No pneumothorax or pleural effusion.", ABSENT),
        ("No focal consolidation, effusion, or pneumothorax is seen.", ABSENT),
        ("The previously seen pneumothorax has resolved.", ABSENT),
        ("Possible tiny apical pneumothorax versus skin fold.", DOUBT),
        ("The lungs are clear.", NOTHING),
    ],
    "pleural-effusion/1": [
        ("Moderate bilateral pleural effusions.", PRESENT),
        ("Small left effusion with adjacent atelectasis.", PRESENT),
        ("No pleural effusion.", ABSENT),
        ("The costophrenic angles are clear.", ABSENT),
        ("Blunting of the left costophrenic angle.", DOUBT),
        ("Probable small right pleural effusion.", DOUBT),
        ("Trace pericardial effusion.", NOTHING),
    ],
    "consolidation/1": [
        ("Left lower lobe consolidation.", PRESENT),
        ("Multifocal airspace opacities.", PRESENT),
        ("No focal consolidation.", ABSENT),
        ("No acute cardiopulmonary abnormality.", ABSENT),
        ("There may be early consolidation at the right base.", DOUBT),
        ("Patchy opacity in the left base.", DOUBT),
        ("Degenerative changes of the spine.", NOTHING),
    ],
    "cardiomegaly/1": [
        ("Stable cardiomegaly.", PRESENT),
        ("The heart is mildly enlarged.", PRESENT),
        ("Enlarged cardiac silhouette.", PRESENT),
        ("The cardiac silhouette is within normal limits.", ABSENT),
        ("Heart size is normal.", ABSENT),
        ("Normal heart size and mediastinal contours.", ABSENT),
        ("No cardiomegaly.", ABSENT),
        ("The heart is not enlarged.", ABSENT),
        ("Borderline cardiomegaly.", DOUBT),
        ("Heart size at the upper limits of normal.", DOUBT),
        ("Clear lungs.", NOTHING),
    ],
    "pulmonary-nodule/1": [
        ("6 mm nodule in the right upper lobe.", PRESENT),
        ("Spiculated mass-like nodular opacity at the left apex.", PRESENT),
        ("No pulmonary nodules or masses.", ABSENT),
        ("Nodular density, possibly a nipple shadow.", PRESENT),
        ("Suspected pulmonary nodule at the right base.", DOUBT),
        ("Left thyroid nodule.", NOTHING),
    ],
    "fracture/1": [
        ("Minimally displaced fracture of the distal radius.", PRESENT),
        ("Cortical step-off at the base of the fifth metatarsal.", PRESENT),
        ("No fracture or dislocation.", ABSENT),
        ("No acute osseous abnormality.", ABSENT),
        ("Old healed rib fractures on the left.", ABSENT),
        ("Nondisplaced fracture cannot be excluded.", DOUBT),
        ("Soft tissue swelling.", NOTHING),
    ],
    "large-vessel-occlusion/1": [
        ("Occlusion of the left M1 segment.", PRESENT),
        ("Abrupt cutoff of the right MCA.", PRESENT),
        ("Basilar artery thrombosis.", PRESENT),
        ("No large vessel occlusion.", ABSENT),
        ("No proximal intracranial occlusion, aneurysm or dissection.", ABSENT),
        ("Dense left MCA sign.", DOUBT),
        ("Possible distal M2 occlusion.", DOUBT),
        ("Mild stenosis of the left carotid bulb.", NOTHING),
    ],
    "breast-assessment/1": [
        ("BI-RADS category 4B: suspicious.", PRESENT),
        ("Assessment: BI-RADS 5.", PRESENT),
        ("BIRADS 2, benign.", ABSENT),
        ("BI-RADS Category: 1 - Negative.", ABSENT),
        ("BI-RADS 0: incomplete, need additional imaging evaluation.", DOUBT),
        ("Breast density category C.", NOTHING),
    ],
    "subdural-haemorrhage/1": [
        ("Acute left subdural hematoma.", PRESENT),
        ("Subarachnoid haemorrhage in the sylvian fissure.", NOTHING),
        ("No acute intracranial haemorrhage.", ABSENT),
        ("Chronic subdural haematoma.", ABSENT),
    ],
    "epidural-haemorrhage/1": [
        ("Lentiform extradural haematoma.", PRESENT),
        ("No epidural or subdural hematoma.", ABSENT),
    ],
    "subarachnoid-haemorrhage/1": [
        ("Diffuse SAH in the basal cisterns.", PRESENT),
        ("No evidence of subarachnoid hemorrhage.", ABSENT),
        ("Possible subarachnoid hemorrhage.", DOUBT),
    ],
    "intraventricular-haemorrhage/1": [
        ("Blood in the lateral ventricles.", PRESENT),
        ("No intraventricular extension or intraventricular hemorrhage.", ABSENT),
    ],
    "intraparenchymal-haemorrhage/1": [
        ("Right basal ganglia haemorrhage.", PRESENT),
        ("Haemorrhagic contusions of both frontal lobes.", PRESENT),
        ("No parenchymal hematoma.", ABSENT),
        ("Subdural haematoma.", NOTHING),
    ],
}
CASES = [(rule, sentence, state) for rule, sentences in SENTENCES.items() for sentence, state in sentences]


@pytest.mark.parametrize(("rule", "sentence", "state"), CASES)
def test_a_sentence_is_read_as_a_radiologist_would(rule: str, sentence: str, state: LabelState) -> None:
    assert read_label(load_rule(rule), sentence).state is state


def test_every_rule_has_sentences() -> None:
    assert set(known_rules()) - {"intracranial-haemorrhage/2"} == set(SENTENCES)


def test_one_report_is_read_by_every_rule_alike() -> None:
    text = (
        "INDICATION: Trauma, rule out pneumothorax.\nFINDINGS: There is a small right pleural effusion. Heart size is\n"
        "normal. No pneumothorax. Possible nodule at the left apex.\nIMPRESSION: Small effusion. No acute fracture."
    )
    read = {rule: read_label(load_rule(rule), text).state for rule in SENTENCES}
    assert read["pleural-effusion/1"] is PRESENT
    assert read["pneumothorax/1"] is read["cardiomegaly/1"] is read["fracture/1"] is ABSENT
    assert read["pulmonary-nodule/1"] is DOUBT
    assert read["pulmonary-embolism/1"] is NOTHING
