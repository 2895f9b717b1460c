"""Synthetic heads: anatomy, look-alikes and bleeds as a stack of thin sub-slices in Hounsfield units.

The distribution of patients and bleeds never depends on the scanner: whatever a scanner's images lose, they
lose in `acquisition`. Shapes and contrasts are rough textbook values; the heads are for rehearsal only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

MATRIX = 160
PIXEL_MM = 1.44
SUB_SLICE_MM = 2.5
SUB_SLICES = 32
LOWEST_MM = -30.0
AIR = -1000.0

_AXIS = ((np.arange(MATRIX, dtype=np.float32) - (MATRIX - 1) / 2) * PIXEL_MM).astype(np.float32)
GRID_X, GRID_Y = np.meshgrid(_AXIS, -_AXIS)
LEVEL = (LOWEST_MM + SUB_SLICE_MM * np.arange(SUB_SLICES)).astype(np.float32)
"""Height of each sub-slice in mm; 0 lies near the foramen of Monro."""


class Bleed(StrEnum):
    """The acute haemorrhages that a phantom can have."""

    INTRAPARENCHYMAL = "intraparenchymal"
    SUBDURAL = "subdural"
    EPIDURAL = "epidural"
    SUBARACHNOID = "subarachnoid"
    INTRAVENTRICULAR = "intraventricular"


BLEED_SHARES = (0.38, 0.27, 0.05, 0.22, 0.08)
SMALLEST_BLEED_ML = 0.25


@dataclass(frozen=True, slots=True)
class Patient:
    """Who is scanned, as far as the image is concerned."""

    age_years: int
    sex: str
    bleed: Bleed | None
    severity: float


@dataclass(frozen=True, slots=True)
class Head:
    """A head before any scanner saw it.

    Attributes:
        hounsfield: (sub-slices, rows, columns), Hounsfield units.
        bleed: (sub-slices, rows, columns), where the acute haemorrhage is.
        depth_mm: (sub-slices, rows, columns), distance inside the inner table; negative outside.
        bleed_ml: volume of the acute haemorrhage.
    """

    hounsfield: Float
    bleed: Mask
    depth_mm: Float
    bleed_ml: float


def draw_patient(random: np.random.Generator, probability_of_bleed: float, youngest: int = 18) -> Patient:
    """A patient with a bleed at this probability."""
    age = int(np.clip(random.normal(64, 19), youngest, 98))
    sex = "F" if random.random() < 0.5 else "M"
    bleed = None
    if random.random() < probability_of_bleed:
        bleed = list(Bleed)[int(random.choice(len(BLEED_SHARES), p=BLEED_SHARES))]
    return Patient(age, sex, bleed, float(np.exp(random.normal(0, 0.62))))


def build_head(seed: int, patient: Patient) -> Head:
    """The head of a patient; the same seed and patient give the same head. A bleed too small to be called grows."""
    head = _Builder(np.random.default_rng(seed), patient, patient.severity).head()
    if patient.bleed is not None and head.bleed_ml < SMALLEST_BLEED_ML:
        head = _Builder(np.random.default_rng(seed), patient, patient.severity * 2.2).head()
    return head


def _interpolation(points: int, knots: int) -> Float:
    """(points, knots) matrix of linear interpolation over an even grid."""
    position = np.linspace(0, knots - 1, points)
    left = np.minimum(position.astype(int), knots - 2)
    weight = (position - left).astype(np.float32)
    matrix = np.zeros((points, knots), np.float32)
    rows = np.arange(points)
    matrix[rows, left] = 1 - weight
    matrix[rows, left + 1] = weight
    return matrix


def smooth_field(random: np.random.Generator, correlation_mm: float) -> Float:
    """A smooth random field of about unit variance, (sub-slices, rows, columns)."""
    in_plane = int(np.ceil(MATRIX * PIXEL_MM / correlation_mm)) + 2
    along = max(3, int(np.ceil(SUB_SLICES * SUB_SLICE_MM / correlation_mm)) + 2)
    coarse = random.standard_normal((along, in_plane, in_plane)).astype(np.float32)
    matrix = _interpolation(MATRIX, in_plane)
    field = np.matmul(np.matmul(matrix, coarse), matrix.T)
    stack = np.tensordot(_interpolation(SUB_SLICES, along), field, 1)
    return (stack * np.float32(1.55)).astype(np.float32)


class _Builder:
    """Builds one head step by step on a shared grid."""

    def __init__(self, random: np.random.Generator, patient: Patient, severity: float) -> None:
        self.random = random
        self.patient = patient
        self.severity = severity
        self.atrophy = float(np.clip((patient.age_years - 30) / 60, 0, 1.1)) * random.uniform(0.6, 1.3)
        angle = np.deg2rad(random.normal(0, 4))
        shift_x, shift_y = random.normal(0, 3, 2)
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        x, y = GRID_X - np.float32(shift_x), GRID_Y - np.float32(shift_y)
        self.x: Float = (cosine * x + sine * y)[None]
        self.y: Float = (cosine * y - sine * x)[None]
        self.z: Float = LEVEL[:, None, None]
        self.angle: Float = np.arctan2(self.y, self.x)

    def head(self) -> Head:
        """All steps in order; the order is part of what a seed means."""
        self._skull()
        self.large, self.fold, self.fine = (smooth_field(self.random, scale) for scale in (22, 9, 4))
        self._brain()
        self._fluid_spaces()
        self._look_alikes()
        bleed = self._bleed()
        volume = np.where(self.inside, self.brain, self.outside)
        base = np.zeros_like(self.inside)
        for side in (-1, 1):
            base |= self._ellipsoid((side * 36, -16, -34), (26, 6, 9), -side * 0.55) < 1
        base &= self.inside
        volume[base] = 950
        bleed &= ~base
        millilitres = float(bleed.sum()) * PIXEL_MM * PIXEL_MM * SUB_SLICE_MM / 1000
        return Head(volume.astype(np.float32), bleed, self.depth, millilitres)

    def _ellipsoid(
        self, centre: tuple[float, float, float], axes: tuple[float, float, float], turn: float = 0.0
    ) -> Float:
        """An ellipsoid's implicit value: below 1 inside."""
        x, y = self.x - np.float32(centre[0]), self.y - np.float32(centre[1])
        if turn:
            cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            x, y = cosine * x + sine * y, cosine * y - sine * x
        plane = (x / np.float32(axes[0])) ** 2 + (y / np.float32(axes[1])) ** 2
        return plane + ((self.z - np.float32(centre[2])) / np.float32(axes[2])) ** 2

    def _fill(self, where: Mask, hounsfield: float) -> None:
        self.brain[where] = hounsfield

    def _skull(self) -> None:
        random = self.random
        half_width, half_length, height = random.normal(66, 2.5), random.normal(82, 3), random.normal(66, 3)
        taper = np.sqrt(np.clip(1 - (np.clip(self.z, 0, None) / height) ** 2, 0.05, 1))
        taper = (taper * (1 - 0.0016 * np.clip(-self.z, 0, None))).astype(np.float32)
        wobble = np.ones_like(self.angle)
        for order in (1, 2, 3, 4):
            wobble += np.float32(random.normal(0, 0.012 / order)) * np.cos(
                order * self.angle + np.float32(random.uniform(0, 2 * np.pi))
            )
        radius = np.sqrt(self.x**2 + self.y**2)
        table = wobble / np.sqrt((np.cos(self.angle) / half_width) ** 2 + (np.sin(self.angle) / half_length) ** 2)
        self.depth: Float = (taper * table - radius).astype(np.float32)
        self.half_length = float(half_length)
        self.inside: Mask = self.depth > 0
        thickness = random.normal(6.5, 0.8) * (1 + 0.25 * np.cos(2 * self.angle)) / np.clip(taper, 0.45, 1)
        scalp = float(np.clip(random.normal(7.0, 1.2), 4, 10))
        beyond = -self.depth - thickness
        volume = np.full(self.depth.shape, AIR, np.float32)
        volume[(beyond > 0) & (beyond < scalp)] = 35
        volume[(beyond > 0.45 * scalp) & (beyond < 0.8 * scalp)] = -70
        fraction = -self.depth / thickness
        volume[(fraction >= 0) & (fraction <= 1)] = random.normal(1250, 90)
        volume[(fraction > 0.3) & (fraction < 0.68)] = random.normal(620, 90)
        self.outside = volume

    def _brain(self) -> None:
        random = self.random
        grey, white = random.normal(37.5, 0.8), random.normal(29.5, 0.8)
        self.sulcus_width = 0.085 + 0.16 * self.atrophy
        folded = np.abs(self.fold)
        cortex = (self.depth < 5.5) | ((folded < self.sulcus_width + 0.34) & (self.depth < 23))
        self.brain: Float = np.where(cortex, np.float32(grey), np.float32(white)) + np.float32(0.9) * self.large
        for side in (-1, 1):
            self._fill(self._ellipsoid((side * 22, 6, 0), (7, 15, 13), side * 0.35) < 1, grey + 0.5)
            self._fill(self._ellipsoid((side * 10, -6, 2), (6, 10, 9)) < 1, grey - 0.5)
            self._fill(self._ellipsoid((side * 13, 20, 6), (4.5, 8, 9)) < 1, grey)
        if random.random() < (0.5 if self.patient.age_years > 65 else 0.08):
            around = ((np.abs(self.x) - 17) / 15) ** 2 + (self.y / 42) ** 2 + ((self.z - 14) / 15) ** 2 < 1
            self.brain[around] -= np.float32(random.uniform(4, 9))

    def _fluid_spaces(self) -> None:
        random = self.random
        self.fluid = float(random.normal(6, 1))
        self.sulci: Mask = (np.abs(self.fold) < self.sulcus_width) & (self.depth < 19 + 5 * self.large) & self.inside
        self.rim: Mask = (self.depth < 1.0 + 2.6 * self.atrophy) & self.inside
        width = max(0.45, 0.75 + 0.75 * self.atrophy + 0.12 * random.standard_normal())
        ventricles = self._ellipsoid((0, -2, -6), (1.6 * width, 13, 10)) < 1
        cisterns = (self._ellipsoid((0, 10, -28), (15, 9, 8)) < 1) | (self._ellipsoid((0, -8, -27), (17, 3.2, 7)) < 1)
        for side in (-1, 1):
            body = (side * 8 * (0.7 + 0.3 * width), 2, 14)
            ventricles |= self._ellipsoid(body, (4.2 * width, 27, 7 * width), side * 0.10) < 1
            ventricles |= self._ellipsoid((side * 8, 24, 6), (3.3 * width, 9, 9), -side * 0.45) < 1
            horn = (5.2 * width, 11, 10 * min(width, 1.2))
            ventricles |= self._ellipsoid((side * 20, -27, 6), horn, side * 0.5) < 1
            sylvian = (17, 1.6 + 2.0 * self.atrophy, 12)
            cisterns |= self._ellipsoid((side * 44, 10, -8), sylvian, side * 0.25) < 1
        self.ventricles: Mask = ventricles & (self.depth > 8)
        self.cisterns: Mask = cisterns & self.inside
        high_or_end = (np.abs(self.y) > 26) | (self.z > 24)
        self.midline: Mask = (np.abs(self.x) < 0.9 + 0.9 * self.atrophy) & high_or_end & self.inside
        self._fill(self.sulci | self.rim | self.cisterns | self.midline, self.fluid)
        self._fill(self.ventricles, self.fluid - 1)
        beyond = (self.y > 30) | (self.y < -38) | (self.z > 30)
        self._fill((np.abs(self.x + 0.6 * self.large) < 0.8) & beyond & self.inside, 48)

    def _look_alikes(self) -> None:
        """Calcifications, an old infarct, a chronic subdural, a dense sinus: bright or dark, never acute."""
        random, age = self.random, self.patient.age_years
        if random.random() < (0.45 if age > 40 else 0.1):
            for side in (-1, 1):
                plexus = self._ellipsoid((side * 20, -25, 4), (2.6, 4.0, 4)) < random.uniform(0.3, 1.1)
                self._fill(plexus, random.uniform(80, 320))
        if random.random() < 0.18:
            place = (0, random.uniform(25, 55), random.uniform(5, 30))
            self._fill((self._ellipsoid(place, (1.6, 6, 6)) < 1) & self.inside, random.uniform(120, 500))
        if random.random() < 0.06:
            for side in (-1, 1):
                self._fill(self._ellipsoid((side * 17, 6, 1), (2.6, 4.5, 4)) < 1, random.uniform(60, 140))
        self._fill(self._ellipsoid((0, -20, -2), (1.8, 2, 2.5)) < 1, random.uniform(40, 260))
        if random.random() < (0.10 if age > 55 else 0.02):
            side = random.choice([-1, 1])
            place = (side * random.uniform(30, 46), random.uniform(-45, 30), random.uniform(-10, 30))
            old = self._ellipsoid(place, (14, 20, 14)) + 0.35 * self.fold < 0.8
            self._fill(old & self.inside, random.uniform(9, 17))
        if random.random() < (0.03 if age > 65 else 0.005):
            thick = random.uniform(5, 11) * np.clip(1 - (self._from(random.uniform(0, 6.28)) / 0.7) ** 2, 0, 1)
            self._fill(self.inside & (self.depth < thick), random.uniform(14, 24))
        sinus = (self._ellipsoid((0, -self.half_length + 6, 0), (5, 5, 60)) < 1) & self.inside
        self._fill(sinus, random.uniform(56, 66) if random.random() < 0.10 else random.uniform(44, 54))

    def _from(self, direction: float) -> Float:
        """Angular distance from a direction, radians."""
        return np.abs(np.angle(np.exp(1j * (self.angle - np.float32(direction)))))

    def _bleed(self) -> Mask:
        blood = self.random.uniform(54, 76)
        match self.patient.bleed:
            case None:
                return np.zeros_like(self.inside)
            case Bleed.INTRAPARENCHYMAL:
                return self._intraparenchymal(blood)
            case Bleed.SUBDURAL | Bleed.EPIDURAL:
                return self._extra_axial(blood)
            case Bleed.SUBARACHNOID:
                return self._subarachnoid(blood)
            case Bleed.INTRAVENTRICULAR:
                level = self.random.uniform(-24, -6) + 7 * self.severity
                where = self.ventricles & (self.y < level)
                self._fill(where, blood * self.random.uniform(0.85, 1))
                return where

    def _intraparenchymal(self, blood: float) -> Mask:
        random, side = self.random, self.random.choice([-1, 1])
        radius = 9.5 * self.severity**0.75
        deep = random.random() < 0.6
        place = (
            (side * random.uniform(16, 27), random.uniform(-12, 14), random.uniform(-4, 14))
            if deep
            else (side * random.uniform(22, 44), random.uniform(-52, 48), random.uniform(-12, 34))
        )
        axes = (
            radius * random.uniform(0.7, 1.1),
            radius * random.uniform(0.8, 1.4),
            radius * random.uniform(0.7, 1.1),
        )
        shape = self._ellipsoid(place, axes, random.uniform(-0.6, 0.6)) + 0.30 * self.fold + 0.12 * self.fine
        where = (shape < 1) & (self.depth > 1.5)
        oedema = (shape < 1 + random.uniform(0.25, 0.9)) & ~where & (self.depth > 2)
        self.brain[oedema] = np.minimum(self.brain[oedema], np.float32(random.uniform(17, 23)))
        self.brain[where] = np.float32(blood) + 2.5 * self.fine[where]
        if self.severity > 1.6 and random.random() < 0.5:
            broken_through = self.ventricles & (self.y < -14)
            self._fill(broken_through, blood - 6)
            where |= broken_through
        return where

    def _extra_axial(self, blood: float) -> Mask:
        random = self.random
        direction = random.choice([0, np.pi]) + random.normal(0, 0.5)
        centre = random.uniform(-5, 28)
        if self.patient.bleed is Bleed.SUBDURAL:
            width, thickness, power = random.uniform(0.6, 1.25), 4.6 * self.severity**0.8, 4
            height = random.uniform(16, 34)
        else:
            width, thickness, power = random.uniform(0.28, 0.5), 9.5 * self.severity**0.7, 2
            height = random.uniform(11, 20)
        around = np.clip(1 - (self._from(direction) / width) ** power, 0, 1)
        along = np.clip(1 - (np.abs(self.z - centre) / height) ** 4, 0, 1)
        thick = thickness * around * along * (1 + 0.12 * self.large)
        where = self.inside & (self.depth < thick) & (thick > 0.8)
        self.brain[where] = np.float32(blood * random.uniform(0.86, 1.0)) + 2.0 * self.fine[where]
        return where

    def _subarachnoid(self, blood: float) -> Mask:
        random = self.random
        share = float(np.clip(0.62 * self.severity**0.7, 0.22, 1.0))
        near = self._from(random.uniform(0, 6.28)) < 0.45 + 0.75 * self.severity
        region = near & (np.abs(self.z - random.uniform(-20, 25)) < 12 + 12 * self.severity)
        if random.random() < 0.45:
            region = region | ((self.z < -12) & (self.x**2 + self.y**2 < 48**2))
        spaces = self.sulci | self.cisterns | self.midline | (self.rim & (self.fold > 0.2))
        where = spaces & region & self.inside
        self.brain[where] = np.float32(self.fluid + (blood - self.fluid) * share) + 3 * self.fine[where]
        return where
