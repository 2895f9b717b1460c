"""Reports whose writer knew of a model's result are found; aortic insufficiency and coronary disease are not."""

from __future__ import annotations

import pytest

from shadow.domain.project import project_folder
from shadow.protocol.trial import read_trial
from shadow.reference_standard.model_mention import load_model_mentions, mentions_model, names_of_models

PROTOCOL = read_trial(project_folder("configs") / "trials" / "demo-head-ct.toml")
WORDS = load_model_mentions(names_of_models(PROTOCOL))

TELLING = [
    "ADDENDUM: AI flagged a possible subdural haematoma, which was missed on first reading.",
    "The AI algorithm was negative.",
    "AI alert reviewed; no haemorrhage.",
    "Flagged by AI.",
    "Disagree with the AI.",
    "I agree with AI; artifact.",
    "AI-detected hyperdensity is calcification.",
    "AI: negative.",
    "No finding was marked by the algorithm.",
    "Artificial intelligence software suggested a bleed.",
    "Computer-aided detection was used.",
    "Computer aided detection (CAD) was performed.",
    "Study reviewed with CAD.",
    "CAD marks were reviewed.",
    "A deep learning tool flagged the study.",
    "Prioritised by an automated triage\nalgorithm flagged as positive.",
    "SIMULATED ICH positive, overread negative.",
    "Result of demo-head-ct-haemorrhage noted.",
    "HISTORY: detected by AI at the referring site.",
]
SILENT = [
    "Moderate AI and mild MR.",
    "Severe AI with a dilated left ventricle.",
    "History of AI.",
    "Known CAD, status post CABG.",
    "Patient with CAD and AI.",
    "Treatment algorithm of the stroke unit was followed.",
    "Deep learning reconstruction was used.",
    "TECHNIQUE: Deep learning image reconstruction, 5 mm.",
    "AICD leads in place.",
    "No ICH.",
    "Intracranial haemorrhage in the demo head.",
    "",
]


@pytest.mark.parametrize("text", TELLING)
def test_a_report_that_gives_the_model_away_is_flagged(text: str) -> None:
    assert mentions_model(WORDS, text)


@pytest.mark.parametrize("text", SILENT)
def test_words_that_only_look_like_a_model_are_not(text: str) -> None:
    assert not mentions_model(WORDS, text)


def test_a_model_is_known_by_its_name_only_in_its_own_trial() -> None:
    assert not mentions_model(load_model_mentions(), "Simulated ICH was positive.")


def test_a_name_of_three_letters_would_be_everywhere_and_is_not_searched() -> None:
    assert not mentions_model(load_model_mentions(["ICH"]), "No ICH.")
