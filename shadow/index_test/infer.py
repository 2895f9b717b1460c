"""A model's lane: admitted studies in, locked answers and counted failures out, in batches across studies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from shadow.domain.errors import ModelContractError, NotEvaluable, StoreError
from shadow.index_test.copies import CopiesMissing, ReadyStudy, copies_folder, read_copies, read_ready_study
from shadow.index_test.lane import MAXIMUM_ATTEMPTS, Patience, Work, drain
from shadow.index_test.lock import Result, already_locked, answered, failed, lock, result_key
from shadow.index_test.model import ModelContract
from shadow.index_test.model_input import ModelStudyInput, prepare_study
from shadow.index_test.pixels import Floats
from shadow.protocol.trial import TrialProtocol
from shadow.store.ledger import Ledger
from shadow.store.queue import WorkQueue

STUDIES_A_BATCH = 16
SLICES_A_RUN = 256

_log = logging.getLogger(__name__)


class InferenceSession(Protocol):
    """A loaded model."""

    def run(self, batch: Floats) -> Floats:
        """One score a slice.

        Args:
            batch: float32 (items, channels, rows, columns), what the contract's kind of input says.

        Returns:
            float32 (slices,).
        """
        ...


@dataclass(frozen=True, slots=True)
class _Prepared:
    name: str
    study: ReadyStudy
    given: ModelStudyInput


def drain_model(
    *,
    queue: WorkQueue,
    admissions: WorkQueue,
    ledger: Ledger,
    studies_folder: Path,
    contract: ModelContract,
    session_factory: Callable[[ModelContract], InferenceSession],
    protocol: TrialProtocol,
    linger_seconds: float,
    budget_seconds: float,
    stop: Callable[[], bool],
) -> int:
    """Run one model over every admitted study that is ready, and linger for more.

    Args:
        queue: of this model's lane.
        admissions: where a study goes back to whose copies are not what admission wrote.
        ledger: answers and failures are locked there before an item leaves the queue.
        studies_folder: of the copies.
        contract: of the model.
        session_factory: loads the model; called once.
        protocol: its series rules.
        linger_seconds: leave when nothing was finished for so long.
        budget_seconds: take no new batch after so long.
        stop: asked before each batch.

    Returns:
        How many studies were finished, answers and failures.

    Raises:
        LaneBusy: another process runs this model.
        ModelContractError: the ONNX file does not keep the contract.
        OSError, StoreError: disk or ledger failed; what is in the queue stays there.
    """
    lane = _ModelLane(queue, admissions, ledger, studies_folder, contract, session_factory(contract), protocol)
    work = Work(lane.finish, lane.give_up, STUDIES_A_BATCH)
    in_flight = studies_folder / f".in-flight-{contract.identifier}"
    return drain(queue, in_flight, work, Patience(linger_seconds, budget_seconds, stop))


@dataclass(frozen=True, slots=True)
class _ModelLane:
    queue: WorkQueue
    admissions: WorkQueue
    ledger: Ledger
    studies_folder: Path
    contract: ModelContract
    session: InferenceSession
    protocol: TrialProtocol

    def finish(self, names: list[str]) -> Collection[str]:
        """Work on a batch with one append. Returns the names that are done."""
        locked = self._locked(names)
        results: dict[str, Result] = {}
        prepared: list[_Prepared] = []
        for name in names:
            if name in locked:
                continue
            outcome = self._prepare(name)
            if isinstance(outcome, _Prepared):
                prepared.append(outcome)
            elif outcome is not None:
                results[name] = outcome
        for group in _runs(prepared):
            results.update(self._infer(group))
        lock(self.ledger, list(results.values()))
        return locked | results.keys()

    def give_up(self, name: str) -> None:
        """Count a failure for a study on which the process died too often."""
        if not self._locked([name]):
            lock(self.ledger, [self._failed(name, "process_died", f"{MAXIMUM_ATTEMPTS} times")])

    def _locked(self, names: Iterable[str]) -> frozenset[str]:
        """Those that the ledger has a result of: a process before this one died between lock and done."""
        keys = {result_key(self.contract, *_study_of(name)): name for name in names}
        return frozenset(keys[key] for key in already_locked(self.ledger, list(keys)))

    def _prepare(self, name: str) -> _Prepared | Result | None:
        """The study's input, its failure, or None where its copies have to be made again first."""
        try:
            study = read_ready_study(self.queue.read(name))
            folder = copies_folder(self.studies_folder, study.study_key, study.revision)
            copies = read_copies(folder, study.copies_sha256)
        except (CopiesMissing, StoreError):
            return self._send_back(name)
        try:
            return _Prepared(name, study, prepare_study(copies, self.protocol.series, self.contract))
        except NotEvaluable as error:
            return self._failed(name, error.reason, error.detail)
        except MemoryError:
            return self._tried(name, "out_of_memory", "input")
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 (the edge: one study's pixels must not stop the lane)
            return self._failed(name, f"unexpected:{type(error).__name__}", "input")

    def _send_back(self, name: str) -> Result | None:
        if name in self.admissions.ready():
            return None
        if self.queue.begin(name) > MAXIMUM_ATTEMPTS:
            return self._failed(name, "copies_missing", f"sent back {MAXIMUM_ATTEMPTS} times")
        _log.warning("copies are not those of admission, sent back: study_key=%s", _study_of(name)[0])
        self.admissions.put(name)
        return None

    def _infer(self, group: Sequence[_Prepared]) -> dict[str, Result]:
        """Scores of several studies in one run; if that fails, of each alone."""
        try:
            scores = self._scores([one.given.slices for one in group])
        except (OSError, ModelContractError):
            raise
        except Exception as error:  # noqa: BLE001 (the runtime's own exceptions are many and not public)
            if len(group) > 1:
                return {name: result for one in group for name, result in self._infer([one]).items()}
            return self._inference_failed(group[0].name, error)
        ends = np.cumsum([one.given.slices.shape[0] for one in group])[:-1]
        return {
            one.name: answered(one.study.study_key, one.study.revision, one.given, float(np.max(own)), self.contract)
            for one, own in zip(group, np.split(scores, ends), strict=True)
        }

    def _scores(self, inputs: Sequence[Floats]) -> Floats:
        """One score a slice; a study of thousands goes through the model in several runs."""
        batch = inputs[0] if len(inputs) == 1 else np.concatenate(inputs)
        starts = range(0, len(batch), SLICES_A_RUN)
        return np.concatenate([self.session.run(batch[start : start + SLICES_A_RUN]) for start in starts])

    def _inference_failed(self, name: str, error: Exception) -> dict[str, Result]:
        failure = type(error).__name__
        result = self._tried(
            name, "out_of_memory" if failure == "MemoryError" else f"unexpected:{failure}", "inference"
        )
        return {} if result is None else {name: result}

    def _tried(self, name: str, reason: str, detail: str) -> Result | None:
        """A failure counts after three tries: what fails here may be the machine and not the study."""
        attempts = self.queue.begin(name)
        _log.error("%s: %s attempt=%d study_key=%s", detail, reason, attempts, _study_of(name)[0])
        return self._failed(name, reason, detail) if attempts >= MAXIMUM_ATTEMPTS else None

    def _failed(self, name: str, reason: str, detail: str) -> Result:
        return failed(*_study_of(name), self.contract, reason, detail)


def _study_of(name: str) -> tuple[str, int]:
    """Study key and revision of a queue entry's name."""
    study_key, _, revision = name.rpartition(".r")
    return study_key, int(revision)


def _runs(prepared: Sequence[_Prepared]) -> Iterator[Sequence[_Prepared]]:
    """Groups of studies whose slices fit one run together; a larger study is a group of its own."""
    group: list[_Prepared] = []
    slices = 0
    for one in prepared:
        count = one.given.slices.shape[0]
        if group and slices + count > SLICES_A_RUN:
            yield group
            group, slices = [], 0
        group.append(one)
        slices += count
    if group:
        yield group
