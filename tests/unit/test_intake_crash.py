import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from head_ct import head_study, new_home, spool_study, tiny_model

from shadow.domain.home import Home
from shadow.store.events import Kind
from shadow.store.ledger import Ledger
from shadow.store.queue import WorkQueue

LANE = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from head_ct import PSEUDONYMISER, protocol, riverside

from shadow.adapters.onnx_session import OnnxSession
from shadow.domain.home import Home
from shadow.index_test.infer import drain_model
from shadow.index_test.intake import drain_admissions, model_queue
from shadow.index_test.model import read_model_contract
from shadow.store.ledger import Ledger
from shadow.store.queue import WorkQueue
from shadow.store.vault import Vault

root = Path(sys.argv[2])
home = Home(root / "home")
patience = {"linger_seconds": 30.0, "budget_seconds": 60.0, "stop": lambda: False}
with Ledger(f"sqlite:///{home.ledger}", "head-ct") as ledger:
    if sys.argv[3] == "admission":
        drain_admissions(
            home=home, ledger=ledger, vault=Vault(home.vault, bytes(32)), sites=(riverside(),),
            protocol=protocol(), pseudonymiser=PSEUDONYMISER, **patience,
        )
    else:
        drain_model(
            queue=model_queue(home, "tiny"), admissions=WorkQueue(home.queues / "admission"), ledger=ledger,
            studies_folder=home.studies, contract=read_model_contract(root / "model" / "model.toml"),
            session_factory=OnnxSession, protocol=protocol(), **patience,
        )
"""


def start(root: Path, lane: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", LANE, str(Path(__file__).parents[1]), str(root), lane]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})


def locked(home: Home) -> int:
    with Ledger(f"sqlite:///{home.ledger}", "head-ct") as ledger:
        return ledger.count(Kind.PREDICTION) + ledger.count(Kind.PREDICTION_FAILURE)


@pytest.mark.server
def test_no_study_is_lost_or_counted_twice_when_both_lanes_are_killed_again_and_again(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    tiny_model(tmp_path / "model")
    with Ledger(f"sqlite:///{home.ledger}", "head-ct") as ledger:
        ledger.migrate()
    dice = random.Random(7)
    expected = {}
    queue = WorkQueue(home.queues / "admission")
    for number in range(240):
        pixels = np.full((32, 32), 1024 + number % 90)
        manifest = spool_study(home, head_study(str(number), 6, pixels=pixels), study=str(number))
        queue.put(f"{manifest.study_key}.r1")
        expected[manifest.study_key] = number % 90 / 100
    lanes = {name: start(tmp_path, name) for name in ("admission", "model")}
    kills, deadline = 0, time.monotonic() + 240
    while locked(home) < len(expected) and time.monotonic() < deadline:
        time.sleep(dice.uniform(0.2, 1.6) if kills < 12 else 0.3)
        name = dice.choice(list(lanes))
        if kills < 12:
            lanes[name].send_signal(signal.SIGKILL)
            lanes[name].wait()
            lanes[name] = start(tmp_path, name)
            kills += 1
    for process in lanes.values():
        process.kill()
        process.wait()
    scores: dict[str, float] = {}
    with Ledger(f"sqlite:///{home.ledger}", "head-ct") as ledger:
        assert ledger.verify().problem is None
        assert ledger.count(Kind.STUDY) == len(expected)
        assert ledger.count(Kind.EXCLUSION) == 0
        for row in ledger.since(0):
            body = json.loads(row.body or "")
            if row.kind == Kind.PREDICTION:
                assert body["study_key"] not in scores
                scores[body["study_key"]] = body["score"]
        failures = [json.loads(row.body or "") for row in ledger.since(0) if row.kind == Kind.PREDICTION_FAILURE]
    assert kills >= 5
    assert {one["reason"] for one in failures} <= {"process_died"}
    assert scores.keys() | {one["study_key"] for one in failures} == expected.keys()
    assert scores == pytest.approx({key: expected[key] for key in scores})
