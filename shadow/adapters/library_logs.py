"""What pydicom and pynetdicom have to say about a value quotes it, and belongs in no log of ours."""

from __future__ import annotations

import logging

import pydicom.config


def silence_libraries() -> None:
    """Let neither library log or warn in this process; whoever's logging it is, it gets nothing of them."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    for name in ("pydicom", "pynetdicom"):
        logging.getLogger(name).propagate = False
