import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from head_ct import (
    PSEUDONYMISER,
    RULES,
    as_file,
    head_slice,
    head_study,
    new_home,
    protocol,
    riverside,
    spool_study,
    tiny_model,
)
from pydicom.dataset import Dataset

from shadow.adapters.onnx_session import OnnxSession
from shadow.domain.home import Home
from shadow.index_test.copies import copies_folder
from shadow.index_test.infer import InferenceSession, drain_model
from shadow.index_test.intake import drain_admissions, model_queue
from shadow.index_test.model import ModelContract
from shadow.index_test.model_input import prepare_study
from shadow.index_test.pixels import Floats
from shadow.store.events import Kind
from shadow.store.ledger import Ledger
from shadow.store.queue import WorkQueue
from shadow.store.vault import Vault


@dataclass
class Trial:
    """Admission and one model over one home."""

    home: Home
    ledger: Ledger
    vault: Vault
    contract: ModelContract
    runs: list[int] = field(default_factory=list)

    @property
    def queue(self) -> WorkQueue:
        return model_queue(self.home, self.contract.identifier)

    @property
    def admissions(self) -> WorkQueue:
        return WorkQueue(self.home.queues / "admission")

    def admit(self, *studies: str, **settings: object) -> list[str]:
        keys = []
        for study in studies:
            manifest = spool_study(self.home, head_study(study, **settings), study=study)  # type: ignore[arg-type]
            self.admissions.put(f"{manifest.study_key}.r1")
            keys.append(manifest.study_key)
        self.drain_admissions()
        return keys

    def drain_admissions(self) -> int:
        return drain_admissions(
            home=self.home,
            ledger=self.ledger,
            vault=self.vault,
            sites=(riverside(),),
            protocol=protocol(),
            pseudonymiser=PSEUDONYMISER,
            linger_seconds=10.0,
            budget_seconds=10.0,
            stop=lambda: not self.admissions.ready(),
        )

    def drain(
        self,
        factory: Callable[[ModelContract], InferenceSession] = OnnxSession,
        stop: Callable[[], bool] | None = None,
        linger_seconds: float = 10.0,
    ) -> int:
        return drain_model(
            queue=self.queue,
            admissions=self.admissions,
            ledger=self.ledger,
            studies_folder=self.home.studies,
            contract=self.contract,
            session_factory=factory,
            protocol=protocol(),
            linger_seconds=linger_seconds,
            budget_seconds=10.0,
            stop=stop or (lambda: not self.queue.ready()),
        )

    def results(self) -> dict[str, str | float]:
        found: dict[str, str | float] = {}
        for row in self.ledger.since(0):
            body = json.loads(row.body or "")
            if row.kind in (Kind.PREDICTION, Kind.PREDICTION_FAILURE):
                assert body["study_key"] not in found
                found[body["study_key"]] = body["score"] if row.kind == Kind.PREDICTION else body["reason"]
        return found


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    home = new_home(tmp_path / "home")
    vault = Vault(home.vault, bytes(32))
    with Ledger(f"sqlite:///{home.ledger}", "head-ct") as ledger:
        ledger.migrate()
        yield Trial(home, ledger, vault, tiny_model(tmp_path / "model"))
    vault.close()


def bright(hounsfield: int, matrix: int = 32) -> np.ndarray:
    return np.full((matrix, matrix), 1024 + hounsfield)


def test_a_studys_score_is_its_highest_slices_and_the_threshold_is_met_when_reached(trial: Trial) -> None:
    below, at = trial.admit("1", pixels=bright(49))[0], trial.admit("2", pixels=bright(50))[0]
    assert trial.drain() == 2
    locked = {
        body["study_key"]: body for row in trial.ledger.since(0) if (body := json.loads(row.body or "")).get("model")
    }
    assert locked[below]["score"] == pytest.approx(0.49)
    assert (locked[below]["index_test_positive"], locked[at]["index_test_positive"]) == (False, True)
    assert locked[at]["threshold"] == 0.5
    assert locked[at]["model_sha256"] == trial.contract.sha256
    assert locked[at]["slices"] == 8
    assert locked[at]["series_key"] == PSEUDONYMISER.uid("1.2.826.0.1.3680043.10.999.2.2")
    assert trial.queue.ready() == []


def test_other_pixels_give_another_input_digest_and_score(trial: Trial) -> None:
    one, two = trial.admit("1", pixels=bright(10))[0], trial.admit("2", pixels=bright(20))[0]
    trial.drain()
    assert trial.results()[one] != trial.results()[two]
    digests = {
        json.loads(row.body or "")["input_sha256"] for row in trial.ledger.since(0) if row.kind == Kind.PREDICTION
    }
    assert len(digests) == 2


class Counting:
    """The real session, and how many slices each run got."""

    def __init__(self, contract: ModelContract, runs: list[int]) -> None:
        self._session = OnnxSession(contract)
        self._runs = runs

    def run(self, batch: Floats) -> Floats:
        self._runs.append(batch.shape[0])
        return self._session.run(batch)


def test_slices_of_several_studies_run_together_and_give_the_scores_they_give_alone(trial: Trial) -> None:
    keys = [trial.admit(str(number), pixels=bright(number), slices=6 + number)[0] for number in range(1, 6)]
    trial.drain(lambda contract: Counting(contract, trial.runs))
    assert trial.runs == [7 + 8 + 9 + 10 + 11]
    assert [trial.results()[key] for key in keys] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])


def test_a_run_takes_no_more_slices_than_its_limit(trial: Trial) -> None:
    for number in range(4):
        trial.admit(str(number), slices=100)
    assert trial.drain(lambda contract: Counting(contract, trial.runs)) == 4
    assert trial.runs == [200, 200]


def cut(dataset: Dataset) -> None:
    if dataset.InstanceNumber == 3:
        dataset.PixelData = dataset.PixelData[:100]


def test_studies_that_cannot_be_evaluated_fail_with_their_reason_and_the_others_are_answered(trial: Trial) -> None:
    (good,) = trial.admit("1")
    (truncated,) = trial.admit("2", change=cut)
    (short,) = trial.admit("3", slices=5)
    (not_hu,) = trial.admit("4", change=lambda one: setattr(one, "RescaleType", "OD"))
    manifest = spool_study(
        trial.home, [as_file(head_slice(study="5", number=n)) for n in (1, 2, 3, 6, 7, 8)], study="5"
    )
    trial.admissions.put(f"{manifest.study_key}.r1")
    trial.drain_admissions()
    assert trial.drain() == 5
    assert trial.results() == {
        good: 0.0,
        truncated: "unreadable_pixel_data",
        short: "no_series_qualifies",
        not_hu: "not_hounsfield_units",
        manifest.study_key: "missing_slices",
    }


def test_a_second_run_after_a_crash_finds_the_work_done(trial: Trial) -> None:
    (key,) = trial.admit("1")
    payload = trial.queue.read(f"{key}.r1")
    trial.drain()
    head = trial.ledger.head()
    trial.queue.put(f"{key}.r1", payload)
    assert trial.drain(lambda contract: Counting(contract, trial.runs)) == 1
    assert trial.runs == []
    assert trial.ledger.head() == head
    assert trial.queue.ready() == []


@pytest.mark.parametrize("damage", ["torn", "missing", "folder"])
def test_copies_that_a_power_cut_took_are_made_again_from_the_spool(trial: Trial, damage: str) -> None:
    key, other = trial.admit("1", "2", pixels=bright(30))
    folder = copies_folder(trial.home.studies, key, 1)
    victim = sorted(folder.iterdir())[0]
    if damage == "torn":
        victim.write_bytes(victim.read_bytes()[:600])
    else:
        for path in folder.iterdir() if damage == "folder" else [victim]:
            path.unlink()
        if damage == "folder":
            folder.rmdir()
    # While admission has not come round to it, waiting is no attempt.
    asked = iter([False] * 6 + [True])
    assert trial.drain(stop=lambda: next(asked)) == 1
    assert trial.results().keys() == {other}
    assert trial.admissions.ready() == [f"{key}.r1"]
    assert trial.drain_admissions() == 1
    assert trial.drain() == 1
    assert trial.results()[key] == pytest.approx(0.3)


def test_copies_that_never_come_right_are_a_counted_failure(trial: Trial) -> None:
    (key,) = trial.admit("1")
    for _ in range(4):
        for path in copies_folder(trial.home.studies, key, 1).iterdir():
            path.unlink()
        asked = iter([False, True])
        trial.drain(stop=lambda asked=asked: next(asked))  # type: ignore[misc]
        trial.drain_admissions()
    assert trial.results() == {key: "copies_missing"}


class Refusing:
    """A runtime that refuses a batch with a certain score in it."""

    def __init__(self, contract: ModelContract) -> None:
        self._session = OnnxSession(contract)

    def run(self, batch: Floats) -> Floats:
        scores = self._session.run(batch)
        if np.any(np.isclose(scores, 0.66)):
            raise RuntimeError("out of something")
        return scores


def test_a_study_that_the_runtime_refuses_fails_alone_after_three_tries(trial: Trial) -> None:
    (good,) = trial.admit("1", pixels=bright(10))
    (poison,) = trial.admit("2", pixels=bright(66))
    assert trial.drain(Refusing) == 2
    assert trial.results() == {good: pytest.approx(0.1), poison: "unexpected:RuntimeError"}


class Undecided:
    """A model that answers with no number."""

    def __init__(self, contract: ModelContract) -> None:
        self.contract = contract

    def run(self, batch: Floats) -> Floats:
        return np.full(batch.shape[0], np.nan, np.float32)


def test_a_score_that_is_no_number_is_a_failure_and_not_a_negative(trial: Trial) -> None:
    (key,) = trial.admit("1")
    trial.drain(Undecided)
    assert trial.results() == {key: "score_not_finite"}


def test_a_study_that_killed_its_process_three_times_fails_and_its_neighbour_does_not(trial: Trial) -> None:
    killer, neighbour = trial.admit("1", "2")
    in_flight = trial.home.studies / ".in-flight-tiny"
    for names in (f"{killer}.r1\n{neighbour}.r1", f"{killer}.r1", f"{killer}.r1"):
        assert trial.results() == {}
        in_flight.write_text(names)
        trial.drain(stop=lambda: True)
    assert trial.results() == {killer: "process_died"}
    assert trial.drain() == 1
    assert trial.results()[neighbour] == 0.0


def test_after_a_death_the_suspects_run_alone(trial: Trial) -> None:
    keys = trial.admit("1", "2", "3")
    (trial.home.studies / ".in-flight-tiny").write_text(f"{keys[0]}.r1\n{keys[1]}.r1")
    trial.drain(lambda contract: Counting(contract, trial.runs))
    assert trial.runs == [8, 8, 8]


def test_the_lane_lingers_and_leaves(trial: Trial) -> None:
    assert trial.drain(stop=lambda: False, linger_seconds=0.2) == 0


def test_several_series_give_one_answer_from_the_preferred_one(trial: Trial) -> None:
    files = head_study("1", pixels=bright(10))
    files += [as_file(head_slice(series="3", number=n, thickness=1.0, pixels=bright(90))) for n in range(1, 9)]
    manifest = spool_study(trial.home, files, study="1")
    trial.admissions.put(f"{manifest.study_key}.r1")
    trial.drain_admissions()
    trial.drain()
    assert trial.results() == {manifest.study_key: pytest.approx(0.1)}


def test_the_input_digest_covers_shape_and_values(trial: Trial) -> None:
    def digest(**settings: object) -> str:
        files = {str(n): content for n, content in enumerate(head_study("1", **settings))}  # type: ignore[arg-type]
        return prepare_study(files, RULES, trial.contract).sha256

    assert digest() == digest()
    assert len({digest(), digest(slices=9), digest(pixels=bright(1))}) == 3
