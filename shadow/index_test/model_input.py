"""A study's copies as one model's input: series chosen, Hounsfield units, the model's grid, a digest over all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from shadow.domain.errors import NotEvaluable, UnreadableInstance
from shadow.index_test.instance import Instance, read_instance
from shadow.index_test.model import ModelContract
from shadow.index_test.series import SeriesVerdict, choose_series
from shadow.index_test.volume import Floats, build_volume, resample_slices
from shadow.protocol.trial import SeriesChoice


@dataclass(frozen=True, slots=True)
class ModelStudyInput:
    """What one model is given of one study.

    Attributes:
        slices: float32 (slices, 1, rows, columns), Hounsfield units.
        series_key: the chosen series.
        verdicts: every series' verdict.
        findings: of the geometry.
        sha256: over the shape and the array in C order, little endian.
    """

    slices: Floats
    series_key: str
    verdicts: tuple[SeriesVerdict, ...]
    findings: tuple[str, ...]
    sha256: str


def prepare_study(copies: Mapping[str, bytes], rules: SeriesChoice, contract: ModelContract) -> ModelStudyInput:
    """Read, choose, stack and resample one study.

    Raises:
        NotEvaluable: no series qualifies, slices are missing, or pixels cannot be read.
    """
    chosen = choose_series(_read(copies), rules)
    volume = build_volume(chosen.slices, rules.minimum_slices)
    grid = contract.input
    slices = resample_slices(volume, grid.rows, grid.columns, grid.pixel_spacing_mm, grid.outside_hu)
    batch = slices[:, None]
    digest = hashlib.sha256(f"float32 {batch.shape}\n".encode())
    digest.update(batch.astype("<f4", copy=False).tobytes())
    return ModelStudyInput(batch, chosen.series_key, chosen.verdicts, volume.findings, digest.hexdigest())


def _read(copies: Mapping[str, bytes]) -> list[Instance]:
    try:
        return [read_instance(copies[uid]) for uid in sorted(copies)]
    except UnreadableInstance as error:
        # The copy has the digest that admission noted, so it was written like this.
        raise NotEvaluable("unreadable_copy", error.reason) from error
