"""Whether a study that still grows already holds the series that the models need: its first revision may then close.

A head CT that is followed by an angiography on the same association would otherwise wait for it. The series must fit
the protocol's rules, have the most preferred kernel and the preferred thickness, and have had no new image for a while.
What comes later makes revision 2, as always.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydicom.tag import BaseTag

from shadow.domain.errors import NotEvaluable, UnreadableInstance
from shadow.index_test.arrival import near_start
from shadow.index_test.instance import read_instance
from shadow.index_test.series import choose_series, kernel_rank
from shadow.protocol.trial import SeriesChoice

SAME_THICKNESS_MM = 0.5
SERIES_INSTANCE_UID = BaseTag(0x0020000E)


@dataclass(slots=True)
class _Series:
    last_image_at: float
    files: set[Path] = field(default_factory=set)
    judged: int = 0
    is_needed: bool = False


class EarlyStart:
    """Follows the series of open studies. One thread uses it; instants are `time.monotonic()` seconds.

    Args:
        rules: the protocol's; `start_after_quiet_seconds` is set.
        modality: of the models' input, CT or MR.
    """

    def __init__(self, rules: SeriesChoice, modality: str) -> None:
        assert rules.start_after_quiet_seconds is not None
        self._rules, self._modality = rules, modality
        self._quiet_seconds = rules.start_after_quiet_seconds
        self._studies: dict[str, dict[str, _Series]] = {}

    def saw(self, study_key: str, file: Path, at: float) -> None:
        """An instance was sorted to its study."""
        try:
            (uid,) = near_start(file, SERIES_INSTANCE_UID)
        except (OSError, UnreadableInstance):
            return
        series = self._studies.setdefault(study_key, {}).setdefault(uid, _Series(at))
        series.last_image_at = max(at, series.last_image_at)
        series.files.add(file)

    def ready(self, study_key: str, at: float) -> bool:
        """Whether one of the study's series is the one that is needed, and quiet. A series is judged once a size."""
        for series in self._studies.get(study_key, {}).values():
            quiet = at - series.last_image_at >= self._quiet_seconds
            if not quiet or len(series.files) < self._rules.minimum_slices:
                continue
            if series.judged != len(series.files):
                series.judged, series.is_needed = len(series.files), self._is_needed(series)
            if series.is_needed:
                return True
        return False

    def forget(self, study_key: str) -> None:
        """The study's revision was closed."""
        self._studies.pop(study_key, None)

    def _is_needed(self, series: _Series) -> bool:
        try:
            instances = [read_instance(file.read_bytes()) for file in sorted(series.files)]
            chosen = choose_series(instances, self._rules, self._modality)
        except (NotEvaluable, UnreadableInstance, OSError):
            return False
        verdict = next(one for one in chosen.verdicts if one.series_key == chosen.series_key)
        preferred = kernel_rank(verdict.convolution_kernel, self._rules) == 0
        thickness = verdict.slice_thickness_mm
        distance = abs((thickness or 0.0) - self._rules.preferred_slice_thickness_mm)
        return preferred and thickness is not None and distance <= SAME_THICKNESS_MM
