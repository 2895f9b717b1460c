"""The shipped model: the file that the trial names, good on the day scanners, bad on the old one by physics alone."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from shadow.rehearsal.acquisition import acquire
from shadow.rehearsal.phantom import build_head, draw_patient
from shadow.rehearsal.scanners import DEFINITION, HISPEED, ScannerPhysics

CONFIGS = Path(__file__).parents[2] / "configs"
FOLDER = CONFIGS / "models" / "demo-head-ct-haemorrhage"
CONTRACT = tomllib.loads((FOLDER / "model.toml").read_text(encoding="utf-8"))
FIRST_SEED = 7_000_000
PATIENTS = 50


def test_the_file_is_the_one_that_contract_and_trial_name() -> None:
    digest = hashlib.sha256((FOLDER / "model.onnx").read_bytes()).hexdigest()
    trial = tomllib.loads((CONFIGS / "trials" / "demo-head-ct.toml").read_text(encoding="utf-8"))
    assert CONTRACT["model"]["sha256"] == digest
    assert trial["models"][0]["sha256"] == digest


def test_the_file_says_that_it_is_useless_on_real_heads() -> None:
    assert "Useless on real heads" in onnx.load(str(FOLDER / "model.onnx")).doc_string
    assert "Useless on real heads" in CONTRACT["model"]["intended_use"]


def _averaged(slices: np.ndarray) -> np.ndarray:
    """Each output pixel is the area-weighted mean of what it covers: 160 pixels of 1.44 mm onto 128 of 1.8 mm."""
    weights = np.eye(160, dtype=np.float32).repeat(4, axis=1).reshape(160, 128, 5).mean(2).T
    return np.matmul(np.matmul(weights, slices.astype(np.float32)), weights.T)


@pytest.mark.server
def test_sensitivity_falls_on_the_old_scanner_and_specificity_holds() -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), options, ["CPUExecutionProvider"])
    called: dict[tuple[str, bool], list[bool]] = {}
    for bleeding in (True, False):
        for number in range(PATIENTS):
            seed = FIRST_SEED + number + bleeding * 1000
            patient = draw_patient(np.random.default_rng(seed), 1.0 if bleeding else 0.0)
            head = build_head(seed, patient)
            for physics in (DEFINITION, HISPEED):
                score = _score(session, acquire(seed, head, physics))
                positive = score >= CONTRACT["decision"]["threshold"]
                called.setdefault((_name(physics), bleeding), []).append(positive)
    rate = {key: float(np.mean(calls)) for key, calls in called.items()}
    assert rate["day", True] - rate["night", True] >= 0.15
    assert rate["day", True] >= 0.75
    assert 1 - rate["day", False] >= 0.85
    assert 1 - rate["night", False] >= 0.85


def _score(session: onnxruntime.InferenceSession, slices: np.ndarray) -> float:
    return float(session.run(["prob"], {"hu": _averaged(slices)[:, None]})[0].max())


def _name(physics: ScannerPhysics) -> str:
    return "night" if physics is HISPEED else "day"
