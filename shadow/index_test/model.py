"""The contract of a model: model.toml beside its ONNX file, read strictly, checked against the file's digest."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from shadow.domain.errors import ModelContractError
from shadow.protocol.reader import read_toml


class InputKind(StrEnum):
    """What one input of the model is: float32 (items, channels, rows, columns)."""

    AXIAL_SLICES = "axial_slices"  # CT, Hounsfield units
    MR_SLICES = "mr_slices"  # MR in any plane, intensities between the volume's 1st and 99th percentile as 0 to 1
    RADIOGRAPHS = "radiographs"  # CR and DX for presentation, 0 to 1, dense tissue high
    MAMMOGRAMS = "mammograms"  # the same, chest wall at the left
    SLIDE_TILES = "slide_tiles"  # whole-slide microscopy: red, green, blue, 0 to 1, glass left out


class StudyScore(StrEnum):
    """How a study's score comes from the scores of its slices."""

    MAXIMUM = "maximum"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The contract's table `model`.

    Attributes:
        file: the ONNX file, beside the contract.
        sha256: of that file, hex.
        demonstration: true where the model is only for show; every page then says so.
    """

    identifier: str
    version: str
    title: str
    intended_use: str
    file: str
    sha256: str
    target_condition: str
    demonstration: bool = False


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The contract's table `input`; see `InputKind` for what it holds.

    Attributes:
        name: of the ONNX input.
        pixel_spacing_mm: of the square grid that slices are resampled to, centred on the image centre, or that tiles
            are cut to; not for radiographs and mammograms, which fill the grid.
        outside_hu: what stands where the grid reaches beyond a CT image; only there.
    """

    name: str
    kind: InputKind
    rows: int
    columns: int
    pixel_spacing_mm: float = 0.0
    outside_hu: float = math.nan

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError("rows, columns: must be at least 1")
        fills_its_grid = self.kind in (InputKind.RADIOGRAPHS, InputKind.MAMMOGRAMS)
        if not fills_its_grid and not (math.isfinite(self.pixel_spacing_mm) and self.pixel_spacing_mm > 0):
            raise ValueError("pixel_spacing_mm: must be above 0")
        if self.kind is InputKind.AXIAL_SLICES and not math.isfinite(self.outside_hu):
            raise ValueError("outside_hu: is missing; write what stands beyond the image, for example -1024.0")

    @property
    def channels(self) -> int:
        """Of one item."""
        return 3 if self.kind is InputKind.SLIDE_TILES else 1


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """The contract's table `output`: the ONNX output with one score a slice, and what makes a study's of it."""

    score: str
    study_score: StudyScore


@dataclass(frozen=True, slots=True)
class ModelDecision:
    """The contract's table `decision`: a study whose score reaches the threshold is positive."""

    threshold: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ValueError("threshold: must be a number")


@dataclass(frozen=True, slots=True)
class _ContractFile:
    model: ModelIdentity
    input: ModelInput
    output: ModelOutput
    decision: ModelDecision


@dataclass(frozen=True, slots=True)
class ModelContract:
    """One model as it may be run: what goes in, what comes out, and the file that does it."""

    identity: ModelIdentity
    input: ModelInput
    output: ModelOutput
    threshold: float
    onnx_file: Path

    @property
    def identifier(self) -> str:
        """The model's name in tables."""
        return self.identity.identifier

    @property
    def version(self) -> str:
        """The model's version as its maker counts it."""
        return self.identity.version

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the ONNX file, verified when the contract was read."""
        return self.identity.sha256

    @property
    def demonstration(self) -> bool:
        """Whether the model is only for show."""
        return self.identity.demonstration


def read_model_contract(path: Path) -> ModelContract:
    """Read model.toml and verify the ONNX file that it names.

    Raises:
        ConfigurationError: a key is missing, unknown or of the wrong kind.
        ModelContractError: the ONNX file is missing, or is not the one whose digest the contract gives.
    """
    content = read_toml(path, _ContractFile)
    onnx_file = path.parent / content.model.file
    if Path(content.model.file).name != content.model.file:
        raise ModelContractError(f"{path}: model.file: must be the name of a file beside the contract")
    try:
        digest = hashlib.sha256(onnx_file.read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise ModelContractError(f"{path}: model.file: there is no {content.model.file} beside it") from error
    if digest != content.model.sha256:
        raise ModelContractError(f"{path}: model.sha256: {content.model.file} has {digest}")
    return ModelContract(content.model, content.input, content.output, content.decision.threshold, onnx_file)
