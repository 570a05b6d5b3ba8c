"""Hands the package's log records to the host's log."""

from __future__ import annotations

import logging
from typing import Any


class OrthancHandler(logging.Handler):
    """Writes records through the `orthanc` module, each line prefixed by the logger's room."""

    def __init__(self, orthanc: Any) -> None:
        super().__init__()
        self._orthanc = orthanc
        self.setFormatter(logging.Formatter("provenance %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record at the level that the host knows."""
        text = self.format(record).replace("orthanc_provenance.", "", 1)
        if record.levelno >= logging.ERROR:
            self._orthanc.LogError(text)
        elif record.levelno >= logging.WARNING:
            self._orthanc.LogWarning(text)
        else:
            self._orthanc.LogInfo(text)


def log_to(orthanc: Any) -> None:
    """Send what the package logs to the host, and nowhere else."""
    root = logging.getLogger("orthanc_provenance")
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(OrthancHandler(orthanc))
    root.setLevel(logging.INFO)
    root.propagate = False
