import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from head_ct import tiny_model

from shadow.index_test.lock import already_locked, answered, failed, lock, result_key
from shadow.index_test.model import ModelContract
from shadow.index_test.model_input import ModelStudyInput
from shadow.store.events import Kind, PredictionFailed, PredictionLocked
from shadow.store.ledger import Ledger

GIVEN = ModelStudyInput(np.zeros((8, 1, 16, 16), np.float32), "2.25.1", (), ("gantry_tilt",), "ab" * 32, (8.0, 0.5))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "head-ct") as ledger:
        ledger.migrate()
        yield ledger


@pytest.fixture
def contract(tmp_path: Path) -> ModelContract:
    return tiny_model(tmp_path / "model")


@pytest.mark.parametrize(("score", "positive"), [(0.5, True), (0.49999999, False), (0.0, False), (1.0, True)])
def test_a_study_is_positive_when_its_score_reaches_the_threshold(
    contract: ModelContract, score: float, positive: bool
) -> None:
    result = answered("S1", 1, GIVEN, score, contract)
    assert isinstance(result, PredictionLocked)
    assert result.index_test_positive is positive
    assert (result.threshold, result.slices, result.findings) == (0.5, 8, ("gantry_tilt",))


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_no_number_is_a_failure(contract: ModelContract, score: float) -> None:
    result = answered("S1", 1, GIVEN, score, contract)
    assert isinstance(result, PredictionFailed)
    assert result.reason == "score_not_finite"


def test_locking_twice_is_locking_once(ledger: Ledger, contract: ModelContract) -> None:
    results = [answered("S1", 1, GIVEN, 0.7, contract), failed("S2", 1, contract, "missing_slices", "")]
    lock(ledger, results)
    head = ledger.head()
    lock(ledger, results)
    assert ledger.head() == head
    keys = [result_key(contract, study, 1) for study in ("S1", "S2", "S3")]
    assert already_locked(ledger, keys) == set(keys[:2])


def test_another_answer_never_replaces_the_first_and_is_on_record(ledger: Ledger, contract: ModelContract) -> None:
    first = answered("S1", 1, GIVEN, 0.2, contract)
    other = answered("S1", 1, GIVEN, 0.9, contract)
    lock(ledger, [first])
    for _ in range(2):
        lock(ledger, [other, answered("S2", 1, GIVEN, 0.3, contract)])
    locked = ledger.find(Kind.PREDICTION, first.key)
    assert locked
    assert json.loads(locked.body or "")["score"] == 0.2
    assert ledger.count(Kind.PREDICTION) == 2
    assert [json.loads(row.body or "")["action"] for row in ledger.since(0) if row.kind == Kind.AUDIT] == [
        "prediction_conflict"
    ]


def test_a_failure_after_an_answer_and_an_answer_after_a_failure_do_not_count(
    ledger: Ledger, contract: ModelContract
) -> None:
    lock(ledger, [answered("S1", 1, GIVEN, 0.2, contract), failed("S2", 1, contract, "process_died", "")])
    lock(ledger, [failed("S1", 1, contract, "process_died", ""), answered("S2", 1, GIVEN, 0.9, contract)])
    assert (ledger.count(Kind.PREDICTION), ledger.count(Kind.PREDICTION_FAILURE)) == (1, 1)
    assert ledger.count(Kind.AUDIT) == 2


def test_two_models_and_two_builds_of_one_model_answer_the_same_study(ledger: Ledger, contract: ModelContract) -> None:
    rebuilt = replace(contract, identity=replace(contract.identity, sha256="f" * 64))
    named = replace(contract, identity=replace(contract.identity, identifier="other"))
    lock(ledger, [answered("S1", 1, GIVEN, 0.2, one) for one in (contract, rebuilt, named)])
    assert ledger.count(Kind.PREDICTION) == 3
