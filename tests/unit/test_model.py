from pathlib import Path

import numpy as np
import pytest
from head_ct import tiny_model

from shadow.adapters.onnx_session import OnnxSession
from shadow.domain.errors import ConfigurationError, ModelContractError
from shadow.index_test.model import InputKind, StudyScore, read_model_contract

ROOT = Path(__file__).resolve().parents[2]


def edit(contract: Path, old: str, new: str) -> None:
    text = contract.read_text()
    assert old in text
    contract.write_text(text.replace(old, new))


def test_a_contract_says_what_goes_in_and_what_comes_out(tmp_path: Path) -> None:
    contract = tiny_model(tmp_path)
    assert (contract.identifier, contract.version, contract.demonstration) == ("tiny", "1", True)
    assert (contract.input.kind, contract.output.study_score) == (InputKind.AXIAL_SLICES, StudyScore.MAXIMUM)
    assert (contract.input.rows, contract.input.pixel_spacing_mm, contract.threshold) == (16, 3.0, 0.5)


def test_the_shipped_demonstration_model_keeps_its_contract() -> None:
    path = ROOT / "configs/models/demo-head-ct-haemorrhage/model.toml"
    if not path.exists():
        pytest.skip("the demonstration model is not trained yet")
    contract = read_model_contract(path)
    assert contract.demonstration
    slices = np.full((3, 1, contract.input.rows, contract.input.columns), -1000, np.float32)
    assert OnnxSession(contract).run(slices).shape == (3,)


def test_an_onnx_file_of_another_digest_is_refused(tmp_path: Path) -> None:
    tiny_model(tmp_path)
    with (tmp_path / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelContractError, match="sha256"):
        read_model_contract(tmp_path / "model.toml")


def test_a_missing_onnx_file_is_named(tmp_path: Path) -> None:
    tiny_model(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(ModelContractError, match=r"no model\.onnx"):
        read_model_contract(tmp_path / "model.toml")


def test_an_onnx_file_elsewhere_is_refused(tmp_path: Path) -> None:
    tiny_model(tmp_path)
    edit(tmp_path / "model.toml", '"model.onnx"', '"../model.onnx"')
    with pytest.raises(ModelContractError, match="beside the contract"):
        read_model_contract(tmp_path / "model.toml")


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("threshold = 0.5", "treshold = 0.5", "decision.treshold"),
        ("threshold = 0.5", "threshold = nan", "threshold"),
        ("rows = 16\n", "", "input.rows"),
        ("rows = 16\n", "rows = 0\n", "rows"),
        ('"axial_slices"', '"sagittal"', "input.kind"),
        ('"maximum"', '"mean"', "output.study_score"),
        ("pixel_spacing_mm = 3.0", "pixel_spacing_mm = 0.0", "pixel_spacing_mm"),
    ],
)
def test_a_contract_that_does_not_fit_is_refused_by_its_field(tmp_path: Path, old: str, new: str, field: str) -> None:
    tiny_model(tmp_path)
    edit(tmp_path / "model.toml", old, new)
    with pytest.raises(ConfigurationError, match=field):
        read_model_contract(tmp_path / "model.toml")


def test_a_session_gives_one_score_a_slice(tmp_path: Path) -> None:
    session = OnnxSession(tiny_model(tmp_path))
    slices = np.zeros((3, 1, 16, 16), np.float32)
    slices[1, 0, 4, 5] = 80.0
    assert session.run(slices).tolist() == pytest.approx([0.0, 0.8, 0.0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "hu"', 'name = "image"', "inputs are"),
        ("columns = 16", "columns = 20", "the file takes"),
        ('score = "prob"', 'score = "logit"', "outputs are"),
    ],
)
def test_a_session_refuses_a_file_that_does_not_keep_the_contract(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    tiny_model(tmp_path)
    edit(tmp_path / "model.toml", old, new)
    with pytest.raises(ModelContractError, match=message):
        OnnxSession(read_model_contract(tmp_path / "model.toml"))


def test_a_free_dimension_of_the_file_takes_the_contracts_size(tmp_path: Path) -> None:
    assert OnnxSession(tiny_model(tmp_path, rows="rows")).run(np.zeros((2, 1, 16, 16), np.float32)).shape == (2,)


def test_a_file_that_changed_after_it_was_verified_is_not_loaded(tmp_path: Path) -> None:
    contract = tiny_model(tmp_path)
    contract.onnx_file.write_bytes(b"another model")
    with pytest.raises(ModelContractError, match="changed since"):
        OnnxSession(contract)
