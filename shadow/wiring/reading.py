"""Opens the reading desk of a trial's folder for the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shadow.adjudication.desk import ReadingDesk
from shadow.adjudication.images import StudyImages, read_images
from shadow.domain.home import Home
from shadow.index_test.copies import copies_folder
from shadow.wiring.trial import open_trial


@dataclass(frozen=True, slots=True)
class Room:
    """The desk, and the images of revision 1 of a study: what the model would have had."""

    desk: ReadingDesk
    studies: Path
    question: str

    def images(self, study_key: str) -> StudyImages:
        """What is shown of a study.

        Raises:
            ImagesMissing: its copies are not there.
        """
        return read_images(copies_folder(self.studies, study_key, 1))


def open_reading_room(home: Home, reading_list: Callable[[], Sequence[str]]) -> Room | None:
    """The room of a registered trial; None where its protocol plans no blinded reading.

    Args:
        home: the trial's folder.
        reading_list: the studies that may be read, in the order of reading, as they were published.

    Raises:
        ConfigurationError: nothing is registered, or a file was changed after its registration.
    """
    trial = open_trial(home)
    if trial.protocol.adjudication is None:
        return None
    desk = ReadingDesk(trial.open_ledger, trial.protocol.target_condition, reading_list, trial.clock.now)
    return Room(desk, home.studies, trial.protocol.target_condition_plural)
