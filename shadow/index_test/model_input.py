"""A study's copies as one model's input: series chosen, Hounsfield units, the model's grid, a digest over all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from shadow.domain.errors import NotEvaluable, UnreadableInstance
from shadow.index_test.instance import Instance, read_instance
from shadow.index_test.model import InputKind, ModelContract, ModelInput
from shadow.index_test.pixels import Floats, hounsfield_units, intensities
from shadow.index_test.projection import choose_projections
from shadow.index_test.series import SeriesVerdict, Verdict, choose_series
from shadow.index_test.slide import cut_tiles
from shadow.index_test.volume import as_hung, build_volume, resample_slices
from shadow.protocol.trial import SeriesChoice

LOWEST_TISSUE_HU = -200.0
LOWEST_SHOWN, HIGHEST_SHOWN = 1.0, 99.0
"""Percentiles of an MR volume that stand for 0 and 1."""


@dataclass(frozen=True, slots=True)
class ModelStudyInput:
    """What one model is given of one study.

    Attributes:
        slices: float32 (items, channels, rows, columns), what the contract's kind of input says.
        series_key: the chosen series, of several the first.
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


@dataclass(frozen=True, slots=True)
class _Given:
    """The array (items, channels, rows, columns), where it came from, and what was odd."""

    array: Floats
    series_key: str
    verdicts: tuple[SeriesVerdict, ...]
    findings: tuple[str, ...]


def prepare_study(copies: Mapping[str, bytes], rules: SeriesChoice, contract: ModelContract) -> ModelStudyInput:
    """Read, choose and bring one study onto the model's grid, by the kind of input that its contract names.

    Raises:
        NotEvaluable: no series qualifies, slices are missing, pixels cannot be read, or `input_not_finite`.
    """
    given = _given(_read(copies), rules, contract)
    batch = np.ascontiguousarray(given.array)
    if not np.isfinite(batch).all():
        raise NotEvaluable("input_not_finite")
    digest = hashlib.sha256(f"float32 {batch.shape}\n".encode())
    digest.update(batch.astype("<f4", copy=False).data)
    is_ct = contract.input.kind is InputKind.AXIAL_SLICES
    return ModelStudyInput(
        batch,
        given.series_key,
        given.verdicts,
        given.findings,
        digest.hexdigest(),
        summary_of(batch) if is_ct else summary_of_intensities(batch),
    )


def _given(instances: list[Instance], rules: SeriesChoice, contract: ModelContract) -> _Given:
    grid = contract.input
    match grid.kind:
        case InputKind.AXIAL_SLICES:
            return _slices(instances, rules, grid, "CT")
        case InputKind.MR_SLICES:
            return _slices(instances, rules, grid, "MR")
        case InputKind.RADIOGRAPHS | InputKind.MAMMOGRAMS:
            found = choose_projections(
                instances,
                grid.rows,
                grid.columns,
                breasts=grid.kind is InputKind.MAMMOGRAMS,
                minimum_images=rules.minimum_slices,
            )
            chosen = next(one.series_key for one in found.verdicts if one.verdict is Verdict.CHOSEN)
            return _Given(found.images[:, None], chosen, found.verdicts, found.findings)
        case InputKind.SLIDE_TILES:
            tiles = cut_tiles(instances, grid.rows, grid.columns, grid.pixel_spacing_mm)
            return _Given(tiles.tiles, tiles.series_key, tiles.verdicts, tiles.findings)


def _slices(instances: list[Instance], rules: SeriesChoice, grid: ModelInput, modality: str) -> _Given:
    chosen = choose_series(instances, rules, modality)
    is_ct = modality == "CT"
    volume = build_volume(chosen.slices, rules.minimum_slices, hounsfield_units if is_ct else intensities)
    most = rules.gantry_tilt_degrees_maximum
    if most is not None and volume.tilt_degrees > most:
        raise NotEvaluable("gantry_tilt", f"{volume.tilt_degrees:.1f} degrees, at most {most:g}")
    outside = grid.outside_hu
    if is_ct:
        volume = as_hung(volume)
    else:
        low, high = (float(one) for one in np.percentile(volume.values, (LOWEST_SHOWN, HIGHEST_SHOWN)))
        scaled = np.clip((volume.values - low) / max(high - low, 1e-6), 0.0, 1.0).astype(np.float32)
        volume, outside = replace(volume, values=scaled), 0.0
    slices = resample_slices(volume, grid.rows, grid.columns, grid.pixel_spacing_mm, outside)
    return _Given(slices[:, None], chosen.series_key, chosen.verdicts, (*chosen.findings, *volume.findings))


def summary_of_intensities(batch: Floats) -> tuple[float, ...]:
    """The same for inputs between 0 and 1: items, share above 0, their mean and standard deviation, and quartiles.

    >>> summary_of_intensities(np.full((2, 1, 4, 4), 0.5, dtype=np.float32))
    (2.0, 1.0, 0.5, 0.0, 0.5, 0.5)
    """
    inside = batch[batch > 0].astype(np.float64)
    if not inside.size:
        return (float(batch.shape[0]), 0.0, 0.0, 0.0, 0.0, 0.0)
    quartiles = np.percentile(inside, (25, 75))
    shares = (inside.size / batch.size, inside.mean(), inside.std(), *quartiles)
    return (float(batch.shape[0]), *(round(float(one), 6) for one in shares))


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
