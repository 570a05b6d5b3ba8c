"""One Orthanc on its data folder: start, stop, kill, restart."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import configure, process
from .errors import LaunchError
from .roots import Installation

User = tuple[str, str]
_LOG_LIMIT = 20_000_000  # bytes; a longer log is put aside at the next start, one old one is kept


@dataclass
class Server:
    """One Orthanc on its data folder. Ports and folder stay reserved while it is stopped."""

    host: str
    scheme: str
    data: Path
    config: dict[str, Any]
    """The merged configuration, as Orthanc reads it."""
    users: dict[str, str]
    installation: Installation
    _command: list[str] = field(repr=False)
    _env: dict[str, str] = field(repr=False)
    _lock: int
    """Descriptor that holds the data folder; Orthanc inherits it."""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _log_offset: int = 0

    @property
    def http_port(self) -> int:
        """HTTP port."""
        return int(self.config["HttpPort"])

    @property
    def dicom_port(self) -> int:
        """DICOM port."""
        return int(self.config["DicomPort"])

    @property
    def research_dicom_port(self) -> int:
        """DICOM port of the route research; 0 without that route."""
        return int((configure.research_section(self.config) or {}).get("DicomPort", 0))

    @property
    def url(self) -> str:
        """Orthanc's address without a closing slash."""
        return f"{self.scheme}://{self.host}:{self.http_port}"

    @property
    def pid(self) -> int:
        """The process id of Orthanc itself."""
        return self._running().pid

    @property
    def log_path(self) -> Path:
        """Orthanc's log, appended to at each start."""
        return self.data / "orthanc.log"

    @property
    def admin(self) -> User:
        """User and password of the administrator: `admin`, else the first registered user."""
        return self._user("admin", *self.users)

    @property
    def researcher(self) -> User:
        """User and password of `researcher`."""
        return self._user("researcher")

    def log(self) -> str:
        """What Orthanc wrote since its latest start."""
        return process.log_since(self.log_path, self._log_offset)

    def start(self) -> None:
        """Starts Orthanc and waits until it serves. Raises LaunchError."""
        log = self.log_path
        self._log_offset = log.stat().st_size if log.exists() else 0
        if self._log_offset > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
            self._log_offset = 0
        self._process = process.start(self._command, self._env, log, self._lock)
        address = (self.scheme, self.host, self.http_port)
        process.wait_until_ready(self._process, address, log, self._log_offset)

    def stop(self) -> int:
        """Stops Orthanc cleanly; returns its exit status, 0 if it was clean."""
        return process.stop(self._process) if self._process is not None else 0

    def kill(self) -> None:
        """Ends Orthanc at once (SIGKILL), as a power cut would."""
        running = self._running()
        running.kill()
        running.wait()

    def restart(self) -> None:
        """Starts Orthanc again on the same data and ports, stopping it first if it runs."""
        self.stop()
        self.start()

    def wait(self) -> None:
        """Returns when Orthanc has ended cleanly. Raises LaunchError when it ends otherwise."""
        status = self._running().wait()
        if status != 0:
            raise process.why_it_ended(status, self.log(), self.log_path)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LaunchError("this Orthanc was not started", "call start() first")
        return self._process

    def _user(self, *names: str) -> User:
        for name in names:
            if name in self.users:
                return name, self.users[name]
        raise LaunchError(f"the configuration registers no user {names[0]}", "add it to RegisteredUsers")
