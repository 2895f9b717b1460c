"""A study's copies as one model's input: series chosen, Hounsfield units, the model's grid, a digest over all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shadow.domain.errors import NotEvaluable, UnreadableInstance
from shadow.index_test.instance import Instance, read_instance
from shadow.index_test.model import ModelContract
from shadow.index_test.series import SeriesVerdict, choose_series
from shadow.index_test.volume import Floats, build_volume, resample_slices
from shadow.protocol.trial import SeriesChoice

LOWEST_TISSUE_HU = -200.0


@dataclass(frozen=True, slots=True)
class ModelStudyInput:
    """What one model is given of one study.

    Attributes:
        slices: float32 (slices, 1, rows, columns), Hounsfield units.
        series_key: the chosen series.
        verdicts: every series' verdict.
        findings: of the geometry.
        sha256: over the shape and the array in C order, little endian.
        summary: see `summary_of`.
    """

    slices: Floats
    series_key: str
    verdicts: tuple[SeriesVerdict, ...]
    findings: tuple[str, ...]
    sha256: str
    summary: tuple[float, ...]


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
    return ModelStudyInput(
        batch, chosen.series_key, chosen.verdicts, volume.findings, digest.hexdigest(), summary_of(batch)
    )


def summary_of(batch: Floats) -> tuple[float, ...]:
    """A study in six numbers, by which drift of what the model sees is watched.

    Slices; then of all pixels of the input from -200 HU up: their share, mean and standard deviation (HU), and the
    shares of them within 0 to 60 HU (soft tissue) and within 60 to 100 HU (fresh blood). Rounded to six digits.

    >>> summary_of(np.full((2, 1, 4, 4), 30.0, dtype=np.float32))
    (2.0, 1.0, 30.0, 0.0, 1.0, 0.0)
    """
    inside = batch[batch >= LOWEST_TISSUE_HU].astype(np.float64)
    if not inside.size:
        return (float(batch.shape[0]), 0.0, 0.0, 0.0, 0.0, 0.0)
    soft, blood = (inside >= 0) & (inside < 60), (inside >= 60) & (inside < 100)
    shares = (inside.size / batch.size, inside.mean(), inside.std(), soft.mean(), blood.mean())
    return (float(batch.shape[0]), *(round(float(one), 6) for one in shares))


def _read(copies: Mapping[str, bytes]) -> list[Instance]:
    try:
        return [read_instance(copies[uid]) for uid in sorted(copies)]
    except UnreadableInstance as error:
        # The copy has the digest that admission noted, so it was written like this.
        raise NotEvaluable("unreadable_copy", error.reason) from error
