"""How a process that receives writes its log: one line an event, with its instant, its level, its keys and counts."""

from __future__ import annotations

import logging
import time

OF_EVERY_RECORD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class LineFormatter(logging.Formatter):
    """An event with what it was given as `extra`, which the formatter of the standard library leaves out.

    >>> record = logging.makeLogRecord({"msg": "study_closed", "levelname": "INFO", "created": 0.0, "instances": 9})
    >>> LineFormatter().format(record)
    '1970-01-01T00:00:00Z INFO study_closed instances=9'
    """

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the standard library's name)
        """The line; a traceback follows it."""
        given = "".join(f" {name}={value}" for name, value in vars(record).items() if name not in OF_EVERY_RECORD)
        return super().formatMessage(record) + given


def write_log_lines() -> None:
    """Write this process's log to its standard error in such lines; of libraries, warnings alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.getLogger().addHandler(handler)
    logging.getLogger("shadow").setLevel(logging.INFO)
