"""Scans a head: partial volume, point spread, kernel, noise, beam hardening, motion, tilt, calibration drift."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shadow.rehearsal.phantom import (
    GRID_X,
    GRID_Y,
    LEVEL,
    LOWEST_MM,
    MATRIX,
    PIXEL_MM,
    SUB_SLICE_MM,
    SUB_SLICES,
    Float,
    Head,
)
from shadow.rehearsal.scanners import ScannerPhysics

_FREQUENCY = np.sqrt(
    np.fft.fftfreq(MATRIX, PIXEL_MM)[:, None] ** 2 + np.fft.rfftfreq(MATRIX, PIXEL_MM)[None] ** 2
).astype(np.float32)
_RADIUS = np.sqrt(GRID_X**2 + GRID_Y**2) / PIXEL_MM
_PETROUS = np.exp(-(((GRID_Y + 16) / 9) ** 2)) * np.exp(-((GRID_X / 36) ** 2))
FWHM_OVER_SIGMA = 2.355


def acquire(seed: int, head: Head, physics: ScannerPhysics) -> NDArray[np.int16]:
    """The slices that a scanner makes of a head, (slices, rows, columns), Hounsfield units, lowest first."""
    random = np.random.default_rng(seed)
    volume, depth = _tilted(_at_voltage(head, physics), head.depth_mm, physics)
    per_slice = round(physics.slice_thickness_mm / SUB_SLICE_MM)
    count = SUB_SLICES // per_slice
    blocks = (count, per_slice, MATRIX, MATRIX)
    slices: Float = np.clip(volume, -1000, 3000).reshape(blocks).mean(1)
    inside_depth: Float = depth.reshape(blocks).mean(1)
    if random.random() < physics.motion_probability:
        _move(random, slices)
    sigma = physics.resolution_mm / FWHM_OVER_SIGMA / PIXEL_MM
    slices = ndimage.gaussian_filter(slices, (0, sigma, sigma))
    if physics.edge_enhancement:
        slices += physics.edge_enhancement * (slices - ndimage.gaussian_filter(slices, (0, 0.75, 0.75)))
    _harden(random, slices, inside_depth, physics)
    slices += _noise(random, physics, count) * _noise_level(inside_depth, physics)
    slices = slices * np.float32(physics.calibration_gain) + np.float32(physics.calibration_offset_hu)
    return np.clip(np.rint(slices), -1024, 3071).astype(np.int16)


def _at_voltage(head: Head, physics: ScannerPhysics) -> Float:
    """A harder beam separates blood from brain less and makes bone less dense."""
    if physics.blood_contrast == 1.0:
        return head.hounsfield
    volume = head.hounsfield.copy()
    soft = (head.depth_mm > 0) & (volume < 100)
    volume[soft] = 33 + (volume[soft] - 33) * np.float32(physics.blood_contrast)
    volume[volume > 300] *= np.float32(0.93)
    return volume


def _tilted(volume: Float, depth: Float, physics: ScannerPhysics) -> tuple[Float, Float]:
    """A tilted gantry shears the stack."""
    if not physics.gantry_tilt_degrees:
        return volume, depth
    shifts = np.tan(np.deg2rad(physics.gantry_tilt_degrees)) * LEVEL / PIXEL_MM * 0.35
    return _sheared(volume, shifts), _sheared(depth, shifts)


def _sheared(stack: Float, shifts: Float) -> Float:
    """Each slice shifted along its rows by linear interpolation; the border repeats."""
    rows = np.arange(MATRIX, dtype=np.float32)
    sheared = np.empty_like(stack)
    for number, shift in enumerate(shifts):
        source = np.clip(rows - shift, 0, MATRIX - 1)
        lower = np.minimum(source.astype(int), MATRIX - 2)
        weight = (source - lower)[:, None]
        sheared[number] = stack[number, lower] * (1 - weight) + stack[number, lower + 1] * weight
    return sheared


def _move(random: np.random.Generator, slices: Float) -> None:
    for number in range(len(slices)):
        if random.random() < 0.5:
            turned = ndimage.rotate(slices[number], random.normal(0, 2.2), reshape=False, order=1, mode="nearest")
            shift = random.normal(0, 2.0 * 0.9 / PIXEL_MM, 2)
            moved = ndimage.shift(turned, shift, order=1, mode="nearest")
            slices[number] = 0.6 * slices[number] + 0.4 * moved


def _harden(random: np.random.Generator, slices: Float, depth: Float, physics: ScannerPhysics) -> None:
    if physics.cupping_hu:
        rim = np.exp(-np.clip(depth, 0, 99) / 7.0)
        slices += np.where(depth > 0, np.float32(physics.cupping_hu) * rim, 0)
    thickness = physics.slice_thickness_mm
    level = LOWEST_MM + (np.arange(len(slices)) + 0.5) * thickness - SUB_SLICE_MM / 2
    band = np.exp(-(((level + 31) / 9) ** 2))[:, None, None] * _PETROUS
    slices -= (physics.skull_base_band_hu * band).astype(np.float32)
    if physics.ring_hu:
        profile = random.standard_normal(MATRIX) * (random.random(MATRIX) < 0.10)
        smoothed = ndimage.gaussian_filter1d(profile, 0.6) * 2.2
        rings = np.interp(_RADIUS.ravel(), np.arange(MATRIX), smoothed).reshape(MATRIX, MATRIX)
        slices += (physics.ring_hu * rings).astype(np.float32)


def _noise(random: np.random.Generator, physics: ScannerPhysics, count: int) -> Float:
    """Correlated noise of unit variance: a ramp apodised by the kernel's transfer function."""
    sigma = physics.resolution_mm / FWHM_OVER_SIGMA
    transfer = np.exp(-2 * (np.pi * sigma * _FREQUENCY) ** 2)
    transfer *= 1 + 2 * physics.edge_enhancement * (1 - np.exp(-((_FREQUENCY / 0.35) ** 2)))
    amplitude = np.sqrt(_FREQUENCY + 0.02) * transfer
    white = random.standard_normal((count, MATRIX, MATRIX), dtype=np.float32)
    coloured = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=(MATRIX, MATRIX)).astype(np.float32)
    return coloured / np.float32(coloured.std())


def _noise_level(depth: Float, physics: ScannerPhysics) -> Float:
    """Fewer photons reach the centre of the head; thicker slices collect more of them."""
    per_slice = physics.noise_hu * np.sqrt(5.0 / physics.slice_thickness_mm)
    level = np.where(depth > 0, np.exp(np.clip(depth, 0, 60) / 95), 0.8)
    return (per_slice * level).astype(np.float32)
