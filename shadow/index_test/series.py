"""Which series of a study feeds the model: hard filters, one preference, a fixed tie-break, every verdict kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np

from shadow.domain.errors import NotEvaluable
from shadow.index_test.frames import Frame, frames_of
from shadow.index_test.geometry import distinct_places, is_spacing, same_geometry
from shadow.index_test.instance import Instance
from shadow.index_test.sop_classes import CT_SLICES, MR_SLICES
from shadow.protocol.trial import SeriesChoice

AXIAL_NORMAL_MINIMUM = 0.8
"""|z| of the unit normal; a gantry tilt of 30 degrees leaves 0.87."""
FARTHEST_MM = 1e5
"""From the origin of the patient's coordinates; beyond, the number is no place."""
SLICE_CLASSES = {"CT": CT_SLICES, "MR": MR_SLICES}
_GREY = {"", "MONOCHROME1", "MONOCHROME2"}
"""What is none of these has colours, or their numbers in a palette, for stored values (PS3.3 C.7.6.3.1.2)."""
LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM"}
NOT_ACQUIRED = {"MPR", "REFORMATTED", "MIP", "MINIP", "AVERAGE", "PROJECTION IMAGE", "CSA MPR", "VOLUME RENDERING"}


class Verdict(StrEnum):
    """What became of a series."""

    CHOSEN = "chosen"
    NOT_PREFERRED = "not_preferred"
    WRONG_SOP_CLASS = "wrong_sop_class"
    LOCALIZER = "localizer"
    DERIVED = "derived"
    BURNED_IN = "burned_in"
    COLOUR = "colour"
    NOT_COLOUR = "not_colour"
    NO_GEOMETRY = "no_geometry"
    NO_PIXEL_SPACING = "no_pixel_spacing"
    NOT_AXIAL = "not_axial"
    TOO_FEW_SLICES = "too_few_slices"
    NO_SLICE_THICKNESS = "no_slice_thickness"
    TOO_THICK = "too_thick"
    FOR_PROCESSING = "for_processing"
    TOO_COARSE = "too_coarse"
    TOO_FINE = "too_fine"


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """One series and its verdict.

    Attributes:
        series_key: the copy's Series Instance UID.
        slices: images that passed the filters of one image.
        slice_thickness_mm: the thickest of them; None where one does not say.
        convolution_kernel: (0018,1210), all its values; empty where there is none.
        places: at which those of them lie that share the commonest geometry: phases and runs over one place count once.
            None where images have no place.
        runs: how many whole times they are there.
    """

    series_key: str
    series_number: int
    slices: int
    slice_thickness_mm: float | None
    verdict: Verdict
    convolution_kernel: str = ""
    places: int | None = None
    runs: int = 1

    def in_words(self) -> str:
        """For the ledger: pseudonym, verdict, and what it rests on.

        >>> SeriesVerdict("2.25.1", 3, 30, 5.0, Verdict.CHOSEN, "H30s").in_words()
        '2.25.1 chosen number=3 images=30 thickness=5 kernel=H30s'
        """
        thickness = "" if self.slice_thickness_mm is None else f" thickness={self.slice_thickness_mm:g}"
        kernel = "".join(one for one in self.convolution_kernel if one.isascii() and one.isprintable())[:16]
        shown = f" kernel={kernel}" if kernel else ""
        places = "" if self.places in (None, self.slices) else f" places={self.places}"
        images = f"images={self.slices}{places}"
        return f"{self.series_key} {self.verdict} number={self.series_number} {images}{thickness}{shown}"


@dataclass(frozen=True, slots=True)
class ChosenSeries:
    """The series that feeds the model, and every series' verdict, the chosen one's too.

    Attributes:
        findings: what of the chosen series was left out: `localizer_left_out`, `derived_left_out` and the like.
    """

    series_key: str
    slices: tuple[Frame, ...]
    verdicts: tuple[SeriesVerdict, ...]
    findings: tuple[str, ...] = ()


def choose_series(instances: Sequence[Instance], rules: SeriesChoice, modality: str = "CT") -> ChosenSeries:
    """The series of the most preferred kernel; then nearest in thickness, fewest runs, most places, lower number, UID.

    A perfusion scan goes many times over its places, and a wide detector gives it as many of them as a head has.

    Args:
        instances: of one study.
        rules: the protocol's.
        modality: CT or MR; slices of MR may lie in any plane.

    Raises:
        NotEvaluable: `no_series_qualifies`; the detail counts the verdicts.
    """
    by_series: dict[str, list[Instance]] = {}
    for instance in instances:
        by_series.setdefault(instance.text("SeriesInstanceUID"), []).append(instance)
    judged = {key: _judge(key, frames_of(by_series[key]), rules, modality) for key in sorted(by_series)}
    fitting = [verdict for verdict, _ in judged.values() if verdict.verdict is Verdict.NOT_PREFERRED]
    if not fitting:
        counted = Counter(verdict.verdict.value for verdict, _ in judged.values())
        raise NotEvaluable("no_series_qualifies", " ".join(f"{reason}={counted[reason]}" for reason in sorted(counted)))
    best = min(fitting, key=lambda one: _preference(one, rules)).series_key
    verdicts = tuple(
        replace(one, verdict=Verdict.CHOSEN) if one.series_key == best else one for one, _ in judged.values()
    )
    refusals = {_refusal(frame, modality) for frame in frames_of(by_series[best])} - {None}
    findings = tuple(sorted(f"{refusal}_left_out" for refusal in refusals))
    return ChosenSeries(best, tuple(judged[best][1]), verdicts, findings)


def _preference(series: SeriesVerdict, rules: SeriesChoice) -> tuple[int, float, int, int, int, str]:
    assert series.slice_thickness_mm is not None
    assert series.places is not None
    rank = kernel_rank(series.convolution_kernel, rules)
    distance = abs(series.slice_thickness_mm - rules.preferred_slice_thickness_mm)
    return rank, distance, series.runs, -series.places, series.series_number, series.series_key


def kernel_rank(kernel: str, rules: SeriesChoice) -> int:
    r"""The place of a kernel among the preferred ones, by its first value or by all (`Hr40f\3`); else behind the last.

    0 for every kernel where the protocol prefers none.
    """
    whole = kernel.casefold()
    own = (whole, whole.partition("\\")[0])
    ranks = (rank for rank, one in enumerate(rules.preferred_kernels) if one.casefold() in own)
    return next(ranks, len(rules.preferred_kernels))


def _judge(key: str, frames: list[Frame], rules: SeriesChoice, modality: str) -> tuple[SeriesVerdict, list[Frame]]:
    """One series' verdict (`NOT_PREFERRED` where it fits) and its images that passed."""
    refusals = [_refusal(frame, modality) for frame in frames]
    passed = [frame for frame, refusal in zip(frames, refusals, strict=True) if refusal is None]
    thicknesses = [frame.number("SliceThickness") for frame in passed]
    known = [one for one in thicknesses if one is not None and one > 0]
    thickest = max(known) if known and len(known) == len(thicknesses) else None
    places, runs = _places_and_runs(passed) if passed else (0, 1)
    if not passed:
        counted = Counter(refusal for refusal in refusals if refusal is not None)
        verdict = min(counted, key=lambda reason: (-counted[reason], reason.value))
    elif places < rules.minimum_slices:
        verdict = Verdict.TOO_FEW_SLICES
    elif thickest is None:
        verdict = Verdict.NO_SLICE_THICKNESS
    elif thickest > rules.slice_thickness_mm_maximum:
        verdict = Verdict.TOO_THICK
    else:
        verdict = Verdict.NOT_PREFERRED
    number = int(frames[0].number("SeriesNumber") or 0)
    kernel = "\\".join((passed or frames)[0].texts("ConvolutionKernel"))
    return SeriesVerdict(key, number, len(passed), thickest, verdict, kernel, places, runs), passed


def _places_and_runs(slices: Sequence[Frame]) -> tuple[int, int]:
    """At how many places the volume of these images would have a slice, and how many of them lie at each."""
    kept = same_geometry(slices, [])
    normal = slice_normal(kept[0])
    assert normal is not None, "an image without geometry is refused"
    places = len(distinct_places(kept, np.array([one.numbers("ImagePositionPatient") for one in kept]) @ normal))
    return places, len(kept) // places


def _refusal(instance: Frame, modality: str) -> Verdict | None:
    """Why one image cannot be a slice of the model's input, or None."""
    if instance.text("SOPClassUID") not in SLICE_CLASSES[modality]:
        return Verdict.WRONG_SOP_CLASS
    image_type = [one.upper() for one in instance.texts("ImageType")]
    if LOCALIZERS.intersection(image_type):
        return Verdict.LOCALIZER
    if image_type[:1] not in ([], ["ORIGINAL"]) or image_type[1:2] not in ([], ["PRIMARY"]):
        return Verdict.DERIVED
    if NOT_ACQUIRED.intersection(image_type):
        return Verdict.DERIVED
    if instance.text("BurnedInAnnotation").upper() == "YES":
        return Verdict.BURNED_IN
    if instance.text("PhotometricInterpretation").upper() not in _GREY:
        return Verdict.COLOUR
    normal = slice_normal(instance)
    position = instance.numbers("ImagePositionPatient")
    if normal is None or len(position) != 3 or max(map(abs, position)) > FARTHEST_MM:
        return Verdict.NO_GEOMETRY
    if not is_spacing(instance.numbers("PixelSpacing")):
        return Verdict.NO_PIXEL_SPACING
    if modality == "CT" and abs(normal[2]) < AXIAL_NORMAL_MINIMUM:
        return Verdict.NOT_AXIAL
    return None


def slice_normal(instance: Frame) -> np.ndarray | None:
    """The unit normal of Image Orientation (Patient), or None where it is absent or not orthonormal."""
    return _normal(instance.numbers("ImageOrientationPatient"))


@lru_cache(maxsize=256)
def _normal(values: tuple[float, ...]) -> np.ndarray | None:
    """Cached, because the slices of a series share it."""
    if len(values) != 6:
        return None
    row, column = np.array(values[:3]), np.array(values[3:])
    lengths = np.array([row @ row, column @ column])
    if not (np.all(np.abs(lengths - 1.0) < 0.02) and abs(row @ column) < 0.01):
        return None
    normal = np.cross(row, column)
    normal.setflags(write=False)
    return normal
