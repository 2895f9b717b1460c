"""When a study revision is complete: quiet, and no association that carried it is still open.

DICOM has no message that says "this was the last image". The end of an association is only a hint, because
routers open one a series or one an image. So a revision closes after a quiet period, and a router that is
still connected may take as long as it likes, up to a cap that keeps a permanently open association, or a study that
never stops trickling, from holding a study back for ever. All instants here are `time.monotonic()` seconds: real,
never compressed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

SECONDS_AT_MOST = 5400.0
"""From a revision's first instance to its closing, whatever still comes."""

AssociationIsOpen = Callable[[], bool]


@dataclass(slots=True)
class _Activity:
    opened_at: float
    last_instance_at: float
    carriers: list[AssociationIsOpen] = field(default_factory=list)


class Completion:
    """Knows the open study revisions, and which of them have become complete. One thread uses it."""

    def __init__(self, quiet_period_seconds: float) -> None:
        self._quiet_period_seconds = quiet_period_seconds
        self._activities: dict[str, _Activity] = {}

    def touch(self, study_key: str, at: float, carrier: AssociationIsOpen | None) -> None:
        """An instance of the study arrived.

        Args:
            study_key: the study's surrogate.
            at: monotonic seconds at which the instance was acknowledged.
            carrier: tells whether the association that brought it is still open; None after a restart.
        """
        activity = self._activities.setdefault(study_key, _Activity(at, at))
        activity.last_instance_at = max(at, activity.last_instance_at)
        if carrier is not None and carrier not in activity.carriers:
            # Those that have ended are let go: each holds on to its association.
            activity.carriers = [one for one in activity.carriers if one()]
            activity.carriers.append(carrier)

    def due(self, at: float) -> list[str]:
        """The studies that are complete at this monotonic instant, longest quiet first."""
        quiet = [
            (activity.last_instance_at, study_key)
            for study_key, activity in self._activities.items()
            if self._is_quiet(activity, at) or at - activity.opened_at >= SECONDS_AT_MOST
        ]
        return [study_key for _, study_key in sorted(quiet)]

    def forget(self, study_key: str) -> None:
        """The study's revision was closed."""
        self._activities.pop(study_key, None)

    def is_at_cap(self, study_key: str, at: float) -> bool:
        """Whether the study's revision has been open for so long that it closes whatever still comes."""
        activity = self._activities.get(study_key)
        return activity is not None and at - activity.opened_at >= SECONDS_AT_MOST

    def is_quiet(self, study_key: str, at: float) -> bool:
        """Whether the study would be complete without the cap."""
        activity = self._activities.get(study_key)
        return activity is not None and self._is_quiet(activity, at)

    def _is_quiet(self, activity: _Activity, at: float) -> bool:
        if at - activity.last_instance_at < self._quiet_period_seconds:
            return False
        activity.carriers = [carrier for carrier in activity.carriers if carrier()]
        return not activity.carriers
