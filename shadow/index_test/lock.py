"""A model's answer, or its failure to answer, appended to the ledger once: the first one stands."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence

from shadow.domain.errors import LedgerConflict
from shadow.index_test.model import ModelContract
from shadow.index_test.model_input import ModelStudyInput
from shadow.store.events import Audited, Kind, PredictionFailed, PredictionLocked, body_of
from shadow.store.ledger import Ledger, canonical

Result = PredictionLocked | PredictionFailed

_log = logging.getLogger(__name__)


def answered(study_key: str, revision: int, given: ModelStudyInput, score: float, contract: ModelContract) -> Result:
    """The event of a score. The threshold is compared here and nowhere else.

    A score that is no number is a failure, `score_not_finite`.
    """
    if not math.isfinite(score):
        return failed(study_key, revision, contract, "score_not_finite", "")
    return PredictionLocked(
        study_key=study_key,
        revision=revision,
        model=contract.identifier,
        model_sha256=contract.sha256,
        series_key=given.series_key,
        slices=given.slices.shape[0],
        input_sha256=given.sha256,
        score=score,
        threshold=contract.threshold,
        index_test_positive=score >= contract.threshold,
        findings=given.findings,
        input_summary=given.summary,
        series_verdicts=tuple(one.in_words() for one in given.verdicts),
    )


def failed(study_key: str, revision: int, contract: ModelContract, reason: str, detail: str) -> PredictionFailed:
    """The event of a study that got no answer. `detail` holds no identifier and no tag value."""
    return PredictionFailed(study_key, revision, contract.identifier, contract.sha256, reason, detail)


def result_key(contract: ModelContract, study_key: str, revision: int) -> str:
    """The key that an answer or a failure of this model to this revision has."""
    return failed(study_key, revision, contract, "", "").key


def already_locked(ledger: Ledger, keys: Sequence[str]) -> frozenset[str]:
    """Those keys that have an answer or a failure."""
    return ledger.known(Kind.PREDICTION, keys) | ledger.known(Kind.PREDICTION_FAILURE, keys)


def lock(ledger: Ledger, results: Sequence[Result]) -> None:
    """Append results with one write; they are durable on return.

    Where the ledger has an answer or a failure for a key, that one stands. If the new one differs, the attempt
    goes on record as `prediction_conflict`.
    """
    known = already_locked(ledger, [one.key for one in results])
    ledger.append([one for one in results if one.key not in known])
    for result in results:
        if result.key in known:
            _confirm(ledger, result)


def _confirm(ledger: Ledger, result: Result) -> None:
    try:
        if ledger.find(result.KIND, result.key) is not None:
            ledger.append([result])
            return
    except LedgerConflict:
        pass
    digest = hashlib.sha256(canonical(body_of(result)).encode()).hexdigest()
    _log.error("another answer is locked already: study_key=%s", result.study_key)
    ledger.append([
        Audited(
            identifier=f"prediction-conflict:{result.key}:{digest[:16]}",
            actor="lock",
            action="prediction_conflict",
            object=result.key,
            detail="the first stands",
        )
    ])  # fmt: skip
