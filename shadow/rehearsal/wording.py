"""What a radiologist dictates: varied wording with negation, hedging and the traps that real reports hold."""

from __future__ import annotations

import numpy as np

from shadow.rehearsal.phantom import Bleed
from shadow.rehearsal.plan import Ineligible, PlannedMessage, Verdict

INDICATIONS = (
    "Fall from standing height, on anticoagulation. Rule out intracranial hemorrhage.",
    "Sudden severe headache. ?SAH",
    "Reduced level of consciousness, evaluate for bleed.",
    "Follow-up. History of subdural haematoma in 2019.",
    "Acute onset of left-sided weakness, stroke protocol.",
    "Head injury, GCS 14. Prior intraparenchymal hemorrhage years ago.",
    "Confusion and vomiting.",
)
TECHNIQUES = (
    "Unenhanced CT of the head with contiguous axial slices.",
    "Axial CT of the head without contrast.",
)
PRESENT = {
    Bleed.INTRAPARENCHYMAL: (
        "There is an acute intraparenchymal hemorrhage in the {side} {lobe} with surrounding edema.",
        "Hyperdense {side} {lobe} focus consistent with acute parenchymal haematoma.",
    ),
    Bleed.SUBDURAL: (
        "Acute {side} convexity subdural haematoma measuring up to {size} mm.",
        "There is a {side} holohemispheric subdural hemorrhage, {size} mm in thickness.",
    ),
    Bleed.EPIDURAL: (
        "Lentiform hyperdense {side} extra-axial collection in keeping with an epidural hematoma.",
        "{side} extradural haematoma with a maximum depth of {size} mm.",
    ),
    Bleed.SUBARACHNOID: (
        "Subarachnoid hemorrhage is present in the {side} sylvian fissure and convexity sulci.",
        "There is diffuse subarachnoid blood, more on the {side}.",
    ),
    Bleed.INTRAVENTRICULAR: (
        "Layering intraventricular hemorrhage in the {side} occipital horn.",
        "There is acute blood in the {side} lateral ventricle, in keeping with intraventricular haemorrhage.",
    ),
}
OVERCALLED = ("Small hyperdense focus in the {side} {lobe} compatible with acute hemorrhage.",)
UNCERTAIN = (
    "Subtle hyperdensity in the {side} {lobe}; a small hemorrhage cannot be excluded.",
    "Possible thin {side} subdural haematoma versus beam hardening.",
    "Tiny {side} {lobe} hyperdensity, which may represent petechial hemorrhage or calcification.",
)
ABSENT = (
    "There is no acute intracranial hemorrhage.",
    "No intracranial haemorrhage, mass or midline shift.",
    "No evidence of acute intra- or extra-axial hemorrhage.",
    "No acute infarct or hemorrhage is seen.",
    "Negative for acute intracranial bleed.",
)
ABSENT_IMPRESSIONS = (
    "No acute intracranial abnormality.",
    "No acute intracranial hemorrhage.",
    "Normal unenhanced CT of the head for age.",
)
INCIDENTAL = (
    "Mild cerebral atrophy and chronic small vessel change.",
    "Old lacunar infarct in the right basal ganglia.",
    "Physiological calcification of the pineal gland and choroid plexus.",
    "A small scalp haematoma overlies the left parietal bone without fracture.",
    "The paranasal sinuses and mastoid air cells are clear.",
    "The ventricles and sulci are normal for age.",
    "No skull fracture.",
)
LOBES = (
    "frontal lobe",
    "parietal lobe",
    "temporal lobe",
    "occipital lobe",
    "basal ganglia",
    "thalamus",
    "cerebellum",
)


def report_lines(message: PlannedMessage) -> list[str]:
    """The report's text, a line an OBX segment. The same message always has the same words."""
    random = np.random.default_rng(message.wording_seed)
    study = message.study
    if study is None or study.ineligible in (Ineligible.CHEST, Ineligible.ANGIOGRAPHY):
        return _other_examination(random)
    place = {
        "side": _pick(random, ("left", "right")),
        "lobe": _pick(random, LOBES),
        "size": str(int(random.integers(3, 14))),
    }
    finding, impression = _verdict_sentences(random, message.verdict, study.patient.bleed, place)
    incidental = [_pick(random, INCIDENTAL) for _ in range(int(random.integers(1, 3)))]
    return [
        "EXAMINATION: CT HEAD WITHOUT CONTRAST",
        f"INDICATION: {_pick(random, INDICATIONS)}",
        "COMPARISON: None available." if random.random() < 0.6 else "COMPARISON: Prior CT of the head.",
        f"TECHNIQUE: {_pick(random, TECHNIQUES)}",
        "FINDINGS:",
        finding,
        *dict.fromkeys(incidental),
        "IMPRESSION:",
        impression,
    ]


def addendum_lines(message: PlannedMessage) -> list[str]:
    """An addendum that leaves the verdict as it is."""
    random = np.random.default_rng([message.wording_seed, 2])
    return ["ADDENDUM:", _pick(random, (
        "The findings were discussed with the referring physician by telephone.",
        "Comparison is now made with an outside examination. No change to the impression.",
        "Correction of the clinical details: the fall was from a ladder.",
    ))]  # fmt: skip


def _verdict_sentences(
    random: np.random.Generator, verdict: Verdict, bleed: Bleed | None, place: dict[str, str]
) -> tuple[str, str]:
    match verdict:
        case Verdict.PRESENT:
            words = _pick(random, PRESENT[bleed] if bleed is not None else OVERCALLED).format(**place)
            return words, f"1. {words}"
        case Verdict.UNCERTAIN:
            words = _pick(random, UNCERTAIN).format(**place)
            return words, f"1. {words} Short-term follow-up is suggested."
        case Verdict.ABSENT:
            return _pick(random, ABSENT), f"1. {_pick(random, ABSENT_IMPRESSIONS)}"


def _other_examination(random: np.random.Generator) -> list[str]:
    return [
        "EXAMINATION: OTHER EXAMINATION",
        f"FINDINGS: {_pick(random, ('The lungs are clear.', 'No aneurysm or stenosis.', 'Normal appearances.'))}",
        "IMPRESSION: No acute finding.",
    ]


def _pick(random: np.random.Generator, choices: tuple[str, ...]) -> str:
    words = choices[int(random.integers(0, len(choices)))]
    return words[0].upper() + words[1:] if words[0] == "{" else words
